"""A ``.txt`` file of UTF-8: one sample a line, or for a network that predicts the next token one running text.

Empty lines are left out; the content hash covers every byte.
"""

from __future__ import annotations

from pathlib import Path

from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._lines import Lines

_SUFFIXES = (".txt", ".text", ".md")
#: Bytes of a running text that are tokenised at once.
_PIECE = 2**16
#: Characters after which a line is cut, wherever that is.
_LONGEST_LINE = 2**20
#: Characters of a running text that are looked at.
_MOST_RUNNING = 64 * 2**20


def open_txt(path: Path, split: str | None) -> Samples:
    """Samples of a text file.

    Raises:
        LimitExceeded: larger than 512 MiB, or more than 5,000,000 lines. MalformedInput: no UTF-8.
        ProbeUnavailable, EnvironmentFailure: it cannot be read. UsageError: name and ``--split`` disagree.
    """
    lines = Lines(path)

    def running() -> list[str]:
        found, size = [], 0
        for piece in lines.pieces(_PIECE):
            for start in range(0, len(piece), _LONGEST_LINE):
                found.append(piece[start : start + _LONGEST_LINE])
                size += len(found[-1])
                if size > _MOST_RUNNING:
                    return found
        return found

    long = len(lines.content) > _MOST_RUNNING
    cut = [f"of a running text the first {_MOST_RUNNING >> 20} MiB are looked at"] if long else []
    return lines.samples(split, lines.text, cut, running=running)


SOURCE = Source(
    title="a .txt file of text",
    accepts=lambda path, start: path.suffix.lower() in _SUFFIXES and b"\0" not in start,
    open=open_txt,
)
