"""Progress on standard error: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from lcaudit.cli._streams import is_terminal, note, silence
from lcaudit.core.text import display_name

#: Seconds until the first plain line with the time left, and between that and others.
_FIRST, _EVERY = 5.0, 15.0
_LOADING = "loading torch …"


class Progress:
    """Callable (stage, done, total); close it to finish the last bar. Where nobody listens it falls silent.

    Args:
        quiet: say nothing. clock: seconds, for the time left.
    """

    def __init__(self, quiet: bool, clock: Any = time.monotonic) -> None:
        self.quiet, self.clock = quiet, clock
        self.terminal = is_terminal(sys.stderr)
        self.stage = ""
        self.started = self.next = 0.0
        self.first = 0  # steps that were done when the stage was first heard of
        self.bar: Any = None
        self.loading = False
        self.done = 0

    def start(self) -> None:
        """Say at once that work has begun: importing torch takes seconds."""
        if not self.quiet and self.terminal:
            self._write(_LOADING)
            self.loading = True

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished; with a ``total`` of 0 it is a sentence."""
        if self.quiet:
            return
        if not total:
            self.close()
            note(display_name(stage, 500))
            self.stage = ""
            return
        now = self.clock()
        if stage != self.stage:
            self.close()
            self.stage, self.started, self.next, self.done, self.first = stage, now, now + _FIRST, 0, done
            if self.terminal:
                self.bar = click.progressbar(length=total, label=f"{stage:<17}", file=sys.stderr, show_pos=True)
                self._bar("__enter__")
            else:
                note(f"{stage}: {total} in all")
        if self.bar is not None:
            self._bar("update", done - self.done)
        elif now >= self.next and self.first < done < total:
            left = (now - self.started) / (done - self.first) * (total - done)
            note(f"{stage}: {done} of {total}, about {left:.0f} s left")
            self.next = now + _EVERY
        self.done = done

    def close(self) -> None:
        """End the current bar, if any; take back what :meth:`start` said."""
        if self.loading:
            self._write("\r" + " " * len(_LOADING) + "\r")
            self.loading = False
        if self.bar is not None:
            self._bar("__exit__", None, None, None)
            self.bar = None

    def _bar(self, step: str, *arguments: Any) -> None:
        try:
            getattr(self.bar, step)(*arguments)
        except OSError:
            silence(sys.stderr)

    def _write(self, text: str) -> None:
        try:
            click.echo(text, nl=False, err=True)
        except OSError:
            silence(sys.stderr)
