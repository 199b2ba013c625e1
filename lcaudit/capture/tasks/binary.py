"""Independent yes-or-no labels: binary cross-entropy on logits.

    p = sigmoid(f),   ℓ = Σ over labels and positions of −y log p − (1 − y) log(1 − p),
    ∂ℓ/∂f = p − y,   E[∂ℓ ∂ℓᵀ] = diag(p (1 − p))

Outputs [b] or [b, 1] (one label), [b, K] (K labels of which any number may hold), or K labels per
position; targets 0 or 1 of the same shape. The error counts every label by itself, p > ½ meaning yes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lcaudit.capture.tasks._base import Task, unit_columns, zero_or_one


def _check(targets: Tensor, width: int) -> str:
    return "" if zero_or_one(targets) else "some labels are neither 0 nor 1"


def _evidence(targets: Tensor | None, shape: tuple[int, ...], width: int) -> str:
    if targets is None or not bool((targets == 0).any() and (targets == 1).any()):
        return ""
    if width > 1 and targets.dim() == 2 and bool((targets.sum(1) == 1).all()):
        return ""  # one-hot rows may as well be classes
    return f"labels 0 and 1, {'one' if width == 1 else width} per prediction, as many as outputs"


def _entropy(outputs: Tensor) -> Tensor:
    distance = outputs.abs()  # log(1 + e^−a) + a · sigmoid(−a): no difference of nearly equal numbers
    return (F.softplus(-distance) + distance * torch.sigmoid(-distance)).sum(-1)


def _chance(tally: Tensor) -> float | None:
    ones, rows = tally
    return float(torch.minimum(ones, rows - ones).sum() / rows.sum()) if int(rows.sum()) else None


def _variance(outputs: Tensor) -> Tensor:
    return torch.sigmoid(outputs) * torch.sigmoid(-outputs)


TASK = Task(
    title="independent binary labels",
    convention="ℓ = −y log p − (1 − y) log(1 − p) in nats, p = sigmoid(f), summed over the labels and positions of a "
    "sample",
    indices=False,
    exact_over="labels",
    least_width=1,
    numbers=lambda width: width,
    predictions=lambda width: width,
    columns=lambda width: width,
    check=_check,
    evidence=_evidence,
    loss=lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(-1),
    entropy=_entropy,
    wrong=lambda outputs, targets: ((outputs > 0) != (targets > 0.5)).sum(-1),
    tally=lambda targets, width: torch.stack([targets.sum(0), torch.ones_like(targets).sum(0)]),
    chance=_chance,
    draw=lambda outputs, uniform: (uniform < torch.sigmoid(outputs)).to(outputs),
    residual=lambda outputs, targets: torch.sigmoid(outputs) - targets,
    root=lambda outputs: unit_columns(_variance(outputs).sqrt()),
    fisher=lambda outputs: torch.diag(_variance(outputs).sum(0)),
    structure=lambda outputs: (_variance(outputs).sum(0), outputs[:0]),
)
