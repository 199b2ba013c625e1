"""The convention of Huang et al. 2020 as their own code has it, for comparison with their figures.

Their hooks sit in live training: given labels, batch norms that use the statistics of the batch, and for a
convolution the second moment of the *channels*, with every pixel of the input feature map a row. Their Σ_g is
N · Σ g gᵀ over the N pixels of a batch's outputs, g of the batch's mean loss: in terms of each sample's own loss
that is the sum over pixels, averaged over samples, times H_out · W_out.

Source: "Layer-wise Conditioning Analysis in Exploring the Learning Dynamics of DNNs", ECCV 2020, and
github.com/huangleiBuaa/LayerwiseCA, ``Cifar/module/SpatialConvolution_conditioning.lua``. What they do not say
is as in the default convention: grouped convolutions, tokens, transposed convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from lcaudit.capture.handlers._base import Call, Handler, Shape
from lcaudit.capture.handlers._vectors import VectorSums
from lcaudit.capture.stores import Store
from lcaudit.core.errors import UsageError


def channels_only(handler: Handler) -> Handler:
    """The same kind of layer; for a convolution with channels in the place of patches."""
    if not any(issubclass(module, _ConvNd) for module in handler.modules):
        return handler
    return replace(handler, shape=_shape, accumulator=_accumulator, gradient_rows=_gradient_rows, operations=None)


def _shape(call: Call) -> Shape:
    groups = call.options.groups
    outputs = call.weight.shape[0] // groups if call.outputs_first else call.weight.shape[1]
    return Shape(call.inputs.shape[1] // groups, outputs, groups)


def _pixels(values: torch.Tensor, groups: int) -> torch.Tensor:
    """[b, channels, …] → [groups, channels / groups, pixels of all samples]."""
    return values.unflatten(1, (groups, -1)).flatten(3).permute(1, 2, 0, 3).flatten(2)


class _Sums(VectorSums):
    """See :class:`Accumulator`."""

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        self.add_rows(_pixels(call.inputs, call.options.groups), group)


def _accumulator(call: Call, groups: int, device: torch.device, store: Store | None = None) -> _Sums:
    shape = _shape(call)
    return _Sums(shape.inputs, shape.groups, groups, device, store)


def _gradient_rows(call: Call, gradient: torch.Tensor) -> Iterator[torch.Tensor]:
    yield _pixels(gradient, call.options.groups) * math.sqrt(math.prod(gradient.shape[2:]))


@contextmanager
def batch_statistics(module: torch.nn.Module, batches: list[tuple[int, int, int]]) -> Iterator[None]:
    """Batch norms use the statistics of the batch for the time inside; their running ones are not touched.

    Raises:
        UsageError: a batch of one sample, which has no statistics.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if norms and any(stop - start < 2 for _, start, stop in batches):
        raise UsageError(
            "--convention huang2020 takes batch statistics, and a batch would hold one sample",
            "use at least 20 samples, or a larger --batch-size",
        )
    before = [(part, part.training, part.track_running_stats) for part in norms]
    try:
        for part in norms:
            part.training, part.track_running_stats = True, False
        yield
    finally:
        for part, training, tracked in before:
            part.training, part.track_running_stats = training, tracked
