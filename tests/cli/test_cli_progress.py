"""Progress: a bar with time left on a terminal, plain lines elsewhere, and nothing where nobody listens."""

from __future__ import annotations

import io
import itertools
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from lcaudit.cli._progress import Progress

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")


class Stream(io.StringIO):
    """Standard error, as a terminal or not; ``full`` fails as a full disk does."""

    def __init__(self, terminal: bool, full: bool = False) -> None:
        super().__init__()
        self.terminal, self.full = terminal, full

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def followed(stream: Stream, monkeypatch: pytest.MonkeyPatch, quiet: bool = False, seconds: float = 4.0) -> str:
    """What ``stream`` got of two stages whose steps take ``seconds`` each."""
    monkeypatch.setattr(sys, "stderr", stream)
    ticks = itertools.count(100.0, seconds)
    progress = Progress(quiet, clock=lambda: next(ticks))
    progress.start()
    for done in range(1, 11):
        progress("measuring samples", 30 * done, 300)
    progress("analysing layers", 1, 1)
    progress.close()
    return stream.getvalue()


def test_plain_lines_say_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(Stream(terminal=False), monkeypatch).splitlines() == [
        "measuring samples: 300 in all",
        "measuring samples: 90 of 300, about 28 s left",
        "measuring samples: 210 of 300, about 12 s left",
        "analysing layers: 1 in all",
    ]


def test_a_quick_stage_says_only_that_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    text = followed(Stream(terminal=False), monkeypatch, seconds=0.1)
    assert text == "measuring samples: 300 in all\nanalysing layers: 1 in all\n"


def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    text = followed(Stream(terminal=True), monkeypatch)
    assert text.startswith("loading torch …\r" + " " * 15 + "\r")
    for words in ("measuring samples", "300/300", "analysing layers", "1/1", "####"):
        assert words in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor stays hidden"
    assert text.endswith("\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    assert followed(Stream(terminal), monkeypatch, quiet=True) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_where_nobody_listens_the_work_goes_on(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    assert followed(Stream(terminal, full=True), monkeypatch) == ""


def test_a_stop_before_the_first_step_takes_back_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(quiet=False)
    progress.start()
    progress.close()
    before, over, after = stream.getvalue().split("\r")
    assert before == "loading torch …" and over == " " * len(before) and after == ""


def on_terminals(arguments: list[str], columns: int, out_too: bool, **environment: str) -> tuple[int, str, str]:
    """Run with standard error, and perhaps standard output, on a pseudo-terminal: exit code and what each got."""
    import fcntl
    import pty
    import struct
    import termios

    terminals = [pty.openpty() for _ in range(2 if out_too else 1)]
    for _, follower in terminals:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    err = terminals[0]
    out = terminals[1] if out_too else os.pipe()
    dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    process = subprocess.Popen(
        [sys.executable, "-m", "lcaudit", *arguments],
        stdout=out[1],
        stderr=err[1],
        stdin=err[1],
        env={**kept, "TERM": "xterm", **environment},
    )
    os.close(out[1])
    os.close(err[1])
    seen = {out[0]: b"", err[0]: b""}
    waiting = set(seen)
    while waiting:
        for ready in select.select(list(waiting), [], [])[0]:
            try:
                chunk = os.read(ready, 65536)
            except OSError:  # Linux says so when the last writer of a terminal is gone
                chunk = b""
            if not chunk:
                waiting.discard(ready)
                os.close(ready)
            seen[ready] += chunk
    return process.wait(), seen[out[0]].decode(), seen[err[0]].decode()


@pytest.fixture(scope="module")
def audited(kit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """An audit with standard error on a terminal and standard output in a pipe."""
    folder = tmp_path_factory.mktemp("terminal")
    return folder / "report.json", *on_terminals([*kit.wrong, "-o", str(folder)], 80, out_too=False)


@posix
def test_the_bar_goes_to_the_terminal_and_the_report_to_the_pipe(audited: tuple[Path, int, str, str]) -> None:
    _, code, out, terminal = audited
    assert code == 1
    assert out.startswith("lcaudit ") and out.endswith("FAIL (fail-on: error)\n") and "\x1b" not in out
    assert terminal.startswith("loading torch …")
    assert "measuring samples" in terminal and "300/300" in terminal and "2/2" in terminal
    assert terminal.rfind("\x1b[?25h") > terminal.rfind("\x1b[?25l")
    assert terminal.rstrip().splitlines()[-1].startswith("written: ")


@posix
@pytest.mark.parametrize(
    ("flags", "environment", "colored"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        ([], {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (["--color", "never"], {}, False),
    ],
)
def test_a_report_on_a_terminal_has_its_colours_and_its_width(
    audited: tuple[Path, int, str, str], flags: list[str], environment: dict[str, str], colored: bool
) -> None:
    for columns in (60, 120):
        code, out, _ = on_terminals(["report", str(audited[0]), *flags], columns, out_too=True, **environment)
        assert code == 1 and ("\x1b[" in out) == colored
        if not colored:
            assert columns - 25 < max(map(len, out.splitlines())) <= columns
