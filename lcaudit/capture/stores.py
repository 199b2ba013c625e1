"""What is kept of a wide layer's rows where sums of their products would be too large.

Both stores take the place of :class:`lcaudit.capture.handlers._base.Products`: rows come in, batch by batch,
and :meth:`settle` gives what stands for Σ x xᵀ. :class:`RowStore` keeps the rows, from which everything follows
exactly (the matrix of their inner products has the same non-zero eigenvalues). :class:`SketchStore` keeps Σ x xᵀ
times a few seeded random vectors, from which bounds follow (Halko, Martinsson and Tropp 2011; Tropp,
Yurtsever, Udell and Cevher 2017).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Protocol

import torch

from lcaudit.core.types import KeptRows, SecondMoments, Sketch

#: Independent Gaussian test vectors beside those that span the sketch: they bound what it misses.
TESTS = 16
#: Numbers in float64 at once while a sketch is fed: 32 MiB.
_AT_ONCE = 4_194_304


class Store(Protocol):
    """Takes rows [K, d, n] of one group of samples at a time."""

    def add(self, rows: torch.Tensor, group: int) -> None:
        """Add rows of samples in ``group``."""

    def part(self, first: int, last: int, samples: int) -> Any:
        """An empty one for samples ``first`` to ``last`` of all, whose groups no other part has."""

    def collect(self, part: Any) -> None:
        """Take what a part has kept; parts come in order."""

    def settle(self) -> SecondMoments:
        """What stands for the sums."""


class RowStore:
    """Keeps the rows. Rows beyond those announced are left out: the layer is refused for them."""

    def __init__(self, groups: int, pairs: int, side: int, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        """Room for ``rows`` rows of ``side`` entries in each of ``pairs`` blocks."""
        self.rows = torch.empty(pairs, rows, side, dtype=dtype, device=device)
        self.group = torch.zeros(rows, dtype=torch.int64)
        self.squares = torch.zeros(groups, pairs, side, dtype=torch.float64, device=device)
        self.filled = 0
        self.subtracted = False

    def add(self, rows: torch.Tensor, group: int) -> None:
        """Add rows [K, d, n] of samples in ``group``."""
        self._keep(rows, group)
        self.squares[group] += rows.to(self.squares).square().sum(2)

    def add_closed_form(self, diagonal: torch.Tensor, rows: torch.Tensor, group: int) -> None:
        """Add a moment that is ``diagonal`` [C] on its diagonal and minus ``rowsᵀ rows`` beside it, ``rows`` [n, C]."""
        pairs, side = self.squares.shape[1:]
        self.subtracted = True
        self._keep(rows.T.unflatten(0, (pairs, side)), group)
        self.squares[group] += diagonal.unflatten(0, (pairs, side)).to(self.squares)

    def _keep(self, rows: torch.Tensor, group: int) -> None:
        fitting = min(rows.shape[2], self.rows.shape[1] - self.filled)
        here = slice(self.filled, self.filled + fitting)
        self.rows[:, here] = rows[:, :, :fitting].transpose(1, 2)
        self.group[here] = group
        self.filled += fitting

    def part(self, first: int, last: int, samples: int) -> RowStore:
        """See :class:`Store`: it has its samples' share of the room."""
        start, stop = (len(self.group) * one // samples for one in (first, last))
        other = copy.copy(self)
        other.rows, other.group, other.filled = self.rows[:, start:stop], self.group[start:stop], 0
        return other

    def collect(self, part: RowStore) -> None:
        """See :class:`Store`: rows move up where a part before did not fill its room."""
        here = slice(self.filled, self.filled + part.filled)
        if self.rows[:, here].data_ptr() != part.rows.data_ptr():
            self.rows[:, here] = part.rows[:, : part.filled].clone()
            self.group[here] = part.group[: part.filled].clone()
        self.filled += part.filled
        self.subtracted |= part.subtracted

    def settle(self) -> KeptRows:
        """The rows that came."""
        return KeptRows(self.rows[:, : self.filled], self.group[: self.filled], self.squares, self.subtracted)


class SketchStore:
    """Keeps products with random vectors, in float64: what they are compared with is often small."""

    def __init__(self, groups: int, pairs: int, side: int, span: int, device: torch.device) -> None:
        """A sketch of ``span`` dimensions; the vectors depend on ``side`` and ``span`` alone."""
        self.span = min(span, side)
        # the same numbers on every device and in every run
        drawn = torch.randn(side, self.span + TESTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        drawn[:, : self.span] = torch.linalg.qr(drawn[:, : self.span])[0]
        self.test = drawn.to(device)
        self.image = torch.zeros(pairs, side, self.span + TESTS, dtype=torch.float64, device=device)
        self.squares = torch.zeros(groups, pairs, side, dtype=torch.float64, device=device)
        self.above = torch.zeros(pairs, side, dtype=torch.float64, device=device)
        self.rows, self.bounded = 0, True

    def add(self, rows: torch.Tensor, group: int) -> None:
        """Add rows [K, d, n] of samples in ``group``. Cost: 4 K d n (l + t) operations."""
        for part in rows.split(max(1, _AT_ONCE // (rows.shape[0] * rows.shape[1])), dim=2):
            some = part.to(self.image)
            self.image += some @ (some.transpose(1, 2) @ self.test)
            self.squares[group] += some.square().sum(2)
        self.rows += rows.shape[2]

    def add_closed_form(self, diagonal: torch.Tensor, rows: torch.Tensor, group: int) -> None:
        """Add a moment as :meth:`RowStore.add_closed_form`."""
        pairs, side = self.squares.shape[1:]
        own = diagonal.unflatten(0, (pairs, side)).to(self.squares)
        some = rows.T.unflatten(0, (pairs, side)).to(self.image)
        above = own + some.square().sum(2)
        self.image += above.unsqueeze(2) * self.test - some @ (some.transpose(1, 2) @ self.test)
        self.above += above
        self.squares[group] += own
        self.bounded = False

    def part(self, first: int, last: int, samples: int) -> SketchStore:
        """See :class:`Store`."""
        other = copy.copy(self)
        other.image, other.squares, other.above = map(torch.zeros_like, (self.image, self.squares, self.above))
        return other

    def collect(self, part: SketchStore) -> None:
        """See :class:`Store`."""
        self.image += part.image
        self.squares += part.squares
        self.above += part.above
        self.rows += part.rows
        self.bounded &= part.bounded

    def settle(self) -> Sketch:
        """The sketch."""
        return Sketch(self.test, self.image, self.squares, self.above, self.span, self.rows if self.bounded else 0)


def on_cpu(second: SecondMoments) -> SecondMoments:
    """The same, on the CPU."""
    if isinstance(second, KeptRows):
        return replace(second, rows=second.rows.cpu(), squares=second.squares.cpu())
    if isinstance(second, Sketch):
        names = ("test", "image", "squares", "above")
        return replace(second, **{name: getattr(second, name).cpu() for name in names})
    return second.cpu()


def squares_of(second: SecondMoments) -> torch.Tensor:
    """The diagonal of the sums, [G, K, d]."""
    return second.diagonal(dim1=-2, dim2=-1).clone() if isinstance(second, torch.Tensor) else second.squares


def is_finite(second: SecondMoments) -> bool:
    """Whether every number is; a sum needs no copies of what may be gigabytes."""
    if isinstance(second, torch.Tensor):
        return bool(second.sum().isfinite())
    return bool(second.squares.sum().isfinite() and (not isinstance(second, Sketch) or second.image.sum().isfinite()))
