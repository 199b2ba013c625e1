"""``torch.nn.Conv2d``: a row is one unfolded patch (the "expand" setting of Grosse and Martens 2016, KFC).

Any kernel, stride, dilation, padding mode and number of groups; one factor pair per group. Patches are
unfolded for a few samples at a time, so memory does not grow with the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._base import Accumulator, Handler, Shape, add_product
from lcaudit.core.types import InputMoments

#: Unfolded numbers held at once: 16 MiB of float32, about a core's share of cache.
_CHUNK = 4_194_304


def _padded(module: torch.nn.Conv2d, inputs: torch.Tensor) -> torch.Tensor:
    """The input with the module's own padding applied (``same`` and all padding modes included)."""
    padding = module._reversed_padding_repeated_twice
    if not any(padding):
        return inputs
    return F.pad(inputs, padding, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)


def _patches(module: torch.nn.Conv2d, inputs: torch.Tensor) -> torch.Tensor:
    """[b, c, h, w] → [b, groups, d, positions]."""
    columns = F.unfold(_padded(module, inputs), module.kernel_size, module.dilation, 0, module.stride)
    groups = inputs.shape[1] // (module.in_channels // module.groups)
    return columns.unflatten(1, (groups, -1))


class _Sums:
    """See :class:`Accumulator`. First moments are kept as one summed image per group of samples: patch
    means and their overlap with the padding follow from it exactly, since unfolding is linear."""

    def __init__(self, module: torch.nn.Conv2d, inputs: torch.Tensor, groups: int, device: torch.device) -> None:
        self.module = module
        shape = _shape(module)
        image = tuple(inputs.shape[1:])
        self.second = torch.zeros(groups, shape.groups, shape.inputs, shape.inputs, dtype=torch.float64, device=device)
        self.image = torch.zeros(groups, *image, dtype=torch.float64, device=device)
        self.square = torch.zeros(groups, image[0], dtype=torch.float64, device=device)
        self.samples = torch.zeros(groups, dtype=torch.int64)
        with torch.no_grad():
            self.positions = _patches(module, inputs[:1]).shape[-1]
        self.chunk = max(1, _CHUNK // (shape.groups * shape.inputs * self.positions))

    def add(self, inputs: torch.Tensor, group: int) -> None:
        for part in inputs.split(self.chunk):
            columns = _patches(self.module, part)
            add_product(self.second[group], columns.permute(1, 2, 0, 3).flatten(2))
        self.image[group] += inputs.sum(0, dtype=self.image.dtype)
        self.square[group] += inputs.square().sum((0, 2, 3), dtype=self.square.dtype)
        self.samples[group] += inputs.shape[0]

    def finish(self) -> InputMoments:
        module, shape = self.module, _shape(self.module)
        image = self.image.cpu()
        columns = _patches(module, image)  # [G, K, d, positions]: sums over the samples of each group
        inside = torch.ones(1, 1, *image.shape[-2:], dtype=torch.float64)
        mask = F.unfold(_padded(module, inside), module.kernel_size, module.dilation, 0, module.stride)[0]
        taps = mask.shape[0]
        channels = module.in_channels // module.groups
        return InputMoments(
            second=self.second.cpu(),
            cross=columns @ mask.T,
            overlap=mask @ mask.T / mask.shape[1],
            tap=torch.arange(taps).repeat(channels),
            channel=torch.arange(channels).repeat_interleave(taps),
            channel_sum=image.sum((2, 3)).unflatten(1, (shape.groups, channels)),
            channel_square=self.square.cpu().unflatten(1, (shape.groups, channels)),
            rows=self.samples * self.positions,
            elements=self.samples * image[0, 0].numel(),
        )


def _accumulator(module: torch.nn.Conv2d, inputs: torch.Tensor, groups: int, device: torch.device) -> Accumulator:
    return _Sums(module, inputs, groups, device)


def _shape(module: torch.nn.Conv2d) -> Shape:
    height, width = module.kernel_size
    channels = module.in_channels // module.groups
    return Shape(channels * height * width, module.out_channels // module.groups, module.groups)


def _geometry(module: torch.nn.Conv2d) -> str:
    words = ["×".join(map(str, module.kernel_size))]
    if module.stride != (1, 1):
        words.append("stride " + "×".join(map(str, sorted(set(module.stride)))))
    if any(module._reversed_padding_repeated_twice):
        amount = module.padding if isinstance(module.padding, str) else "×".join(map(str, sorted(set(module.padding))))
        words.append(f"padding {amount}" + ("" if module.padding_mode == "zeros" else f" {module.padding_mode}"))
    if module.dilation != (1, 1):
        words.append("dilation " + "×".join(map(str, sorted(set(module.dilation)))))
    if module.groups > 1:
        words.append(f"{module.groups} groups")
    return ", ".join(words)


def _gradient_rows(module: torch.nn.Conv2d, gradient: torch.Tensor) -> torch.Tensor:
    grouped = gradient.unflatten(1, (module.groups, -1)).flatten(3)  # [b, K, o, positions]
    return grouped.permute(1, 2, 0, 3).flatten(2)


HANDLER = Handler(
    module=torch.nn.Conv2d,
    refuse=lambda module, inputs: "" if inputs.dim() == 4 else "its input has no batch dimension",
    shape=_shape,
    geometry=_geometry,
    accumulator=_accumulator,
    gradient_rows=_gradient_rows,
    positions=lambda module, output: output[0, 0].numel(),
)
