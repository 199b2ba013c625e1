"""Options and steps shared by the commands that print or write a report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lcaudit.core import plugins
from lcaudit.core.files import write_whole
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    from lcaudit.core.outcomes import Report

F = TypeVar("F", bound=Callable[..., Any])


def formats() -> tuple[str, ...]:
    """Names of the report formats, without importing them."""
    return plugins.names("lcaudit.reports")


def output_options(command: F) -> F:
    """Add --format, --export, --color, -q and -v."""
    for option in reversed(
        [
            click.option(
                "--format", "form", type=click.Choice(formats()), default="text", show_default=True,
                help="What to print on standard output.",
            ),
            click.option(
                "--export", "exports", multiple=True, metavar="FORMAT=PATH",
                help=f"Also write this format to this file; repeatable. Formats: {', '.join(formats())}.",
            ),
            click.option(
                "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
                help="Colour on the terminal. auto honours NO_COLOR, then FORCE_COLOR, then asks the terminal.",
            ),
            click.option("-q", "--quiet", count=True, help="Findings and verdict only; -qq prints nothing."),
            click.option("-v", "--verbose", count=True, help="Every layer and every check."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def parse_exports(exports: tuple[str, ...]) -> list[tuple[str, Path]]:
    """``html=page.html`` → (format, path). Raises ``click.BadParameter`` before anything is measured."""
    parsed = []
    for given in exports:
        form, separator, path = given.partition("=")
        if not separator or not path or form not in formats():
            raise click.BadParameter(
                f"{display_name(given)!r}: expected FORMAT=PATH with FORMAT one of {', '.join(formats())}"
            )
        parsed.append((form, Path(path)))
    return parsed


def use_color(choice: str) -> bool:
    """--color, then NO_COLOR, then FORCE_COLOR, then whether standard output is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def deliver(report: Report, form: str, files: list[tuple[str, Path]], *, color: str, quiet: int, verbose: int) -> None:
    """Write the files, each whole or not at all, then print."""
    from lcaudit import reports

    for written, path in files:
        write_whole(path, reports.render(report, written))
    if quiet > 1:
        return
    width = None
    if form == "text" and sys.stdout.isatty():
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    shades = use_color(color)
    text = reports.render(report, form, color=shades, verbosity=verbose - quiet, **({"width": width} if width else {}))
    click.echo(text, nl=not text.endswith("\n"), color=shades)
    if files and not quiet and form == "text":
        click.echo("written: " + "  ".join(display_name(path) for _, path in files), err=True)
