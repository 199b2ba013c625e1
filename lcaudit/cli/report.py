"""``lcaudit report RUN.json``: render a finished audit again, without measuring."""

from __future__ import annotations

from pathlib import Path

import click

from lcaudit.cli._output import deliver, output_options, parse_exports
from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import display_name

#: A report of 10,000 layers is below this.
_MOST_BYTES = 256 * 2**20


@click.command(name="report", short_help="Render a report again from its JSON.")
@click.argument("run", type=click.Path(path_type=Path))
@output_options
def COMMAND(
    run: Path, form: str, exports: tuple[str, ...], color: str, quiet: int, verbose: int
) -> int:
    """Print the audit stored in RUN (a report.json), or write it in other formats.

    \b
    lcaudit report lcaudit-report/report.json --export html=page.html
    """
    from lcaudit import reports

    files = parse_exports(exports)
    try:
        if run.stat().st_size > _MOST_BYTES:
            raise LimitExceeded(f"{display_name(run)} is larger than any report", "pass a report.json")
        text = run.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise MalformedInput(f"{display_name(run)} is not UTF-8 text", "pass a report.json") from None
    except OSError as error:
        raise MalformedInput(f"{display_name(run)}: {error.strerror}", "pass a report.json") from None
    report = reports.read(text)
    deliver(report, form, files, color=color, quiet=quiet, verbose=verbose)
    return report.gate.exit_code
