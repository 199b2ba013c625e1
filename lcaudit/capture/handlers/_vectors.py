"""Moments of rows that are plain vectors: features of a sample, of a token or of a position."""

from __future__ import annotations

import copy
from typing import Self

import torch

from lcaudit.capture.handlers._base import Products
from lcaudit.capture.stores import Store, on_cpu, squares_of
from lcaudit.core.types import InputMoments


class VectorSums:
    """Σ x xᵀ and Σ x, with one pair of factors for each of ``channel_groups`` groups of entries."""

    def __init__(
        self, d: int, channel_groups: int, groups: int, device: torch.device, store: Store | None = None
    ) -> None:
        self.second = store or Products(groups, channel_groups, d, device)
        self.first = torch.zeros(groups, channel_groups, d, dtype=torch.float64, device=device)
        self.rows = torch.zeros(groups, dtype=torch.int64)

    def add_rows(self, rows: torch.Tensor, group: int) -> None:
        """Add ``rows`` [channel groups, d, n]."""
        self.second.add(rows, group)
        self.first[group] += rows.sum(-1, dtype=self.first.dtype)
        self.rows[group] += rows.shape[-1]

    def part(self, first: int, last: int, samples: int) -> Self:
        """See :class:`lcaudit.capture.handlers._base.Accumulator`."""
        other = copy.copy(self)
        other.second = self.second.part(first, last, samples)
        other.first, other.rows = torch.zeros_like(self.first), torch.zeros_like(self.rows)
        return other

    def collect(self, part: VectorSums) -> None:
        """See :class:`lcaudit.capture.handlers._base.Accumulator`."""
        self.second.collect(part.second)
        self.first += part.first
        self.rows += part.rows

    def finish(self) -> InputMoments:
        """The sums, on the CPU."""
        second, first = on_cpu(self.second.settle()), self.first.cpu()
        d = first.shape[-1]
        return InputMoments(
            second=second,
            first=first,
            channel=torch.arange(d),
            channel_sum=first,
            channel_square=squares_of(second),
            rows=self.rows,
            elements=self.rows,
        )
