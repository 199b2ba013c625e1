"""``lcaudit report RUN.json``: render a finished audit again, without measuring."""

from __future__ import annotations

from pathlib import Path

import click

from lcaudit.cli._help import Command
from lcaudit.cli._output import check_outputs, deliver, output_options, parse_exports
from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.files import read_regular
from lcaudit.core.gate import EXIT_CODES
from lcaudit.core.text import display_name

#: A report of 10,000 layers is below this.
_MOST_BYTES = 256 * 2**20
_HINT = "pass the report.json that `lcaudit check` wrote"


@click.command(
    name="report",
    cls=Command,
    short_help="Render a report again from its JSON.",
    examples=(
        "report lcaudit-report/report.json",
        "report lcaudit-report/report.json --export html=page.html",
    ),
    verdict=True,
)
@click.argument("run", metavar="RUN.json", type=click.Path(path_type=Path))
@output_options
def COMMAND(run: Path, form: str, exports: tuple[str, ...], color: str, quiet: int, verbose: int) -> int:
    """Print a finished audit from its report.json, or write it in other formats.

    Nothing is measured or judged anew; the exit code is that of the audit.
    """
    from lcaudit import reports

    files = parse_exports(exports)
    check_outputs(files)
    try:
        text = read_regular(run, _MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedInput(f"{display_name(run)}: not UTF-8 text", _HINT) from None
    except (MalformedInput, LimitExceeded) as error:
        raise type(error)(error.message, _HINT) from None
    try:
        report = reports.read(text)
    except MalformedInput as error:
        raise MalformedInput(f"{display_name(run)}: {error.message}", error.hint) from None
    deliver(report, form, files, color=color, quiet=quiet, verbose=verbose)
    return EXIT_CODES[report.gate.verdict]
