"""Batch-norm replay: do the probe's statistics reproduce the running ones?"""

from __future__ import annotations

import math

import torch

from lcaudit.core.measurements import BatchNormReplay
from lcaudit.core.quantity import Quantity
from lcaudit.core.statistics import student_t


class Replay:
    """Sums of one batch-norm layer's input, per channel and group of samples, in float64."""

    def __init__(self, module: torch.nn.modules.batchnorm._BatchNorm, groups: int, device: torch.device) -> None:
        self.module = module
        channels = module.running_mean.numel()  # type: ignore[union-attr]  # only with statistics
        self.first = torch.zeros(groups, channels, dtype=torch.float64, device=device)
        self.square = torch.zeros_like(self.first)
        self.elements = torch.zeros(groups, 1, dtype=torch.float64, device=device)

    def add(self, inputs: torch.Tensor, group: int) -> None:
        """Add a batch [b, c, …] whose samples all belong to ``group``."""
        flat = inputs.flatten(2) if inputs.dim() > 2 else inputs.unsqueeze(2)
        # over one sample's positions in the inputs' own precision: converting every number costs four times as much
        self.first[group] += flat.sum(2).sum(0, dtype=self.first.dtype)
        self.square[group] += flat.square().sum(2).sum(0, dtype=self.square.dtype)
        self.elements[group] += inputs.numel() / inputs.shape[1]

    def collect(self, part: Replay) -> None:
        """Take what another one has summed of other samples."""
        self.first += part.first
        self.square += part.square
        self.elements += part.elements

    def squares(self) -> torch.Tensor:
        """Mean over channels of the squared shifts, less sampling noise; float64 [1 + G, 2], 0 on average if all fits.

        Rows: the whole probe, then without each group of samples. Columns: of the mean, in running σ, and of the
        logarithm of the variance.
        """
        first, square, elements = self.first.cpu(), self.square.cpu(), self.elements.cpu()
        running_mean = self.module.running_mean.detach().double().cpu()  # type: ignore[union-attr]  # as above
        running_variance = self.module.running_var.detach().double().cpu()  # type: ignore[union-attr]  # as above
        running_variance = running_variance + self.module.eps

        def shifts(count: torch.Tensor, total: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
            """[2, c]: shift of the mean in running σ, and of the log variance."""
            mean = total / count
            variance = (squares / count - mean**2).clamp_min(0) + self.module.eps
            return torch.stack([(mean - running_mean) / running_variance.sqrt(), (variance / running_variance).log()])

        whole = shifts(elements.sum(0), first.sum(0), square.sum(0))
        groups = len(elements)
        left_out = torch.stack(
            [
                shifts(elements.sum(0) - elements[g], first.sum(0) - first[g], square.sum(0) - square[g])
                for g in range(groups)
            ]
        )
        spread = left_out - left_out.mean(0)
        noise = (groups - 1) / groups * spread.square().sum(0)  # [2, c], squared standard error per channel
        return (torch.cat([whole.unsqueeze(0), left_out]).square() - noise).mean(-1)

    def finish(self, name: str, depth: int, samples: int) -> BatchNormReplay:
        """Root mean square shifts over channels, sampling noise removed, intervals by grouped jackknife."""
        centre, *rows = self.squares().clamp_min(0).sqrt()
        replicates, groups = torch.stack(rows), len(rows)
        error = ((groups - 1) / groups * (replicates - replicates.mean(0)).square().sum(0)).sqrt()
        reach = student_t(groups - 1) * error
        mean_shift, variance_shift = (
            Quantity(
                float(centre[i]),
                unit,
                max(0.0, float(centre[i] - reach[i])),
                float(centre[i] + reach[i]),
                method=f"grouped jackknife over {groups} groups of samples, sampling noise subtracted",
                n=samples,
                reliable=math.isfinite(float(reach[i])),
                degrees=groups - 1,
            )
            for i, unit in enumerate(("1", "nat"))
        )
        return BatchNormReplay(name, depth, self.first.shape[1], mean_shift, variance_shift)
