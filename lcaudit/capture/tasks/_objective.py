"""A task settled on one network's outputs: losses, gradients and closed forms of whole batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lcaudit.capture.tasks._base import Task
from lcaudit.capture.tasks._batch import Batch, precise
from lcaudit.capture.tasks._layout import Layout
from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.text import count, display_name

#: More backward passes for one batch than this are refused: a sample of labels serves better.
MOST_PASSES = 4096
#: Label of a Σ_g whose expectation was taken without any draw or pass.
CLOSED_FORM = "expected, closed form"


@dataclass(frozen=True, slots=True)
class Fisher:
    """Whose labels Σ_g = E[g gᵀ] averages over.

    Attributes:
        kind: ``expected``: the network's own predictive distribution, which makes Σ_g a factor of the
            Fisher information; ``empirical``: the given labels, which does not (Kunstner, Hennig and
            Balles 2019). Never call one the other.
        draws: seeded draws per sample, or ``exact`` for no draws but the whole expectation.
    """

    kind: Literal["expected", "empirical"] = "expected"
    draws: int | Literal["exact"] = 1

    def __post_init__(self) -> None:
        if self.draws != "exact" and self.draws < 1:
            raise UsageError(
                f"{self.draws} label draws per sample, expected at least 1", "leave --mc-samples out for 1"
            )


#: Whose labels, by convention, where the user does not say.
CONVENTIONS = {"kfac": "expected", "huang2020": "empirical"}


def fisher_of(kind: str | None, draws: int | str = 1, convention: str = "kfac") -> Fisher:
    """The Fisher that a user asks for by words; ``None`` for the convention's own.

    Raises:
        UsageError: no such kind, convention or number of draws, or one that does not go with another.
    """
    if convention not in CONVENTIONS:
        raise UsageError(f"unknown convention {display_name(convention)}, expected {' or '.join(CONVENTIONS)}")
    kind = CONVENTIONS[convention] if kind is None else kind
    if kind not in ("expected", "empirical"):
        raise UsageError(f"unknown Fisher {display_name(kind)}, expected expected or empirical")
    if convention == "huang2020" and kind != "empirical":
        raise UsageError(
            f"the {kind} Fisher with --convention huang2020, whose authors take the given labels",
            "leave --fisher out, or --convention",
        )
    if draws != "exact" and type(draws) is not int:
        raise UsageError(f"{display_name(draws)} label draws per sample, expected a whole number from 1, or exact")
    if kind == "empirical" and draws != 1:
        raise UsageError(
            f"{draws} label draws per sample, but the empirical Fisher takes the given labels",
            "leave --mc-samples out, or --fisher empirical",
        )
    return Fisher(kind, draws)  # type: ignore[arg-type]  # both have just been checked


@dataclass(frozen=True, slots=True)
class Objective:
    """What :func:`lcaudit.capture.tasks.settle` decided; ``evidence`` says why.

    Every method takes the network's outputs as they are and, where labels are known, ``targets`` and
    ``mask`` (bool, the outputs' shape without the class axis): a position counts where the mask is true and
    its label is not ``ignore_index``. Positions that do not count have no loss, no gradient and no draw.
    Work is in float64; gradients come back in the outputs' own precision.
    """

    name: str
    task: Task
    layout: Layout
    ignore_index: int = -100
    evidence: str = ""

    def label(self, fisher: Fisher) -> str:
        """How Σ_g's labels were taken, in words, for every layer without a closed form."""
        if fisher.kind == "empirical":
            return "empirical, given labels"
        if fisher.draws == "exact":
            return f"expected, exact over {self.task.exact_over}"
        return "expected, one draw per sample" if fisher.draws == 1 else f"expected, {fisher.draws} draws per sample"

    def passes(self, outputs: Tensor, fisher: Fisher) -> int:
        """Backward passes that :meth:`gradients` asks for on this batch.

        Raises:
            UsageError: exact labels would take more than ``MOST_PASSES``.
        """
        if fisher.kind == "empirical" or fisher.draws != "exact":
            return 1 if fisher.kind == "empirical" else int(fisher.draws)
        shape = tuple(outputs.shape)
        positions = math.prod(self.layout.positions(shape)[1:])
        wanted = positions * self.task.columns(self.layout.width(shape))
        if wanted > MOST_PASSES:
            raise UsageError(
                f"exact labels would take {count(wanted, 'backward pass', 'backward passes')} per batch, "
                f"expected at most {MOST_PASSES}",
                "draw labels instead, e.g. --mc-samples 4: their noise is inside every interval",
            )
        return wanted

    def loss(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """ℓ of each sample, float64 [b]: the sum over its positions that count (see :mod:`._base`)."""
        batch = self.batch(outputs, targets, mask)
        assert batch.targets is not None
        parts = [self.task.loss(batch.double(part), batch.targets[part]) for part in batch.parts()]
        return batch.per_sample(torch.cat(parts))

    def gradients(
        self,
        outputs: Tensor,
        fisher: Fisher,
        *,
        keys: np.ndarray,
        seed: int,
        targets: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """∂ℓ/∂outputs [b, …] for one backward pass each, so scaled that Σ over passes of g gᵀ estimates E[g gᵀ].

        The weight of a pass (1/m for m draws; for exact labels that of a column of the root of E[∂ℓ ∂ℓᵀ])
        is inside, as its square root: whatever is quadratic in g is simply added up over the passes. Samples
        must not mix inside the network (evaluation mode). Exact labels visit one position at a time, since
        labels at different positions are independent.

        Args:
            keys: int64 [b], each sample's index in its data set: with ``seed`` it fixes the sample's draws.
            targets: needed by the empirical Fisher; for the expected one they only say which positions count.

        Raises:
            UsageError: the empirical Fisher without targets; more exact passes than ``MOST_PASSES``.
            ProbeUnavailable: targets that do not fit the outputs.

        Cost: about that of a softmax per pass, in float64.
        """
        if fisher.kind == "empirical" and targets is None:
            raise UsageError(
                "the empirical Fisher needs labels, and this probe has none", "leave --fisher empirical out"
            )
        self.passes(outputs, fisher)
        batch = self.batch(outputs, targets, mask)
        if fisher.kind == "empirical":
            yield batch.residual(self.task, None, 1.0)
        elif fisher.draws == "exact":
            yield from batch.root(self.task)
        else:
            for index in range(fisher.draws):
                yield batch.residual(self.task, batch.uniforms(self.task, keys, seed, index), fisher.draws**-0.5)

    def closed_form(self, outputs: Tensor, targets: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Σ over samples and positions of E[∂ℓ/∂f ∂ℓ/∂fᵀ], float64 [C, C]: Σ_g of the layer that gives the outputs.

        That layer's gradient rows are the positions, so terms across positions do not enter.

        Cost: one product [C, positions] · [positions, C].
        """
        batch = self.batch(outputs, targets, mask)
        width = batch.rows.shape[1]
        total = torch.zeros(width, width, dtype=torch.float64, device=precise(outputs.device))
        for part in batch.parts():
            total += self.task.fisher(batch.double(part))
        return total

    def structure(
        self, outputs: Tensor, targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """:meth:`closed_form` in parts, none of them C × C: see ``structure`` of a task."""
        batch = self.batch(outputs, targets, mask)
        return (self.task.structure(batch.double(part)) for part in batch.parts())

    def batch(self, outputs: Tensor, targets: Tensor | None, mask: Tensor | None) -> Batch:
        """The positions that count, as rows.

        Raises:
            ProbeUnavailable: targets or mask do not fit the outputs.
        """
        task, layout, shape = self.task, self.layout, tuple(outputs.shape)
        rows = layout.rows(outputs.detach())
        valid = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        if mask is not None:
            if tuple(mask.shape) != layout.positions(shape):
                raise ProbeUnavailable(
                    f"a mask {list(mask.shape)} for outputs {list(shape)}, expected {list(layout.positions(shape))}"
                )
            valid &= mask.to(rows.device, torch.bool).reshape(valid.shape)
        counted = None
        if targets is not None:
            counted = layout.target_rows(targets.to(precise(rows.device)), shape, task.indices)
            if task.indices:
                valid &= (counted != self.ignore_index).to(valid.device)
            counted = self.checked(counted[valid.to(counted.device)], rows.shape[-1])
        return Batch(outputs, layout, rows[valid], valid, counted)

    def checked(self, targets: Tensor, width: int) -> Tensor:
        """Targets that count, as int64 or float64.

        Raises:
            ProbeUnavailable: their values are not this task's.
        """
        wrong = self.task.check(targets, width)
        if wrong:
            raise ProbeUnavailable(wrong, f"the outputs are read as {self.task.title}; name another with --task")
        return targets.long() if self.task.indices else targets.double()
