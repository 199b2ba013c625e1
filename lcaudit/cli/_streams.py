"""Standard output and standard error as they really are: closed, full, not UTF-8, or a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from lcaudit.core.errors import EnvironmentFailure


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads ``stream``; it is ``None`` where the shell closed it."""
    return stream is not None and stream.isatty()


def use_color(choice: str) -> bool:
    """--color, then NO_COLOR, then FORCE_COLOR, then whether standard output is a terminal that has colours."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb")


def show(text: str, *, color: bool = False, for_people: bool = True) -> None:
    """Print on standard output. A reader that went away is no failure; a full disk is.

    Args:
        color: whether colours in ``text`` are kept.
        for_people: in the terminal's own encoding and with a last newline; what is for programs is printed
            as it is, in UTF-8 everywhere.

    Raises:
        EnvironmentFailure: it could not be printed.
    """
    try:
        if for_people:
            click.echo(text.removesuffix("\n"), color=color)
        else:
            click.echo(text.encode("utf-8", "backslashreplace"), nl=False)
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        raise EnvironmentFailure(
            f"cannot print on standard output: {error.strerror or type(error).__name__}",
            "free some space, or send standard output elsewhere",
        ) from None


def note(text: str) -> None:
    """One line on standard error; where nobody listens the work goes on."""
    try:
        click.echo(text, err=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO | None) -> None:
    """Point ``stream`` at nothing: what it still buffers would fail again when Python exits."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor buffers nothing
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


@contextlib.contextmanager
def readable_streams() -> Iterator[None]:
    """Inside, a character that the terminal's encoding lacks is spelled out instead of being an error."""
    before = [(stream, stream.errors) for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    for stream, _ in before:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=errors)
