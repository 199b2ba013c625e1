"""Batch-norm replay and gradient stationarity by their definitions: one sample at a time, every number kept.

Nothing is shared with lcaudit. Every batch norm's inputs are gathered from single samples in evaluation mode; each
channel's mean and variance are taken over all of them, then again without each group; the noise is the jackknife's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def squared_distance(module: nn.Module, inputs: torch.Tensor, groups: Sequence[Sequence[int]]) -> float:
    """Mean over batch norms of the channels' mean squared shifts of mean and log variance, less noise.

    Args:
        inputs: [n, …], in the module's precision. groups: the samples of each group.
    """
    parts = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    seen: list[list[torch.Tensor]] = [[] for _ in parts]  # by batch norm, by sample: [c, elements]
    handles = [
        part.register_forward_pre_hook(lambda _, args, rows=rows: rows.append(args[0][0].flatten(1).double()))
        for part, rows in zip(parts, seen, strict=True)
    ]
    module.eval()
    with torch.no_grad():
        for sample in inputs:
            module(sample.unsqueeze(0))
    for handle in handles:
        handle.remove()
    total = 0.0
    for part, rows in zip(parts, seen, strict=True):
        for shift in (mean_shift, variance_shift):
            squares = 0.0
            for channel in range(part.num_features):
                values = [row[channel] for row in rows]
                everything = [index for group in groups for index in group]
                whole = shift(part, channel, values, everything)
                left = [shift(part, channel, values, [i for i in everything if i not in group]) for group in groups]
                middle, count = sum(left) / len(left), len(left)
                noise = (count - 1) / count * sum((one - middle) ** 2 for one in left)
                squares += whole**2 - noise
            total += squares / part.num_features
    return total / len(parts)


def mean_shift(part: nn.BatchNorm2d, channel: int, values: list[torch.Tensor], chosen: list[int]) -> float:
    mean = torch.cat([values[i] for i in chosen]).mean().item()
    return (mean - part.running_mean[channel].item()) / math.sqrt(part.running_var[channel].item() + part.eps)


def variance_shift(part: nn.BatchNorm2d, channel: int, values: list[torch.Tensor], chosen: list[int]) -> float:
    variance = torch.cat([values[i] for i in chosen]).var(correction=0).item()
    return math.log((variance + part.eps) / (part.running_var[channel].item() + part.eps))


def squared_gradient(
    module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, groups: Sequence[Sequence[int]]
) -> float:
    """Mean, over ordered pairs of different groups, of the product of their mean gradients."""
    parameters = list(module.parameters())
    means = []
    for group in groups:
        sums = [torch.zeros_like(one) for one in parameters]
        for i in group:
            loss = nn.functional.cross_entropy(module(inputs[i : i + 1]), labels[i : i + 1])
            for total, one in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
                total += one / len(group)
        means.append(torch.cat([one.flatten() for one in sums]))
    pairs = [(a, b) for a in range(len(means)) for b in range(len(means)) if a != b]
    return sum(float(means[a] @ means[b]) for a, b in pairs) / len(pairs)
