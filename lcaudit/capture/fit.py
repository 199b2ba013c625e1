"""How well the network does on the probe: error, loss, entropy."""

from __future__ import annotations

import math

import torch

from lcaudit.core.measurements import ProbeFit
from lcaudit.core.quantity import Quantity, wilson
from lcaudit.core.statistics import NORMAL_95


class Fit:
    """Streaming sums over samples."""

    def __init__(self) -> None:
        self.samples = self.wrong = 0
        self.loss = self.loss_square = self.entropy = self.entropy_square = 0.0
        self.labels: dict[int, int] = {}

    def add(self, logits: torch.Tensor, labels: torch.Tensor | None) -> None:
        """Add a batch of logits [b, C] and, where given, labels int64 [b]."""
        log_probabilities = logits.cpu().double().log_softmax(-1)
        entropy = -(log_probabilities.exp() * log_probabilities.clamp_min(-1e30)).sum(-1)
        self.samples += len(logits)
        self.entropy += float(entropy.sum())
        self.entropy_square += float(entropy.square().sum())
        if labels is None:
            return
        labels = labels.cpu()
        loss = torch.nn.functional.nll_loss(log_probabilities, labels, reduction="none")
        self.loss += float(loss.sum())
        self.loss_square += float(loss.square().sum())
        self.wrong += int((logits.cpu().argmax(-1) != labels).sum())
        for label, number in zip(*labels.unique(return_counts=True), strict=True):
            self.labels[int(label)] = self.labels.get(int(label), 0) + int(number)

    def finish(self) -> ProbeFit:
        """Means with their intervals."""
        entropy = _mean(self.entropy, self.entropy_square, self.samples)
        if not self.labels:
            return ProbeFit(None, None, None, entropy)
        loss = _mean(self.loss, self.loss_square, self.samples)
        chance = 1 - max(self.labels.values()) / self.samples
        return ProbeFit(wilson(self.wrong, self.samples), loss, chance, entropy)


def _mean(total: float, squares: float, n: int) -> Quantity:
    mean = total / n
    variance = max(0.0, squares / n - mean * mean) * n / max(1, n - 1)
    half = NORMAL_95 * math.sqrt(variance / n) if math.isfinite(variance) else math.nan
    if not math.isfinite(half):
        return Quantity(mean, "nat", method="mean over samples", n=n, reliable=False)
    return Quantity(mean, "nat", mean - half, mean + half, method="mean over samples, normal interval", n=n)
