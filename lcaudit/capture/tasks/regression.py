"""Real values: a Gaussian of unit variance around each output.

    y ~ N(f, I),   ℓ = Σ over values and positions of ½ (y − f)²,   ∂ℓ/∂f = f − y,   E[∂ℓ ∂ℓᵀ] = I

So ℓ is half the squared error, and the expected Fisher is the Gauss–Newton matrix of ½‖y − f‖². Unit
variance is a convention: a noise of variance σ² divides Σ_g by σ² and changes no κ. Training by
``torch.nn.MSELoss`` minimises 2/K of its mean, K the values per sample. Outputs [b], [b, K] or K values per
position; targets of the same shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lcaudit.capture.tasks._base import Task, unit_columns, zero_or_one

#: Entropy of a Gaussian of unit variance, in nats.
_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
#: Half a step of the uniform numbers: 0 would be an infinite draw.
_LEAST = 2.0**-54


def _check(targets: Tensor, width: int) -> str:
    return "" if bool(targets.isfinite().all()) else "some targets are not finite numbers"


def _evidence(targets: Tensor | None, shape: tuple[int, ...], width: int) -> str:
    if targets is None or not targets.dtype.is_floating_point or zero_or_one(targets):
        return ""
    sums = targets.double().sum(-1)
    if width > 1 and bool((targets >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        return ""  # rows of probabilities may as well be soft class labels
    return f"real-valued targets, {'one' if width == 1 else width} per prediction, as many as outputs"


TASK = Task(
    title="regression",
    convention="ℓ = ½ (y − f)², summed over the values and positions of a sample: a Gaussian of unit variance",
    indices=False,
    exact_over="outputs",
    least_width=1,
    numbers=lambda width: width,
    predictions=lambda width: width,
    columns=lambda width: width,
    check=_check,
    evidence=_evidence,
    loss=lambda outputs, targets: 0.5 * (outputs - targets).square().sum(-1),
    entropy=lambda outputs: torch.full_like(outputs[:, 0], _ENTROPY * outputs.shape[1]),
    wrong=lambda outputs, targets: None,
    tally=lambda targets, width: torch.zeros(()),
    chance=lambda tally: None,
    draw=lambda outputs, uniform: outputs + torch.special.ndtri(uniform.clamp_min(_LEAST)),
    residual=lambda outputs, targets: outputs - targets,
    root=lambda outputs: unit_columns(torch.ones_like(outputs)),
    fisher=lambda outputs: torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device) * len(outputs),
    structure=lambda outputs: (torch.full_like(outputs[:1], len(outputs)).sum(0), outputs[:0]),
)
