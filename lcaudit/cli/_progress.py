"""Progress on standard error: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

#: Seconds between plain lines.
_EVERY = 15.0


class Progress:
    """Callable (stage, done, total); close it to finish the last bar."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.stage = ""
        self.started = self.said = 0.0
        self.bar: Any = None
        self.done = 0

    def start(self) -> None:
        """Say at once that work has begun: importing torch takes seconds."""
        if not self.quiet and self.terminal:
            click.echo("loading torch …\r", nl=False, err=True)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished."""
        if self.quiet:
            return
        now = time.monotonic()
        if stage != self.stage:
            self.close()
            self.stage, self.started, self.said, self.done = stage, now, now, 0
            if self.terminal:
                self.bar = click.progressbar(length=total, label=f"{stage:<17}", file=sys.stderr, show_pos=True)
                self.bar.__enter__()
        if self.bar is not None:
            self.bar.update(done - self.done)
        elif now - self.said >= _EVERY and done < total:
            left = (now - self.started) / done * (total - done)
            click.echo(f"{stage}: {done} of {total}, about {left:.0f} s left", err=True)
            self.said = now
        self.done = done

    def close(self) -> None:
        """End the current bar, if any."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None
