"""Transposed convolutions: a row is one position of the input, its gradient a patch of the output's.

The weight [c_in, c_out/groups, *kernel] takes the input x[:, q] at position q to a patch Wᵀ x[:, q] that is
added into the output around q·stride. So ∂ℓ/∂W = Σ_q x[:, q] · patch_q(∂ℓ/∂y)ᵀ: the input's row has
c_in/groups entries, the gradient's row c_out/groups · taps, and both run over the *input's* positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lcaudit.capture.handlers._base import CHUNK, NO_BATCH, Call, Handler, Shape, arguments
from lcaudit.capture.handlers._vectors import VectorSums
from lcaudit.capture.handlers._windows import Window, each, sides
from lcaudit.capture.stores import Store

_NAMES = "input weight bias stride padding output_padding groups dilation"


def _read(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    given = arguments(_NAMES, args, kwargs)
    weight = given["weight"]
    kernel = tuple(weight.shape[2:])
    padding = each(given.get("padding", 0), len(kernel))
    window = Window(
        kernel=kernel,
        stride=each(given.get("stride", 1), len(kernel)),
        dilation=each(given.get("dilation", 1), len(kernel)),
        before=padding,
        after=padding,
        groups=given.get("groups", 1),
        padding=sides(padding),
    )
    return Call(given["input"], weight, given.get("bias"), outputs_first=False, options=window)


def _shape(call: Call) -> Shape:
    inputs, outputs, *kernel = call.weight.shape
    return Shape(inputs // call.options.groups, outputs * math.prod(kernel), call.options.groups)


def _geometry(call: Call) -> str:
    """The input itself is never padded: what a convolution calls padding is cut off the output."""
    return "transposed " + call.options.words().replace("padding", "cropping")


class _Sums(VectorSums):
    """See :class:`Accumulator`."""

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        grouped = call.inputs.unflatten(1, (call.options.groups, -1)).flatten(3)  # [b, K, c, positions]
        self.add_rows(grouped.permute(1, 2, 0, 3).flatten(2), group)


def _accumulator(call: Call, groups: int, device: torch.device, store: Store | None = None) -> _Sums:
    shape = _shape(call)
    return _Sums(shape.inputs, shape.groups, groups, device, store)


def _gradient_rows(call: Call, gradient: torch.Tensor) -> Iterator[torch.Tensor]:
    shape = _shape(call)
    chunk = max(1, CHUNK // (shape.groups * shape.outputs * math.prod(call.inputs.shape[2:])))
    for part in gradient.split(chunk):
        yield _patches(call, part).permute(1, 2, 0, 3).flatten(2)


def _patches(call: Call, gradient: torch.Tensor) -> torch.Tensor:
    """[b, c, *sides] of the output → [b, K, o, positions of the input]."""
    window: Window = call.options
    # output padding lengthens the far end, which may make room for windows that no input position has
    columns = window.unfold(gradient).unflatten(2, window.positions(gradient.shape[2:]))
    for dimension, side in enumerate(call.inputs.shape[2:]):
        columns = columns.narrow(2 + dimension, 0, side)
    return columns.flatten(2).unflatten(1, (window.groups, -1))


def _sample_rows(call: Call, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return call.inputs.unflatten(1, (call.options.groups, -1)).flatten(3), _patches(call, gradient)


def handler(function: Callable[..., torch.Tensor], module: type[torch.nn.Module], dimensions: int) -> Handler:
    """The layer kind of ``function`` and ``module``."""
    return Handler(
        functions=(function,),
        owner=torch.nn.Module,
        modules=(module,),
        read=_read,
        refuse=lambda call: "" if call.inputs.dim() == dimensions + 2 else NO_BATCH,
        shape=_shape,
        geometry=_geometry,
        accumulator=_accumulator,
        rows=lambda call: (call.inputs.shape[0], *call.inputs.shape[2:]),
        gradient_rows=_gradient_rows,
        maskable=False,
        sample_rows=_sample_rows,
    )
