"""What a layer kind must say about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lcaudit.core.types import InputMoments


class Accumulator(Protocol):
    """Sums over rows, apart for each group of samples, in float64."""

    def add(self, inputs: torch.Tensor, group: int) -> None:
        """Add a batch whose samples all belong to ``group``."""

    def finish(self) -> InputMoments:
        """The sums, on the CPU."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sides of the factors: ``groups`` pairs of ``inputs`` × ``inputs`` and ``outputs`` × ``outputs``."""

    inputs: int
    outputs: int
    groups: int


@dataclass(frozen=True, slots=True)
class Handler:
    """One layer kind: a file in :mod:`lcaudit.capture.handlers` defines one as ``HANDLER``.

    Attributes:
        module: the torch class; its own ``forward`` must be in use.
        refuse: why this instance cannot be measured, or ``""``.
        shape: sides of its factors, from the module alone.
        geometry: the layer's geometry in words, ``""`` where there is none.
        accumulator: (module, first input, sample groups, device of the sums) → empty sums.
        gradient_rows: (module, output-like tensor [b, …]) → [groups, outputs, rows].
        positions: (module, output) → rows per sample.
    """

    module: type[torch.nn.Module]
    refuse: Callable[[Any, torch.Tensor], str]
    shape: Callable[[Any], Shape]
    geometry: Callable[[Any], str]
    accumulator: Callable[[Any, torch.Tensor, int, torch.device], Accumulator]
    gradient_rows: Callable[[Any, torch.Tensor], torch.Tensor]
    positions: Callable[[Any, torch.Tensor], int]


def add_product(total: torch.Tensor, rows: torch.Tensor) -> None:
    """``total += rows · rowsᵀ`` for ``rows`` [K, d, n]: the product in the rows' precision, the sum in float64."""
    total += torch.bmm(rows, rows.transpose(1, 2)).to(total)
