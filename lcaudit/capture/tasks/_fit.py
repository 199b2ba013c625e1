"""How well the network does on the probe: error, loss and entropy, per prediction."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lcaudit.capture.tasks._objective import Objective
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.quantity import Quantity, wilson
from lcaudit.core.statistics import NORMAL_95


class _Ratio:
    """Σ v / Σ n over samples, with the interval of a ratio estimator (Cochran 1977, equation 6.13)."""

    def __init__(self) -> None:
        self.samples = 0
        self.sums = torch.zeros(5, dtype=torch.float64)  # v, n, v², v·n, n²

    def add(self, values: Tensor, predictions: Tensor) -> None:
        v, n = values.double().cpu(), predictions.double().cpu()
        self.samples += int((n > 0).sum())
        self.sums += torch.stack([v.sum(), n.sum(), (v * v).sum(), (v * n).sum(), (n * n).sum()])

    def collect(self, part: _Ratio) -> None:
        self.samples += part.samples
        self.sums += part.sums

    def ratio(self) -> float:
        return float(self.sums[0] / self.sums[1])

    def variance(self) -> float:
        """Of the ratio; samples are independent, predictions within one are not. NaN where nothing counted."""
        ratio, (_, n, vv, vn, nn) = self.ratio(), self.sums.tolist()
        if n == 0:
            return math.nan
        spread = max(0.0, vv - 2 * ratio * vn + ratio * ratio * nn)
        return spread * self.samples / max(1, self.samples - 1) / (n * n)

    def mean(self) -> Quantity:
        """In nats, with a normal interval; losses and entropies, none of which is negative, end at 0."""
        ratio, half = self.ratio(), NORMAL_95 * math.sqrt(self.variance())
        if not math.isfinite(ratio + half):
            return Quantity(ratio, "nat", method="mean over samples", n=self.samples, reliable=False)
        method = "mean over samples, normal interval"
        low = max(0.0, ratio - half) if ratio >= 0 else ratio - half
        return Quantity(ratio, "nat", low, ratio + half, method=method, n=self.samples)

    def share(self) -> Quantity:
        """A share of predictions: Wilson's interval; where a sample holds several, with their effective number."""
        v, n = self.sums[:2].tolist()
        if n == self.samples:
            return wilson(round(v), self.samples)
        share, variance = self.ratio(), self.variance()
        # as many independent predictions as would give this variance (Kish 1965); where all are right or
        # all wrong the variance says nothing, and each sample counts once
        effective = min(n, share * (1 - share) / variance) if variance > 0 else float(self.samples)
        interval = wilson(share * effective, effective)  # type: ignore[arg-type]  # its formula is for any number
        return replace(interval, value=share, n=self.samples, method="Wilson score, effective number of predictions")


class FitSums:
    """Streaming sums of one objective over the probe.

    A *prediction* is one class index, one binary label or one regression value. Error, loss and entropy
    are per prediction (as torch's ``reduction="mean"``), their intervals over samples.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.loss, self.entropy, self.wrong = _Ratio(), _Ratio(), _Ratio()
        self.tally: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Add a batch of outputs and, where given, targets."""
        task, batch = self.objective.task, self.objective.batch(outputs, targets, mask)
        width = batch.rows.shape[1]
        predictions = batch.valid.sum(1) * task.predictions(width)
        columns: dict[str, list[Tensor]] = {"entropy": [], "loss": [], "wrong": []}
        for part in batch.parts():
            rows = batch.double(part)
            columns["entropy"].append(task.entropy(rows))
            if batch.targets is None:
                continue
            given = batch.targets[part]
            columns["loss"].append(task.loss(rows, given))
            wrong = task.wrong(rows, given)
            columns["wrong"] += [] if wrong is None else [wrong.double()]
            tally = task.tally(given, width).cpu()
            self.tally = tally if self.tally is None else self.tally + tally
        for name, parts in columns.items():
            if parts:
                getattr(self, name).add(batch.per_sample(torch.cat(parts)), predictions)

    def collect(self, part: FitSums) -> None:
        """Take what another one has summed of other samples."""
        self.loss.collect(part.loss)
        self.entropy.collect(part.entropy)
        self.wrong.collect(part.wrong)
        if part.tally is not None:
            self.tally = part.tally if self.tally is None else self.tally + part.tally

    def finish(self) -> ProbeFit:
        """Means with their intervals; ``None`` for what has no labels or, in regression, no meaning."""
        task = self.objective.task
        return ProbeFit(
            error=self.wrong.share() if self.wrong.samples else None,
            loss=self.loss.mean() if self.loss.samples else None,
            chance=None if self.tally is None else task.chance(self.tally),
            entropy=self.entropy.mean(),
        )
