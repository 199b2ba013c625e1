"""SIGINT and SIGTERM: as exceptions where work can be undone, as the end where it cannot; imports nothing heavy.

An exception raised while a module is imported may vanish in somebody's ``except``, or abort the process where it
passes through C++ that is not made for it (importing torch). Nothing has been written by then, so there the process
says its one line and ends at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
NOTHING_LEFT = "no report is half-written"
#: Where Python's own import machinery says its code is from.
_IMPORTING = "<frozen importlib._bootstrap>"
_ENDS = {signal.SIGINT: ("interrupted", EXIT_INTERRUPTED), signal.SIGTERM: ("terminated", EXIT_TERMINATED)}


class Terminated(BaseException):
    """SIGTERM, as an exception: ``finally`` blocks run, half-written files are removed."""


def end_at_once(number: int, frame: FrameType | None) -> None:
    """A handler of signals: one line, and the process is over without unwinding."""
    word, code = _ENDS[signal.Signals(number)]
    try:
        shown = "\n" if os.isatty(2) else ""  # what stood on the line before is not finished
        os.write(2, f"{shown}lcaudit: {word}: {NOTHING_LEFT}\n".encode())
    except OSError:
        pass  # nobody listens: the exit code still speaks
    os._exit(code)


def install(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, object]:
    """Let ``handler`` answer; what answered before. A signal that the parent had ignored stays so."""
    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        return {}
    heard = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


@contextmanager
def unwinding() -> Iterator[None]:
    """Inside, the signals raise :class:`KeyboardInterrupt` and :class:`Terminated`, except during an import."""
    before = install(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which Python cannot set again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]


def _raise(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        end_at_once(number, frame)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
