"""A matrix applied to vectors [b, d] or sequences [b, …, d]: a row is one vector or token.

``torch.nn.Linear``, ``F.linear``, ``x @ W`` and ``torch.addmm`` with a weight of either orientation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._base import NO_BATCH, Accumulator, Call, Handler, Shape, arguments
from lcaudit.capture.handlers._vectors import VectorSums
from lcaudit.capture.stores import Store

_PRODUCTS = (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.__matmul__)


def _read(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
    if function is F.linear:
        given = arguments("input weight bias", args, kwargs)
        return Call(given["input"], given["weight"], given.get("bias"))
    if function is torch.addmm:
        given = arguments("input mat1 mat2", args, kwargs)
        scaled = given.get("beta", 1) != 1 or given.get("alpha", 1) != 1
        left, right, bias = given.get("mat1"), given.get("mat2"), given["input"]
    else:
        given = arguments("input other", args, kwargs)
        left, right, bias, scaled = given["input"], given.get("other", given.get("mat2")), None, False
    if scaled or not isinstance(right, torch.Tensor) or not isinstance(left, torch.Tensor) or right.dim() != 2:
        return None
    return Call(left, right, bias, outputs_first=False)


def shape(call: Call) -> Shape:
    """One pair of factors: the weight's two sides."""
    sides = call.weight.shape if call.outputs_first else call.weight.shape[::-1]
    return Shape(sides[1], sides[0], 1)


class _Sums(VectorSums):
    """See :class:`Accumulator`."""

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        rows = call.inputs.reshape(-1, call.inputs.shape[-1])
        self.add_rows((rows if keep is None else rows[keep]).T.unsqueeze(0), group)


def accumulator(call: Call, groups: int, device: torch.device, store: Store | None = None) -> Accumulator:
    """Empty sums."""
    return _Sums(call.inputs.shape[-1], 1, groups, device, store)


def gradient_rows(call: Call, gradient: torch.Tensor) -> Iterator[torch.Tensor]:
    """[…, o] → [1, o, rows], in one piece."""
    yield gradient.reshape(-1, gradient.shape[-1]).T.unsqueeze(0)


def _sample_rows(call: Call, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[b, …, d] and [b, …, o] → [b, 1, d, rows] and [b, 1, o, rows]."""
    inputs, gradients = (one.reshape(len(one), 1, -1, one.shape[-1]) for one in (call.inputs, gradient))
    return inputs.transpose(2, 3), gradients.transpose(2, 3)


HANDLER = Handler(
    functions=(F.linear, torch.addmm, *_PRODUCTS),
    owner=torch.nn.Module,
    modules=(torch.nn.Linear,),
    read=_read,
    refuse=lambda call: "" if call.inputs.dim() >= 2 else NO_BATCH,
    shape=shape,
    geometry=lambda call: "",
    accumulator=accumulator,
    rows=lambda call: tuple(call.inputs.shape[:-1]),
    gradient_rows=gradient_rows,
    sample_rows=_sample_rows,
)
