"""Moments of rows that are plain vectors: features of a sample, of a token or of a position."""

from __future__ import annotations

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
