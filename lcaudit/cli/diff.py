"""``lcaudit diff``: two networks on the same samples, layer by layer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from lcaudit.cli._help import option
from lcaudit.cli._measuring import measure, measuring
from lcaudit.cli._output import check_outputs
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Measures
from lcaudit.cli._streams import is_terminal, note, show, use_color
from lcaudit.core import plugins
from lcaudit.core.errors import EnvironmentFailure, UsageError
from lcaudit.core.files import write_together
from lcaudit.core.gate import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_PASS
from lcaudit.core.text import display_name

_FORMATS = plugins.names("lcaudit.reports._comparison")


def _exports(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, Path]]:
    found = []
    for given in value:
        form, _, path = given.partition("=")
        if form not in _FORMATS or path in ("", "-"):
            raise click.BadParameter(
                f"{display_name(given)}: expected FORMAT=PATH, FORMAT one of {', '.join(_FORMATS)}"
            )
        found.append((form, Path(path)))
    return found


@click.command(
    name="diff",
    cls=Measures,
    short_help="Compare two checkpoints, layer by layer.",
    examples=(
        "diff main.safetensors branch.safetensors --data cifar10",
        "diff NAMESPACE/NAME@v1 NAMESPACE/NAME@main --data cifar10",
        "diff base/report.json head/report.json --export html=diff.html",
    ),
    verdict=True,
)
@click.argument("base")
@click.argument("head")
@option("Output", "--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True,
        help="What to print on standard output.")  # fmt: skip
@option("Output", "--export", "exports", multiple=True, metavar="FORMAT=PATH", callback=_exports,
        help=f"Also write this format to this file; repeatable. Formats: {', '.join(_FORMATS)}.")  # fmt: skip
@option("Output", "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
        help="Colour in the text. auto obeys NO_COLOR, then FORCE_COLOR, then asks the terminal.")  # fmt: skip
@option("Output", "-q", "--quiet", count=True, help="What changed and the outcome only; -qq prints nothing.")
@option("Output", "-v", "--verbose", count=True, help="Every figure of every layer.")
@option("Verdict", "--exit-zero", is_flag=True, help="Exit with 0 also where a figure has regressed.")
def COMMAND(
    base: str, head: str, data: str | None, form: str, exports: list[tuple[str, Path]], color: str, quiet: int,
    verbose: int, exit_zero: bool, **options: Any,
) -> int:  # fmt: skip
    """Measure the checkpoints BASE and HEAD on the same samples with the same label draws, and compare every layer.

    What is hard about a sample is hard for both networks and drops out of the difference: much smaller changes are
    seen than by `check --baseline`. A checkpoint is a file, a folder, or a repository of the Hub at a revision,
    NAMESPACE/NAME[@REVISION]. Instead of one, the report.json of a check may be given. The exit code is 1 where a layer
    has regressed, 3 where nothing could be compared.
    """
    if options["samples"] == "auto":
        raise UsageError("--samples auto: both networks must see the same samples", "pass a number")
    check_outputs(exports, [Path(base), Path(head)])
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        from lcaudit import comparisons

        before, after = (measure(one, data, progress, options).measurements for one in (base, head))
        found = comparisons.paired(before, after)
    finally:
        progress.close()
    from lcaudit import reports

    def tell(verbosity: int) -> None:
        colored = form == "text" and use_color(color)
        width = {"width": shutil.get_terminal_size().columns} if is_terminal(sys.stdout) else {}
        text = reports.render_comparison(found, form, color=colored, verbosity=verbosity, **width)
        show(text, color=colored, for_people=form == "text")

    try:
        write_together([(path, reports.render_comparison(found, written)) for written, path in exports])
    except EnvironmentFailure:
        tell(verbose)  # measuring took long, and nothing else of it is left
        raise
    if quiet < 2:
        tell(verbose - quiet)
    if exports and not quiet:
        note("written: " + "  ".join(display_name(path) for _, path in exports))
    if found.having("worse"):
        return EXIT_PASS if exit_zero else EXIT_FINDINGS
    return EXIT_PASS if found.comparisons else EXIT_INCOMPLETE


# --base is for adapters; here BASE is one of the two
measuring("base", data_required=False)(COMMAND)
