"""What a layer kind must say about itself.

A layer is seen at the one place where its weight acts: a call such as ``F.conv2d(x, weight, …)``. Every
call adds *rows*: x of length d and g = ∂ℓ/∂(W x) of length o, such that one sample's weight gradient is
Σ g xᵀ over its rows. That identity is what makes Σ_x ⊗ Σ_g a layer's Kronecker form, and it is tested for
every kind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lcaudit.capture.stores import Store
from lcaudit.core.types import InputMoments

#: Unfolded numbers held at once: 16 MiB of float32, about a core's share of cache.
CHUNK = 4_194_304
NO_BATCH = "its input has no batch dimension"


@dataclass(frozen=True, slots=True)
class Call:
    """One application of a weight, its arguments told apart.

    Attributes:
        outputs_first: whether the weight's first side, as passed, is its outputs'.
        options: what else the kind needs to know of the call.
    """

    inputs: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    outputs_first: bool = True
    options: Any = None


class Accumulator(Protocol):
    """Sums over rows, apart for each group of samples, in float64."""

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        """Add the rows of a batch whose samples all belong to ``group``; ``keep``: bool, which of them."""

    def part(self, first: int, last: int, samples: int) -> Accumulator:
        """An empty one for samples ``first`` to ``last`` of all, whose groups no other part has."""

    def collect(self, part: Any) -> None:
        """Take what a part has summed; parts come in order."""

    def finish(self) -> InputMoments:
        """The sums, on the CPU."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sides of the factors: ``groups`` pairs of ``inputs`` × ``inputs`` and ``outputs`` × ``outputs``."""

    inputs: int
    outputs: int
    groups: int


def _plain(function: Callable[..., torch.Tensor], call: Call, args: Any, kwargs: Any) -> torch.Tensor:
    return function(*args, **kwargs)


def _all_rows(call: Call) -> torch.Tensor | None:
    return None


def _no_counts(call: Call) -> bool:
    return False


def _as_called(module: Any, inputs: torch.Tensor, call: Call) -> Call:
    return call


@dataclass(frozen=True, slots=True)
class Handler:
    """One layer kind: a file in :mod:`lcaudit.capture.handlers` defines one as ``HANDLER``.

    Attributes:
        functions: the torch functions through which the weight acts.
        owner: class of the module that must own the weight; any where it is ``torch.nn.Module``.
        modules: classes whose parameters this kind measures, where their own ``forward`` is in use.
        read: function and arguments → the call, or ``None`` where it is not of this kind.
        refuse: why this call cannot be measured, or ``""``.
        shape: sides of its factors. geometry: in words, ``""`` where there is none.
        accumulator: first call, sample groups, device of the sums, what keeps Σ x xᵀ if not sums → empty sums.
        rows: the call's layout of rows, e.g. (batch, tokens); their number is the product.
        gradient_rows: call, output-like tensor → pieces [groups, outputs, some rows], together all rows in
            order, in one piece where ``maskable``; reads shapes and options of the call, no numbers.
        maskable: whether single rows can be left out.
        keeps_rows: whether the accumulator can hand its rows to a store.
        counts: call → whether its rows are one-hot and Σ_x is kept as :class:`lcaudit.core.types.Counts`.
        kept: call → bool, which rows have a gradient; ``None`` for all.
        undress: module, its input, the call inside it → the call as the module means it, with its input.
        run: function, call, arguments → output; never writes to the weight.
        sample_rows: call, output-like tensor → the rows of each sample, inputs [b, groups, d, rows] and
            gradients [b, groups, o, rows], so that Σ g xᵀ over them is that sample's weight gradient;
            ``None`` where single samples' gradients are not formed.
        sample_gradients: the same → Σ g xᵀ over each sample's rows, [b, groups, o, d], where there is a faster way
            than the product of those rows.
        operations: call, sample groups → about how many operations one sample's share of Σ x xᵀ takes, where
            that is not a plain product's.
    """

    functions: tuple[Callable[..., torch.Tensor], ...]
    owner: type[torch.nn.Module]
    modules: tuple[type[torch.nn.Module], ...]
    read: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Call | None]
    refuse: Callable[[Call], str]
    shape: Callable[[Call], Shape]
    geometry: Callable[[Call], str]
    accumulator: Callable[[Call, int, torch.device, Store | None], Accumulator]
    rows: Callable[[Call], tuple[int, ...]]
    gradient_rows: Callable[[Call, torch.Tensor], Iterator[torch.Tensor]]
    maskable: bool = True
    keeps_rows: bool = True
    counts: Callable[[Call], bool] = _no_counts
    kept: Callable[[Call], torch.Tensor | None] = _all_rows
    undress: Callable[[Any, torch.Tensor, Call], Call] = _as_called
    run: Callable[[Any, Call, tuple[Any, ...], Mapping[str, Any]], torch.Tensor] = _plain
    sample_rows: Callable[[Call, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None
    sample_gradients: Callable[[Call, torch.Tensor], torch.Tensor] | None = None
    operations: Callable[[Call, int], int | None] | None = None


def arguments(names: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Positional and keyword arguments by name; ``names`` in order, separated by spaces."""
    return dict(zip(names.split(), args, strict=False)) | dict(kwargs)


#: Rows in one product: a sum of more in float32 would lose digits that κ of image statistics needs.
_ROWS = 4096
#: Rows that are gathered before they are multiplied: the product must outweigh its addition in float64.
_GATHERED = 1024
#: Widest rows whose products PyTorch makes faster.
_NARROW = 64


class Products:
    """Σ rows · rowsᵀ apart for each group of samples: products in the rows' precision, summed in float64.

    Attributes:
        total: float64 [groups, K, d, d]; complete after :meth:`settle`.
    """

    def __init__(self, groups: int, pairs: int, side: int, device: torch.device) -> None:
        self.total = torch.zeros(groups, pairs, side, side, dtype=torch.float64, device=device)
        self.group = self.gathered = 0
        self.waiting: list[torch.Tensor] = []

    def add(self, rows: torch.Tensor, group: int) -> None:
        """Add ``rows`` [K, d, n] to a group; few rows are copied and wait for more of their group."""
        if group != self.group:
            self.settle()
            self.group = group
        few = rows.shape[2] < _GATHERED
        if few:
            self.waiting.append(rows.clone())
            self.gathered += rows.shape[2]
        else:
            add_product(self.total[group], rows)
        if self.gathered >= _GATHERED:
            self.settle()

    def part(self, first: int, last: int, samples: int) -> Products:
        """See :class:`lcaudit.capture.stores.Store`: it adds into the same ``total``."""
        other = copy.copy(self)
        other.group, other.gathered, other.waiting = 0, 0, []
        return other

    def collect(self, part: Products) -> None:
        """Take what a part has summed: it is in ``total`` already, but for what waits."""
        part.settle()

    def settle(self) -> torch.Tensor:
        """Multiply what waits; returns ``total``."""
        if self.waiting:
            add_product(self.total[self.group], torch.cat(self.waiting, 2))
        self.waiting, self.gathered = [], 0
        return self.total


def add_product(total: torch.Tensor, rows: torch.Tensor) -> None:
    """``total += rows · rowsᵀ`` for ``rows`` [K, d, n]: products of some rows in their precision, summed in float64.

    Cost: :func:`product_operations`.
    """
    for part in rows.split(_ROWS, dim=2):
        total += symmetric_product(part).to(total.device)


def symmetric_product(rows: torch.Tensor) -> torch.Tensor:
    """``rows · rowsᵀ`` of [K, d, n], in their precision.

    On the CPU by NumPy, which knows a matrix times its own transpose and has one triangle computed only; PyTorch
    computes both, and is faster where a matrix is so narrow that reading it takes longest.
    """
    if not _triangle(rows.shape[1], rows.device):
        return torch.bmm(rows, rows.transpose(1, 2))
    numbers = rows.detach().numpy()
    with np.errstate(all="ignore"):  # what is not finite is found at the end
        return torch.from_numpy(np.matmul(numbers, numbers.swapaxes(1, 2)))


def product_operations(side: int, rows: int, device: torch.device) -> int:
    """That :func:`symmetric_product` of [side, rows] takes."""
    return (1 if _triangle(side, device) else 2) * side**2 * rows


def _triangle(side: int, device: torch.device) -> bool:
    """Whether one triangle is computed only."""
    return device.type == "cpu" and side > _NARROW
