"""Convolutions in one, two and three dimensions: a row is one unfolded patch.

The "expand" setting of Grosse and Martens 2016 (KFC), with one factor pair per group. Patches are unfolded
for a few samples at a time, so memory does not grow with the batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from lcaudit.capture import patch_moments
from lcaudit.capture.handlers._base import CHUNK, NO_BATCH, Call, Handler, Products, Shape, arguments
from lcaudit.capture.handlers._windows import Window, each, sides
from lcaudit.capture.patch_moments import PatchMoments
from lcaudit.capture.stores import Store, on_cpu
from lcaudit.core.types import InputMoments

#: Operations of a symmetric product in whose time one number is unfolded and copied, and one of a correlation made.
_COPY, _CORRELATED = 180, 1.6
#: Channels up to which correlations are taken in float64: their cost hardly counts.
_FEW = 4
_NAMES = "input weight bias stride padding dilation groups"


def _read(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    given = arguments(_NAMES, args, kwargs)
    weight = given["weight"]
    kernel = tuple(weight.shape[2:])
    dilation = each(given.get("dilation", 1), len(kernel))
    padding = given.get("padding", 0)
    if padding == "same":
        total = [step * (side - 1) for step, side in zip(dilation, kernel, strict=True)]
        before = tuple(amount // 2 for amount in total)
        after = tuple(amount - low for amount, low in zip(total, before, strict=True))
    else:
        before = after = each(0 if padding == "valid" else padding, len(kernel))
    window = Window(
        kernel=kernel,
        stride=each(given.get("stride", 1), len(kernel)),
        dilation=dilation,
        before=before,
        after=after,
        groups=given.get("groups", 1),
        padding=padding if isinstance(padding, str) else sides(before),
    )
    return Call(given["input"], weight, given.get("bias"), options=window)


def _undress(module: Any, inputs: torch.Tensor, call: Call) -> Call:
    """Modules pad by themselves unless with zeros: the change of a layer's input comes before its padding."""
    if module.padding_mode == "zeros":
        return call
    ends = module._reversed_padding_repeated_twice
    window = replace(
        call.options,
        before=tuple(ends[::2][::-1]),
        after=tuple(ends[1::2][::-1]),
        padding=module.padding if isinstance(module.padding, str) else sides(module.padding),
        mode=module.padding_mode,
    )
    return replace(call, inputs=inputs, options=window)


def _shape(call: Call) -> Shape:
    outputs, channels, *kernel = call.weight.shape
    return Shape(channels * math.prod(kernel), outputs // call.options.groups, call.options.groups)


def _correlated(call: Call, groups: int) -> bool:
    """Whether correlations are the cheapest exact way to this call's patch moments, by operations counted from shapes.

    They are for most kernels of stride 1 wider than a point; unfolding is for all others.
    """
    window, image = call.options, tuple(call.inputs.shape[1:])
    sides = len(window.kernel)
    if sides != 2 or set(window.stride) != {1} or window.before != window.after or math.prod(window.kernel) == 1:
        return False
    if window.mode != "constant" and any(window.before):
        return False
    reach = [d * (k - 1) for d, k in zip(window.dilation, window.kernel, strict=True)]
    beyond = [max(0, far - pad) for far, pad in zip(reach, window.before, strict=True)]
    if any(pad > far for pad, far in zip(window.before, reach, strict=True)):
        return False
    if any(side < far for side, far in zip(image[1:], beyond, strict=True)):
        return False
    d = _shape(call).inputs
    held = patch_moments.spectrum_size(window.kernel, window.dilation, window.groups, image)
    if held > max(patch_moments.MOST_SPECTRUM, groups * window.groups * d * d):
        return False
    positions = math.prod(window.positions(image[1:]))
    unfolding = window.groups * positions * (d * d + _COPY * d)
    seen = max(-(-far // step) for far, step in zip(beyond, window.dilation, strict=True))
    if seen > 1:  # strips are unfolded
        strips = 4 * max(beyond) * max(image[1:]) * window.groups * (d * d + _COPY * d) // min(window.kernel)
    else:
        strips = _COPY * image[0] * sum(image[1:])
    operations = patch_moments.operations(window.kernel, window.dilation, window.groups, image)
    return _CORRELATED * operations + strips < unfolding


class _Sums:
    """See :class:`Accumulator`. First moments are kept as one summed image per group of samples: patch
    means follow from it exactly, since unfolding is linear. Inputs of
    several sizes, or windows of several strides, are kept as several images."""

    def __init__(self, call: Call, groups: int, device: torch.device, store: Store | None = None) -> None:
        self.shape, self.device, self.groups = _shape(call), device, groups
        self.kernel = call.options.kernel
        #: takes the rows in the place of sums
        self.store = store
        self.products = Products(0 if store else groups, self.shape.groups, self.shape.inputs, device)
        #: of unfolded patches, entries [*kernel, channel], of the group that is being added
        self.unfolded: Products | None = None
        self.square = torch.zeros(groups, call.inputs.shape[1], dtype=torch.float64, device=device)
        self.images: dict[tuple[Window, torch.Size], torch.Tensor] = {}
        self.samples: dict[tuple[Window, torch.Size], torch.Tensor] = {}
        self.correlated: dict[tuple[Window, torch.Size], PatchMoments | None] = {}
        self.group = 0

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        if group != self.group:
            self._take()
            self.group = group
        inputs, window = call.inputs, call.options
        kind = (window, inputs.shape[1:])
        if kind not in self.images:
            self.images[kind] = torch.zeros(self.groups, *kind[1], dtype=torch.float64, device=self.device)
            self.samples[kind] = torch.zeros(self.groups, dtype=torch.int64)
            self.correlated[kind] = (
                self._correlation(call) if not self.store and _correlated(call, self.groups) else None
            )
        correlation = self.correlated[kind]
        if correlation:
            correlation.add(inputs)
        else:
            self._unfold(inputs, window, group)
            self.square[group] += inputs.flatten(2).square().sum(2).sum(0, dtype=torch.float64)
        self.images[kind][group] += inputs.sum(0)
        self.samples[kind][group] += inputs.shape[0]

    def _correlation(self, call: Call) -> PatchMoments:
        window, image = call.options, tuple(call.inputs.shape[1:])
        # images themselves hold directions near the rounding errors of float32, and have few channels
        dtype = torch.float64 if image[0] <= _FEW and self.device == call.inputs.device else call.inputs.dtype
        return PatchMoments(
            window.kernel, window.dilation, window.before, window.groups, image, call.inputs.device, dtype
        )

    def _unfold(self, inputs: torch.Tensor, window: Window, group: int) -> None:
        if self.unfolded is None and not self.store:
            self.unfolded = Products(1, self.shape.groups, self.shape.inputs, self.device)
        positions = math.prod(window.positions(inputs.shape[2:]))
        chunk = max(1, CHUNK // (self.shape.groups * self.shape.inputs * positions))
        for part in inputs.split(chunk):
            rows = window.rows(part)
            if self.unfolded:
                self.unfolded.add(rows, 0)
            elif self.store:
                self.store.add(rows.unflatten(1, (math.prod(self.kernel), -1)).transpose(1, 2).flatten(1, 2), group)

    def _take(self) -> None:
        """What was summed of one group goes where it belongs, entries ordered as a weight's [channel, *kernel]."""
        if self.store:
            return
        into = self.products.total[self.group]
        if self.unfolded:
            taps = math.prod(self.kernel)
            moment = self.unfolded.settle()[0].unflatten(1, (taps, -1)).unflatten(3, (taps, -1))
            into += moment.permute(0, 2, 1, 4, 3).reshape(into.shape)
            self.unfolded.total.zero_()
        for correlation in self.correlated.values():
            if correlation and correlation.added:
                self.square[self.group] += correlation.take(into)

    def part(self, first: int, last: int, samples: int) -> _Sums:
        other = copy.copy(self)
        other.products = self.products.part(first, last, samples)
        other.store = self.store and self.store.part(first, last, samples)
        other.unfolded, other.group = None, 0
        other.square = torch.zeros_like(self.square)
        other.images, other.samples, other.correlated = {}, {}, {}
        return other

    def collect(self, part: _Sums) -> None:
        part._take()
        if self.store:
            self.store.collect(part.store)
        self.square += part.square
        for kind, image in part.images.items():
            self.images[kind] = self.images[kind] + image if kind in self.images else image
            self.samples[kind] = self.samples[kind] + part.samples[kind] if kind in self.samples else part.samples[kind]

    def finish(self) -> InputMoments:
        self._take()
        pairs = self.shape.groups
        taps = math.prod(self.kernel)
        channels = self.shape.inputs // taps
        first = torch.zeros(self.groups, pairs, self.shape.inputs, dtype=torch.float64)
        total = torch.zeros(self.groups, pairs, channels, dtype=torch.float64)
        rows = torch.zeros(self.groups, dtype=torch.int64)
        elements = torch.zeros(self.groups, dtype=torch.int64)
        for (window, size), summed in self.images.items():
            image, samples = summed.cpu(), self.samples[window, size]
            first += window.unfold(image).unflatten(1, (pairs, -1)).sum(3)  # of each group's samples together
            total += image.flatten(2).sum(2).unflatten(1, (pairs, channels))
            rows += samples * math.prod(window.positions(size[1:]))
            elements += samples * math.prod(window.padded(size[1:]))
        return InputMoments(
            second=on_cpu(self.store.settle() if self.store else self.products.total),
            first=first,
            channel=torch.arange(channels).repeat_interleave(taps),
            channel_sum=total,
            channel_square=self.square.cpu().unflatten(1, (pairs, channels)),
            rows=rows,
            elements=elements,
        )


def _operations(call: Call, groups: int) -> int | None:
    if not _correlated(call, groups):
        return None
    window = call.options
    return patch_moments.operations(window.kernel, window.dilation, window.groups, tuple(call.inputs.shape[1:]))


def _gradient_rows(call: Call, gradient: torch.Tensor) -> Iterator[torch.Tensor]:
    grouped = gradient.unflatten(1, (call.options.groups, -1)).flatten(3)  # [b, K, o, positions]
    yield grouped.permute(1, 2, 0, 3).flatten(2)


def _sample_rows(call: Call, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    groups = call.options.groups
    columns = call.options.unfold(call.inputs).unflatten(1, (groups, -1))
    return columns, gradient.unflatten(1, (groups, -1)).flatten(3)


def _sample_gradients(call: Call, gradient: torch.Tensor) -> torch.Tensor:
    """By one weight gradient of a convolution with a group for each sample, which needs no unfolding.

    Unfolded where that is no larger than the image, and where there are fewer positions than channels, since the
    product then takes longer than the unfolding; off the CPU, where many groups take longest.
    """
    window, samples = call.options, len(gradient)
    overlapping = len(window.kernel) == 2 and all(k > s for k, s in zip(window.kernel, window.stride, strict=True))
    if gradient.device.type != "cpu" or not overlapping or gradient[0, 0].numel() < call.weight.shape[1]:
        columns, rows = _sample_rows(call, gradient)
        return rows @ columns.transpose(2, 3)
    images = window.pad(call.inputs)
    weights = gradient.new_empty(1).expand(samples * gradient.shape[1], *call.weight.shape[1:])  # asked for its shape
    _, formed, _ = torch.ops.aten.convolution_backward(
        gradient.flatten(0, 1).unsqueeze(0), images.flatten(0, 1).unsqueeze(0), weights, None, window.stride, (0, 0),
        window.dilation, False, (0, 0), samples * window.groups, (False, True, False),
    )  # fmt: skip
    return formed.view(samples, window.groups, -1, formed[0].numel())


def handler(function: Callable[..., torch.Tensor], module: type[torch.nn.Module], dimensions: int) -> Handler:
    """The layer kind of ``function`` and ``module``."""
    return Handler(
        functions=(function,),
        owner=torch.nn.Module,
        modules=(module,),
        read=_read,
        refuse=lambda call: "" if call.inputs.dim() == dimensions + 2 else NO_BATCH,
        shape=_shape,
        geometry=lambda call: call.options.words(),
        accumulator=_Sums,
        rows=lambda call: (call.inputs.shape[0], *call.options.positions(call.inputs.shape[2:])),
        gradient_rows=_gradient_rows,
        maskable=False,
        undress=_undress,
        sample_rows=_sample_rows,
        sample_gradients=_sample_gradients,
        operations=_operations,
    )
