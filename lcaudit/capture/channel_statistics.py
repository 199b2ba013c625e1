"""Statistics of what modules read, channel by channel: what fixes fold into weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture._as_found import as_found
from lcaudit.capture._forward import forward
from lcaudit.core.types import ChannelStatistics, Probe

#: Samples per batch from which running statistics are gathered: a batch's own variance is noisy below.
STATISTICS_BATCH = 100


def channel_statistics(
    module: torch.nn.Module,
    probe: Probe,
    padding: Mapping[str, tuple[int, ...]],
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
) -> dict[str, ChannelStatistics]:
    """Mean, variance and largest absolute value of what the named modules read, over the whole probe.

    Args:
        padding: by module's path, zeros that are put around its input first, as :func:`torch.nn.functional.pad`
            takes them; ``()`` for none. Channels are on the second axis where the module is a convolution, on
            the last one otherwise.

    Cost: one forward pass over the probe; sums are float64.
    """
    sums: dict[str, _Sums] = {name: _Sums() for name in padding}

    def see(name: str, last: bool) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
        def hook(part: torch.nn.Module, args: tuple[Any, ...]) -> None:
            inputs = args[0].detach()
            inputs = F.pad(inputs, padding[name]) if padding[name] else inputs
            sums[name].add(inputs.movedim(-1, 1) if last else inputs)

        return hook

    with as_found(module, device, dtype) as part, torch.no_grad():
        named = dict(part.named_modules())
        hooks = [
            named[name].register_forward_pre_hook(see(name, isinstance(named[name], torch.nn.Linear)))
            for name in padding
        ]
        try:
            for inputs in _batches(probe, device, dtype, batch_size):
                forward(part, inputs)
        finally:
            for hook in hooks:
                hook.remove()
    return {name: one.finish() for name, one in sums.items()}


def running_statistics(
    module: torch.nn.Module, probe: Probe, *, device: torch.device, dtype: torch.dtype
) -> dict[str, ChannelStatistics]:
    """What every batch norm's running statistics become when gathered over the probe: plain averages over batches.

    Every batch is normalised with its own statistics, as in training, so that each layer's are those of a network
    whose earlier layers are right already. Other modules stay in eval mode. The module is handed back as it came.

    Cost: one forward pass over the probe.
    """
    norms = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }
    momenta = {name: part.momentum for name, part in norms.items()}
    with as_found(module, device, dtype) as part, torch.no_grad():
        try:
            for norm in norms.values():
                # as_found puts the very buffers back: the ones that are written now are copies
                for key in ("running_mean", "running_var", "num_batches_tracked"):
                    value = norm._buffers.get(key)
                    norm._buffers[key] = None if value is None else value.clone()
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            for inputs in _batches(probe, device, dtype, STATISTICS_BATCH):
                forward(part, inputs)
            return stored_statistics(part)
        finally:
            for name, norm in norms.items():
                norm.momentum = momenta[name]


def stored_statistics(module: torch.nn.Module) -> dict[str, ChannelStatistics]:
    """The running statistics of every batch norm that has some, by path."""
    return {
        name: ChannelStatistics(
            part.running_mean.double().cpu(),
            part.running_var.double().cpu(),  # type: ignore[union-attr]  # there with the mean
            torch.empty(0, dtype=torch.float64),
        )
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }


def _batches(probe: Probe, device: torch.device, dtype: torch.dtype, size: int) -> Iterator[torch.Tensor]:
    """All samples; a last batch of fewer than half the size joins the one before."""
    samples = len(probe.keys)
    edges = [*range(0, samples, size), samples]
    if len(edges) > 2 and edges[-1] - edges[-2] < size / 2:
        edges.pop(-2)
    for start, stop in pairwise(edges):
        inputs = probe.batch(start, stop).to(device)
        yield inputs.to(dtype) if inputs.is_floating_point() else inputs


class _Sums:
    """Two passes' worth in one: sums about the first batch's mean, so that no digits are lost."""

    def __init__(self) -> None:
        self.count = 0
        self.shift: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor) -> None:
        rows = inputs.transpose(0, 1).flatten(1).double().cpu()  # one row per channel
        if self.shift is None:
            self.shift = rows.mean(1)
            self.first, self.square = torch.zeros_like(self.shift), torch.zeros_like(self.shift)
            self.largest = torch.zeros_like(self.shift)
        centred = rows - self.shift[:, None]
        self.count += rows.shape[1]
        self.first += centred.sum(1)
        self.square += centred.square().sum(1)
        self.largest = torch.maximum(self.largest, rows.abs().amax(1))

    def finish(self) -> ChannelStatistics:
        if self.shift is None:  # it never ran
            nothing = torch.empty(0, dtype=torch.float64)
            return ChannelStatistics(nothing, nothing, nothing)
        offset = self.first / self.count
        variance = (self.square / self.count - offset.square()).clamp_min(0)
        return ChannelStatistics(self.shift + offset, variance, self.largest)
