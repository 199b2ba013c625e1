"""Files of UTF-8 lines: where each line lies, read whole, since the content hash covers every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import count, display_name
from lcaudit.probes._arrays import agreed_split, split_notes
from lcaudit.probes._contract import Pixels, Samples
from lcaudit.probes._files import named_split, read_whole

#: Largest file, and most lines of it.
MOST_BYTES = 512 * 2**20
MOST_LINES = 5_000_000


class Lines:
    """The lines of a file that hold more than white space."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            LimitExceeded: too large, or too many lines. ProbeUnavailable, EnvironmentFailure: cannot be read.
        """
        self.name = path.name
        self.shown = display_name(path.name)
        self.content = read_whole(path, MOST_BYTES)
        self.start = 3 if self.content.startswith(b"\xef\xbb\xbf") else 0  # a mark that editors on Windows leave
        ends = np.flatnonzero(np.frombuffer(self.content, np.uint8) == 10)
        if len(ends) > MOST_LINES:
            raise LimitExceeded(f"{self.shown}: more than {MOST_LINES:,} lines", "pass a part of the file")
        bounds = [self.start, *(ends + 1).tolist(), len(self.content)]
        self.all = len(bounds) - 1 - (bounds[-1] == bounds[-2])
        self.numbers = [  # counted from 1, as editors do
            number for number in range(1, len(bounds)) if self.content[bounds[number - 1] : bounds[number]].strip()
        ]
        self.bounds = bounds

    def __len__(self) -> int:
        return len(self.numbers)

    def bytes(self, place: int) -> bytes:
        """One line, without its end."""
        number = self.numbers[place]
        return self.content[self.bounds[number - 1] : self.bounds[number]].rstrip(b"\r\n")

    def text(self, place: int) -> str:
        """The same as text.

        Raises:
            MalformedInput: it is no UTF-8.
        """
        return self._decoded(self.bytes(place), self.numbers[place])

    def pieces(self, size: int) -> Iterator[str]:
        """The whole file in pieces of some ``size`` bytes, cut where a line ends and the next begins with no space."""
        begin, number = self.start, 1
        for place, stop in enumerate(self.bounds[1:], 1):
            over = stop - begin > size and not self.content[stop : stop + 1].isspace()
            if over or stop == len(self.content):
                if stop > begin:
                    yield self._decoded(self.content[begin:stop], number)
                begin, number = stop, place + 1

    def _decoded(self, content: bytes, number: int) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = number + content[: error.start].count(b"\n")
            raise MalformedInput(
                f"{self.shown}: line {line} is no UTF-8 (byte {content[error.start]:#04x})",
                "convert the file first: iconv -f LATIN1 -t UTF-8",
            ) from None

    @property
    def empty(self) -> tuple[str, ...]:
        """Words about lines that hold nothing."""
        number = self.all - len(self)
        return (f"{count(number, 'empty line')}, no samples",) if number else ()

    def samples(
        self, split: str | None, texts: Callable[[int], str], notes: Sequence[str], *,
        labels: np.ndarray | None = None, running: Callable[[], list[str]] | None = None,
    ) -> Samples:  # fmt: skip
        """One sample a line.

        Args:
            texts: place of a line → the sample's text. notes, labels, running: as of :class:`Samples`.

        Raises:
            UsageError: the file's name and ``--split`` disagree.
        """
        said = named_split(self.name)
        return Samples(
            source=self.name,
            count=len(self),
            labels=labels,
            classes=(),
            split=agreed_split(said, split, self.name),
            sha256=hashlib.sha256(self.content).hexdigest(),
            shape=(),
            pixels=_no_pixels,
            notes=(*split_notes(said, split), *self.empty, *notes),
            texts=lambda places: [texts(place) for place in places.tolist()],
            running=running,
        )


def _no_pixels(positions: object, wanted: object) -> Pixels:
    """Texts are no pictures."""
    raise AssertionError("texts are read by a network that says how")
