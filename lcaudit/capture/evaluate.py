"""A network's outputs on a probe, and how well it does there: no gradients, no moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lcaudit.capture._as_found import as_found
from lcaudit.capture._forward import forward
from lcaudit.capture._target import Target
from lcaudit.capture.tasks import Fisher
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.types import Probe


def evaluate(
    module: torch.nn.Module,
    probe: Probe,
    *,
    classes: int,
    task: str,
    ignore_index: int,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
) -> tuple[torch.Tensor, ProbeFit]:
    """(outputs of all samples on the CPU, error and loss). Cost: one forward pass over the probe.

    Raises:
        UnknownArchitecture: the network fails, or does not return one tensor, samples first.
    """
    target = Target(probe, task, classes, ignore_index, Fisher(), 0)
    outputs: list[torch.Tensor] = []
    samples = len(probe.keys)
    with as_found(module, device, dtype) as part, torch.no_grad():
        for start in range(0, samples, batch_size):
            stop = min(start + batch_size, samples)
            inputs = probe.batch(start, stop).to(device)
            output = forward(part, inputs.to(dtype) if inputs.is_floating_point() else inputs)
            if not isinstance(output, torch.Tensor) or output.shape[:1] != inputs.shape[:1]:
                raise UnknownArchitecture("the network did not return one tensor of outputs, [batch, …]")
            mask = None if probe.mask is None else probe.mask(start, stop).to(device)
            target.batch(output, start, stop, mask)
            outputs.append(output.cpu())
    return torch.cat(outputs), target.finish()[0]


def part_of(probe: Probe, keys: np.ndarray, wanted: bool, most: int) -> Probe | None:
    """The first ``most`` samples whose key is, or is not, among ``keys``; ``None`` where fewer than two are left."""
    places = np.flatnonzero(np.isin(probe.keys, keys) == wanted)[:most]
    if len(places) < 2:
        return None
    assert (np.diff(places) == 1).all(), "samples used before and after follow each other in one order"
    begin, end = int(places[0]), int(places[-1]) + 1
    whole, mask = probe, probe.mask
    return Probe(
        record=replace(probe.record, samples=end - begin),
        batch=lambda start, stop: whole.batch(begin + start, begin + stop),
        labels=None if probe.labels is None else probe.labels[begin:end],
        keys=probe.keys[begin:end],
        mask=None if mask is None else lambda start, stop: mask(begin + start, begin + stop),
        meaning=probe.meaning,
    )
