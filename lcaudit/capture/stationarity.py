"""Gradient stationarity: training ends where its mean gradient is small, so the true function has the smallest one.

For networks without batch norm, and only with labels (with labels drawn from the network itself the mean gradient is
zero whatever the function). The squared distance is ‖E ∇ℓ‖² over all parameters, without the noise of finitely many
samples: the mean over pairs of groups of samples of the product of their mean gradients. It has no scale of its own:
it compares readings of one checkpoint and says nothing of a single one.

Weak where readings hardly differ (ReLU and a leaky ReLU of slope 0.01), and where training did not converge or
minimised something else (label smoothing, mixed images).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lcaudit.capture._forward import forward
from lcaudit.capture._trial import Batch, Method
from lcaudit.capture.tasks import Fisher, settle
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.types import Probe

#: Numbers of all groups' gradients that are kept, at most: 512 MiB.
MOST_NUMBERS = 2**27
_GIVEN = Fisher("empirical")


def method(probe: Probe, task: str, ignore_index: int, classes: int) -> Method:
    """The method on this probe's labels, which it must have."""
    assert probe.labels is not None
    labels = torch.from_numpy(probe.labels)

    def squared_gradient(module: torch.nn.Module, batches: Iterator[Batch], groups: int) -> torch.Tensor:
        """Cost: a forward and a backward pass with weight gradients; memory of G copies of the parameters."""
        parameters = [one.requires_grad_() for one in module.parameters() if one.is_floating_point()]
        sums = torch.zeros(groups, sum(one.numel() for one in parameters), device=parameters[0].device)
        counts = torch.zeros(groups, 1, device=sums.device)
        for batch in batches:
            for group, rows in batch.pieces:
                first, last = batch.start + rows.start, batch.start + rows.stop
                outputs = forward(module, batch.inputs[rows])
                if not isinstance(outputs, torch.Tensor) or not outputs.requires_grad:
                    raise UnknownArchitecture("the outputs have no gradients to compare")
                objective = settle(task, tuple(outputs.shape), labels, classes=classes, ignore_index=ignore_index)
                (towards,) = objective.gradients(
                    outputs, _GIVEN, keys=probe.keys[first:last], seed=0, targets=labels[first:last]
                )
                found = torch.autograd.grad(outputs, parameters, towards, allow_unused=True)
                flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
                sums[group] += torch.cat([one.reshape(-1).float() for one in flat])
                counts[group] += last - first
        return between_groups(sums / counts)

    return Method(
        "gradient stationarity", squared_gradient, resolution=0.0, limit=1.25, fits=torch.inf, agrees=0.0,
        screened=120, augmentations=("none",), exchanges=False,
    )  # fmt: skip


def between_groups(means: torch.Tensor) -> torch.Tensor:
    """[G, P] groups' mean gradients → mean product of two different ones, float64 [1 + G]: all, then without each."""
    groups = len(means)
    products = torch.zeros(groups, groups, dtype=torch.float64)
    for part in means.split(1 << 20, dim=1):
        wide = part.double() if part.device.type != "mps" else part.cpu().double()
        products += (wide @ wide.T).cpu()
    products.fill_diagonal_(0)
    total = products.sum()
    without = (total - 2 * products.sum(1)) / ((groups - 1) * (groups - 2))
    return torch.cat([(total / (groups * (groups - 1))).reshape(1), without])
