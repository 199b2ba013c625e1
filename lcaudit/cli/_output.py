"""Options and steps shared by the commands that print or write a report."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lcaudit.cli._help import option
from lcaudit.cli._streams import is_terminal, note, show, use_color
from lcaudit.core import plugins
from lcaudit.core.errors import EnvironmentFailure, UsageError
from lcaudit.core.files import check_writable, write_together
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    from lcaudit.core.outcomes import Report

F = TypeVar("F", bound=Callable[..., Any])


def formats() -> tuple[str, ...]:
    """Names of the report formats, without importing them."""
    return plugins.names("lcaudit.reports")


def output_options(command: F) -> F:
    """Add --format, --export, --color, -q and -v."""
    for decorate in reversed(
        [
            option(
                "Output", "--format", "form", type=click.Choice(formats()), default="text", show_default=True,
                discovered=True,
                help="What to print on standard output.",
            ),
            option(
                "Output", "--export", "exports", multiple=True, metavar="FORMAT=PATH",
                help=f"Also write this format to this file; repeatable. Formats: {', '.join(formats())}.",
            ),
            option(
                "Output", "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
                discovered=True,
                help="Colour in the text report. auto obeys NO_COLOR, then FORCE_COLOR, then asks the terminal.",
            ),
            option(
                "Output", "-q", "--quiet", count=True, setting=False,
                help="Findings and verdict only; -qq prints nothing.",
            ),
            option(
                "Output", "-v", "--verbose", count=True, setting=False,
                help="Every layer, and how the network was recognised.",
            ),
        ]
    ):  # fmt: skip
        command = decorate(command)
    return command


def parse_exports(exports: Sequence[str]) -> list[tuple[str, Path]]:
    """``html=page.html`` → (format, path).

    Raises:
        UsageError: an unknown format or no path.
    """
    parsed = []
    for given in exports:
        form, separator, path = given.partition("=")
        if not separator or not path or form not in formats():
            unknown = separator and path and form
            wrong = f"there is no format {display_name(form, 40)}" if unknown else "expected FORMAT=PATH"
            raise UsageError(
                f"--export {display_name(given)}: {wrong}",
                f"formats: {', '.join(formats())}; for example --export html=report.html",
            )
        if path == "-":
            raise UsageError(f"--export {form}=-: expected a path", f"--format {form} prints on standard output")
        parsed.append((form, Path(path)))
    return parsed


def check_outputs(files: Sequence[tuple[str, Path]], inputs: Sequence[Path] = ()) -> None:
    """Find out before anything is measured whether the files can be written.

    Raises:
        UsageError: two reports in one file, or a report in place of an input.
        EnvironmentFailure: a file cannot be written.
    """
    taken: set[Path] = set()
    for _, path in files:
        place = path.absolute()
        if place in taken:
            raise UsageError(f"two reports would be written to {display_name(path)}", "give each its own file")
        taken.add(place)
        check_writable(path)
        for given in inputs:
            if path.exists() and given.exists() and path.samefile(given):
                raise UsageError(
                    f"a report would be written over {display_name(given)}, which is to be read",
                    "choose another place for the report",
                )


def deliver(
    report: Report, form: str, files: list[tuple[str, Path]], *, color: str, quiet: int, verbose: int,
    beside: Sequence[tuple[Path, str | bytes]] = (), printed: bool = True,
) -> None:  # fmt: skip
    """Write the files and what goes ``beside`` them, all of it or nothing, then print.

    Raises:
        EnvironmentFailure: they cannot be written. The report is printed all the same, however quiet: measuring took
            long, and nothing else of it is left.
    """
    from lcaudit import reports

    def tell(verbosity: int) -> None:
        people = reports.writer(form).people
        colored = people and use_color(color)
        width = {"width": shutil.get_terminal_size().columns} if is_terminal(sys.stdout) else {}
        text = reports.render(report, form, color=colored, verbosity=verbosity, **width)
        show(text, color=colored, for_people=people)

    try:
        write_together([*beside, *((path, reports.render(report, written)) for written, path in files)])
    except EnvironmentFailure:
        tell(verbose)
        raise
    if quiet > 1:
        return
    if printed:
        tell(verbose - quiet)
    _tell_places([*(path for path, _ in beside), *(path for _, path in files)], quiet)


def _tell_places(places: Sequence[Path], quiet: int) -> None:
    if places and not quiet:
        note("written: " + "  ".join(display_name(path) for path in places))
