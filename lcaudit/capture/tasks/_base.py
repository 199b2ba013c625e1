"""What a task must say about itself.

A task is a predictive distribution p(y | f) over the targets of one *position* (the sample itself, or one
of its pixels or tokens), given the C outputs f there. Positions are independent given the outputs, so
the loss of one sample is the sum of −log p over its positions: the sample's negative log-likelihood.
Everything here works on *rows*, float64 [r, C], one position each; :mod:`._objective` finds the rows.

Why the sum and not the mean over positions. Σ_g is a Fisher information only for the negative
log-likelihood, which is the sum; and a training loss averaged over all tokens or pixels of a batch is the
sum over a constant, so it weighs positions as the sum does. With the same number T of positions in
every sample the mean divides every eigenvalue of Σ_g by T² and changes no κ. Where samples differ in
length, the mean gives short samples more weight and its κ differs too: it is another loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of task: a file in :mod:`lcaudit.capture.tasks` defines one as ``TASK``.

    r rows of C outputs each; targets are int64 [r] where ``indices``, else float64 [r, C].

    Attributes:
        title: in words. convention: ℓ of one sample, as a report prints it.
        indices: whether a target is one class index instead of one value per output.
        exact_over: what exact labels run over, in words.
        least_width: smallest C.
        numbers: C → uniform numbers that a draw at one position takes.
        predictions: C → separate predictions at one position, by which errors and losses are averaged.
        columns: C → columns of ``root``.
        check: targets (any dtype and shape), C → what is wrong with their values, or ``""``.
        evidence: targets or ``None``, outputs' shape, C → why the data by themselves speak for this task, or ``""``.
        loss: outputs, targets → −log p [r], constants that no output changes left out.
        entropy: outputs → entropy of p in nats [r].
        wrong: outputs, targets → wrong predictions [r]; ``None`` where right and wrong are not defined.
        tally: targets, C → what ``chance`` needs, additive over rows.
        chance: tally → share of wrong predictions of the best constant guess, or ``None``.
        draw: outputs, uniform numbers [r, numbers] → targets drawn from p.
        residual: outputs, targets → ∂(−log p)/∂f [r, C].
        root: outputs → the columns [r, C] of a matrix S with S Sᵀ = E_p[residual residualᵀ] at each row.
        fisher: outputs → Σ over rows of E_p[residual residualᵀ], [C, C].
        structure: outputs → its diagonal [C], and rows [r, C] such that beside its diagonal it is −rowsᵀ rows.
    """

    title: str
    convention: str
    indices: bool
    exact_over: str
    least_width: int
    numbers: Callable[[int], int]
    predictions: Callable[[int], int]
    columns: Callable[[int], int]
    check: Callable[[Tensor, int], str]
    evidence: Callable[[Tensor | None, tuple[int, ...], int], str]
    loss: Callable[[Tensor, Tensor], Tensor]
    entropy: Callable[[Tensor], Tensor]
    wrong: Callable[[Tensor, Tensor], Tensor | None]
    tally: Callable[[Tensor, int], Tensor]
    chance: Callable[[Tensor], float | None]
    draw: Callable[[Tensor, Tensor], Tensor]
    residual: Callable[[Tensor, Tensor], Tensor]
    root: Callable[[Tensor], Iterator[Tensor]]
    fisher: Callable[[Tensor], Tensor]
    structure: Callable[[Tensor], tuple[Tensor, Tensor]]


def unit_columns(scale: Tensor) -> Iterator[Tensor]:
    """Columns of diag(scale) for every row: ``scale`` [r, C] → C times [r, C]."""
    for column in range(scale.shape[1]):
        one = torch.zeros_like(scale)
        one[:, column] = scale[:, column]
        yield one


def zero_or_one(targets: Tensor) -> bool:
    """Whether every entry is 0 or 1."""
    return bool(((targets == 0) | (targets == 1)).all())
