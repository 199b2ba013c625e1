"""Eigenvalues from rows that were kept, by the matrix of their inner products.

X [r, d] with r < d rows: Xᵀ X [d, d] and X Xᵀ [r, r] have the same non-zero eigenvalues, so that the small matrix
gives everything that the large one would, exactly. So do the changed inputs: subtracting means changes the
rows, or, where means are padded with zeros, adds a few rows with negative weight; batch norm scales their entries.

Cost: a product of 2 r² d operations for each scaling of the entries, three in all, and eigenvalue problems of
side r; memory 8 r² bytes beside the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from lcaudit.core.types import InputMoments, KeptRows, SecondMoments
from lcaudit.spectra.eigenvalues import EPS, floor_of
from lcaudit.spectra.second_moment import SecondMoment

#: Columns of the rows that are turned into float64 at once, so that no second copy of them all is made.
_COLUMNS = 2048
#: With so many rows for each entry that is ever alive sums are formed after all: resampling needs them.
ROWS_PER_ENTRY = 4


class DualWhole:
    """A second moment of kept rows, on all samples; in the place of :class:`lcaudit.spectra.factor.Whole`.

    Attributes:
        measured: [K, d], the diagonal before anything was subtracted.
    """

    def __init__(self, moment: DualMoment, change: str, measured: np.ndarray) -> None:
        self.moment, self.change, self.measured = moment, change, measured

    def eigenvalues(self) -> np.ndarray:
        """Descending, [K, d], those set to zero that rounding could have made (see ``without_rounding``)."""
        found = np.zeros(self.measured.shape)
        for k, diagonal in enumerate(self.measured):
            values = self.moment.values(k, self.change, self.change == "batch_norm")
            live = int(np.count_nonzero(diagonal))
            count = min(live, self.moment.rows, len(values))
            threshold = max(len(diagonal), self.moment.rows) * (
                float(np.finfo(np.float32).eps) if self.moment.float32 else EPS
            )
            if count and values[count - 1] <= threshold * diagonal.max():
                # batch norm scales entries, which makes no difference where all of them are scaled to size one
                change = "centring" if self.change == "batch_norm" else self.change
                count = min(count, int(np.count_nonzero(self.moment.values(k, change, None) > threshold)))
            found[k, :count] = values[:count]
        return found


class DualMoment:
    """The rows [K, r, d], scaled so that Σ x xᵀ over them is the moment, and what changes of the input need."""

    def __init__(self, kept: KeptRows, divisor: int, moment: SecondMoment | None, float32: bool) -> None:
        """``divisor``: of the sums. ``moment``: the input's means and scales, ``None`` for a gradient."""
        assert not kept.subtracted, "a closed form is no sum of squares"
        self.kept, self.divisor, self.moment, self.float32 = np.asarray(kept.rows), divisor, moment, float32
        self.squares = np.asarray(kept.squares.sum(0)) / divisor
        self.rows = self.kept.shape[1]
        self._products: dict[tuple[int, bool | None], np.ndarray] = {}

    def whole(self, change: str = "input") -> DualWhole:
        """The one called ``input``, ``centred``, ``centring`` or ``batch_norm``."""
        if change == "batch_norm":
            assert self.moment, "asked of an input"
            return DualWhole(self, change, self.squares * self.moment.scale() ** 2)
        return DualWhole(self, change, self.squares)

    @cached_property
    def _vectors(self) -> bool:
        """Whether a row's every entry has its own channel and no padding, so that centring takes the mean away."""
        return self.moment is None or self.moment.centring_is_centred

    def values(self, k: int, change: str, normed: bool | None) -> np.ndarray:
        """Descending eigenvalues of block ``k``.

        Args:
            normed: whether entries are scaled as by batch norm; ``None`` for scaled to unit second moment.
        """
        gram = self._product(k, normed)
        own = gram[: self.rows, : self.rows]
        if change == "input":
            return np.linalg.eigvalsh(own)[::-1]
        if self._vectors:
            # rows less their mean: the mean is a row too, the last one; rows carry 1 / √divisor
            at, weight = gram[: self.rows, -1:] / np.sqrt(self.divisor), gram[-1, -1] / self.divisor
            return np.linalg.eigvalsh(own - at - at.T + weight)[::-1]
        chosen, signs = self._subtracted(change)
        rows = [*range(self.rows), *(self.rows + one for one in chosen)]
        values, vectors = np.linalg.eigh(gram[np.ix_(rows, rows)])
        real = values > floor_of(len(values)) * values[-1]  # the root of what is rounding would be no rounding
        root = vectors[:, real] * np.sqrt(values[real])
        extra = root[self.rows :]
        return np.linalg.eigvalsh(root[: self.rows].T @ root[: self.rows] + extra.T @ signs @ extra)[::-1]

    def _subtracted(self, change: str) -> tuple[list[int], np.ndarray]:
        """Which of the extra rows a change takes, and with which weights."""
        assert self.moment, "asked of an input"
        if change == "centred":
            return [2], -np.eye(1)
        return [0, 1], -np.array([[0.0, 1.0], [1.0, 0.0]])

    def _extra(self, k: int) -> np.ndarray:
        """Rows that changes subtract: channel means, what goes with them, and the mean."""
        if self.moment is None:
            return np.empty((0, self.kept.shape[2]))
        return np.stack([self.moment.centre[k], self.moment.half[k], self.moment.mean[k]])

    def _product(self, k: int, normed: bool | None) -> np.ndarray:
        """Inner products of the rows and the extra ones, entries scaled."""
        if (k, normed) not in self._products:
            extra, scale = self._extra(k), self._scale(k, normed)
            side = self.rows + len(extra)
            total = np.zeros((side, side))
            for here in _slices(self.kept.shape[2]):
                rows = self.kept[k, :, here].astype(np.float64) / np.sqrt(self.divisor)
                some = np.concatenate([rows, extra[:, here]]) * scale[here]
                total += some @ some.T
            self._products[k, normed] = total
        return self._products[k, normed]

    def _scale(self, k: int, normed: bool | None) -> np.ndarray:
        if normed is None:
            return np.divide(
                1.0, np.sqrt(self.squares[k]), out=np.zeros_like(self.squares[k]), where=self.squares[k] > 0
            )
        if not normed:
            return np.ones(self.kept.shape[2])
        assert self.moment, "asked of an input"
        return self.moment.scale()[k]


def _slices(side: int) -> Iterator[slice]:
    return (slice(start, start + _COLUMNS) for start in range(0, side, _COLUMNS))


def summed_inputs(inputs: InputMoments) -> InputMoments:
    """Sums of the entries that are ever alive, where rows were kept that are many for them; else the same.

    Entries of channels that are zero throughout take no part in any eigenvalue but zero, whatever the change.
    """
    kept = inputs.second
    if not isinstance(kept, KeptRows):
        return inputs
    live = (inputs.channel_square.sum((0, 1)) > 0)[inputs.channel]
    if kept.rows.shape[1] < ROWS_PER_ENTRY * int(live.sum()) or not bool(live.any()):
        return inputs
    channels = torch.cumsum((inputs.channel_square.sum((0, 1)) > 0).long(), 0) - 1
    alive = inputs.channel_square.sum((0, 1)) > 0
    return replace(
        inputs,
        second=_sums(replace(kept, rows=kept.rows[:, :, live], squares=kept.squares[:, :, live])),
        first=inputs.first[:, :, live],
        channel=channels[inputs.channel[live]],
        channel_sum=inputs.channel_sum[:, :, alive],
        channel_square=inputs.channel_square[:, :, alive],
    )


def summed_gradient(gradient: SecondMoments) -> SecondMoments:
    """Sums, where rows were kept that are many for their entries; else the same."""
    if not isinstance(gradient, KeptRows) or gradient.rows.shape[1] < ROWS_PER_ENTRY * gradient.rows.shape[2]:
        return gradient
    return _sums(gradient)


def _sums(kept: KeptRows) -> torch.Tensor:
    """Σ x xᵀ for each group of samples, float64 [G, K, d, d]."""
    groups, pairs, side = kept.squares.shape
    total = torch.zeros(groups, pairs, side, side, dtype=torch.float64)
    for g in range(groups):
        rows = kept.rows[:, kept.group == g].double()
        total[g] = rows.transpose(1, 2) @ rows
        if kept.subtracted:
            total[g].neg_()
            total[g].diagonal(dim1=1, dim2=2).copy_(kept.squares[g])
    return total
