"""Batch-norm replay: do augmented images of the probe give the statistics that training stored?

In evaluation mode, at every batch norm: shift of the channels' means in stored standard deviations, and of the
logarithm of their variances. The squared distance is the mean over batch norms of the mean over channels of both
squares, less what sampling noise alone would give, so that it is 0 on average where everything fits.

Evaluation mode and not training mode: with the batch's own statistics each layer would undo what the one before it
shifted. On public CIFAR-10 ResNets (300 images) the best wrong normalisation is then 1.8 to 2.9 times worse than the
right one, and 3.6 times and more with the stored ones.

Limits, in the scale of the root of the squared distance, from ``docs/identification.md``: right readings of public
CIFAR-10 ResNet-20/32/44 gave at most 0.02, wrong ones at least 0.047 (300 images).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture._forward import forward
from lcaudit.capture._trial import Batch, Method
from lcaudit.capture.batch_norm import Replay


def batch_norms(module: torch.nn.Module) -> list[_BatchNorm]:
    """The batch norms that store statistics."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]


def squared_distance(module: torch.nn.Module, batches: Iterator[Batch], groups: int) -> torch.Tensor:
    """See :class:`lcaudit.capture._trial.Method`; infinite where no batch norm runs.

    Cost: one forward pass.
    """
    replays: dict[int, Replay] = {}

    def hook(part: _BatchNorm) -> Callable[..., None]:
        def see(_: torch.nn.Module, args: tuple[Any, ...]) -> None:
            if id(part) not in replays:
                replays[id(part)] = Replay(part, groups, args[0].device)
            for group, rows in pieces:
                replays[id(part)].add(args[0][rows], group)

        return see

    pieces: tuple[tuple[int, slice], ...] = ()
    with torch.no_grad(), ExitStack() as stack:
        for part in batch_norms(module):
            stack.callback(part.register_forward_pre_hook(hook(part)).remove)
        for batch in batches:
            pieces = batch.pieces
            forward(module, batch.inputs)
    if not replays:
        return torch.full((1 + groups,), torch.inf, dtype=torch.float64)
    return torch.stack([replay.squares() for replay in replays.values()]).sum(-1).mean(0)


METHOD = Method("batch-norm replay", squared_distance, resolution=0.02, limit=1.5, fits=0.1, agrees=0.04, screened=40)
