"""``lcaudit demo``: the network that ships with lcaudit, on the data that ships with it; offline."""

from __future__ import annotations

from pathlib import Path

import click

from lcaudit.cli._help import Command, option
from lcaudit.cli._output import output_options, parse_exports
from lcaudit.cli.check import run


@click.command(
    name="demo",
    cls=Command,
    short_help="Audit a small network that ships with lcaudit.",
    examples=("demo", "demo -o /tmp/look --format json"),
    verdict=True,
)
@option(
    "Output",
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default=Path("lcaudit-demo"),
    show_default=True,
    help="Folder for report.html and report.json.",
)
@output_options
def COMMAND(output: Path, form: str, exports: tuple[str, ...], color: str, quiet: int, verbose: int) -> int:
    """Audit a residual network trained on scikit-learn's digits: no download, under a minute."""
    from lcaudit.demo import WEIGHTS

    pages = [("html", output / "report.html"), ("json", output / "report.json")]
    files = [*pages, *parse_exports(exports)]
    return run(WEIGHTS, "digits", files, form, color, quiet, verbose, {})
