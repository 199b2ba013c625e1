"""One of C classes: softmax cross-entropy (multinomial logistic regression's likelihood).

    p = softmax(f),   ℓ = Σ over positions of −log p_y,   ∂ℓ/∂f = p − e_y,   E[∂ℓ ∂ℓᵀ] = diag(p) − p pᵀ

Outputs [b, C], per pixel [b, C, …] or per token [b, T, C]; labels are class indices without the class
axis. Positions whose label is ``ignore_index`` (−100, as in torch) do not count, neither for the given
labels nor for drawn ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lcaudit.capture import labels
from lcaudit.capture.tasks._base import Task

#: What label maps of segmentation data sets hold at borders and elsewhere where nobody said what is there.
_UNLABELLED = 255


def _check(targets: Tensor, width: int) -> str:
    if targets.dtype.is_floating_point or targets.dtype.is_complex or targets.dtype == torch.bool:
        return f"labels are {targets.dtype}, expected class indices (integers)".replace("torch.", "")
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < width:
        wrong = f"labels run from {int(targets.min())} to {int(targets.max())}, expected 0 to {width - 1}"
        others = targets[targets != _UNLABELLED]
        if len(others) < targets.numel() and (not len(others) or 0 <= int(others.min()) <= int(others.max()) < width):
            wrong += f"; if {_UNLABELLED} marks pixels that do not count, pass --ignore-index {_UNLABELLED}"
        return wrong
    return ""


def _evidence(targets: Tensor | None, shape: tuple[int, ...], width: int) -> str:
    if targets is None:
        return f"{width} outputs and no labels: taken for the scores of {width} classes"
    where = "per sample" if len(shape) == 2 else "per position"
    return f"integer labels below {width}, one {where}, for {width} outputs"


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return -outputs.log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _entropy(outputs: Tensor) -> Tensor:
    logarithms = outputs.log_softmax(-1)
    return -(logarithms.exp() * logarithms.clamp_min(-1e30)).sum(-1)  # 0 · log 0 = 0


def _chance(tally: Tensor) -> float | None:
    return 1 - int(tally.max()) / int(tally.sum()) if int(tally.sum()) else None


def _draw(outputs: Tensor, uniform: Tensor) -> Tensor:
    # outputs that are not a number have no draw; any label keeps their gradient not a number
    return labels.draw(outputs, uniform.squeeze(1)).clamp_max(outputs.shape[1] - 1)


def _residual(outputs: Tensor, targets: Tensor) -> Tensor:
    probabilities = outputs.softmax(-1)
    return probabilities.scatter_add(1, targets.unsqueeze(1), -torch.ones_like(probabilities[:, :1]))


def _root(outputs: Tensor) -> Iterator[Tensor]:
    """Cholesky factor of diag(p) − p pᵀ, whose last column is zero and left out.

    C − 1 columns in place of the C vectors √p_c (e_c − p), without a cancellation.
    With s_j the sum of p from j on: L_jj = √(p_j s_{j+1} / s_j), L_ij = −p_i √(p_j / (s_j s_{j+1})).
    Source: Tanabe and Sagae 1992, J. R. Statist. Soc. B 54, 211–219.
    """
    p = outputs.softmax(-1)
    tails = p.flip(-1).cumsum(-1).flip(-1)
    for column in range(p.shape[1] - 1):
        tail, rest = tails[:, column], tails[:, column + 1]
        # where the rest has underflowed to nothing, so has every entry of the column
        scale = torch.where(rest > torch.finfo(rest.dtype).tiny, (p[:, column] / tail / rest).sqrt(), 0.0)
        one = torch.zeros_like(p)
        one[:, column] = rest * scale
        one[:, column + 1 :] = -p[:, column + 1 :] * scale.unsqueeze(1)
        yield one


def _fisher(outputs: Tensor) -> Tensor:
    p = outputs.softmax(-1)
    fisher = -(p.T @ p).fill_diagonal_(0)
    # p_i − p_i² as p_i Σ_{j≠i} p_j: nothing cancels, so the null direction (1, …, 1) stays one where p is nearly sure
    return fisher - torch.diag(fisher.sum(1))


def _structure(outputs: Tensor) -> tuple[Tensor, Tensor]:
    p = outputs.softmax(-1)
    top = p.argmax(1, keepdim=True)
    # 1 − p of the likeliest class as the sum of the others: nothing cancels
    rest = (1 - p).scatter(1, top, p.scatter(1, top, 0.0).sum(1, keepdim=True))
    return (p * rest).sum(0), p


TASK = Task(
    title="classification",
    convention="ℓ = −log softmax(f)_y in nats, summed over the positions of a sample that count",
    indices=True,
    exact_over="classes",
    least_width=2,
    numbers=lambda width: 1,
    predictions=lambda width: 1,
    columns=lambda width: width - 1,
    check=_check,
    evidence=_evidence,
    loss=_loss,
    entropy=_entropy,
    wrong=lambda outputs, targets: outputs.argmax(-1) != targets,
    tally=lambda targets, width: torch.bincount(targets, minlength=width),
    chance=_chance,
    draw=_draw,
    residual=_residual,
    root=_root,
    fisher=_fisher,
    structure=_structure,
)
