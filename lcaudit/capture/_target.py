"""What a run's outputs are held against: labels, the task that they settle, and whose Fisher is measured."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch

from lcaudit.capture.tasks import AUTO, Fisher, FitSums, Objective, settle
from lcaudit.core.errors import UsageError
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.types import Probe, Settled

#: Scores, samples × classes, that are kept: beyond, drawing pairs of sample and label among them would cost more
#: than the pairs' gradients.
MOST_SCORES = 2**26


class Target:
    """Labels of the whole probe; ``objective`` is settled on the first outputs, whatever the batch size."""

    def __init__(self, probe: Probe, task: str, classes: int, ignore_index: int, fisher: Fisher, seed: int) -> None:
        """``classes``: width of the network's output if known, else 0.

        Raises:
            UsageError: the empirical Fisher of a probe without labels.
        """
        if fisher.kind == "empirical" and probe.labels is None:
            raise UsageError(
                "the empirical Fisher needs labels, and this probe has none",
                "leave --fisher empirical or --convention huang2020 out",
            )
        self.keys, self.seed, self.fisher = probe.keys, seed, fisher
        self.labels = None if probe.labels is None else torch.from_numpy(probe.labels)
        self.asked = (task, classes, ignore_index)
        self.meaning = probe.meaning
        self.objective: Objective | None = None
        self.fit: FitSums | None = None
        self.kept: dict[int, torch.Tensor] = {}
        self.why_not = ""

    def batch(self, outputs: torch.Tensor, start: int, stop: int, mask: torch.Tensor | None) -> Held:
        """Hold the outputs of samples ``start`` to ``stop`` against their labels.

        Args:
            mask: bool [b, T], true where a token is real; says which positions count where outputs have some.

        Raises:
            UsageError, ProbeUnavailable: see :func:`lcaudit.capture.tasks.settle`.
        """
        if self.objective is None:
            task, classes, ignore_index = self.asked
            said = self.meaning if task == AUTO else None
            found = settle(
                said.task if said else task, tuple(outputs.shape), self.labels, classes=classes,
                ignore_index=ignore_index, last=bool(self.meaning and self.meaning.prediction),
            )  # fmt: skip
            self.objective = replace(found, evidence=said.evidence) if said else found
            self.fit = FitSums(self.objective)
            self.objective.passes(outputs, self.fisher)  # too many are refused before any work
        assert self.fit is not None
        held = Held(self, self.objective, outputs, start, stop, mask)
        self.fit.add(outputs, held.labels, held.mask)
        self.why_not = self._unkept(outputs)
        if not self.why_not:
            self.kept[start] = outputs.cpu()
        return held

    def part(self) -> Target:
        """An empty one for other samples of the same probe."""
        other = copy.copy(self)
        other.objective, other.fit, other.kept = None, None, {}
        return other

    def collect(self, part: Target) -> None:
        """Take what a part has seen."""
        if self.fit is None:
            self.objective, self.fit = part.objective, part.fit
        elif part.fit is not None:
            self.fit.collect(part.fit)
        self.why_not = part.why_not
        self.kept |= part.kept

    def _unkept(self, outputs: torch.Tensor) -> str:
        """Why the outputs are not kept for :meth:`scores`."""
        assert self.objective is not None
        if self.fisher.kind != "expected":
            return "labels are the given ones, so that there is no Fisher information to compare with"
        if self.objective.name != "classification" or outputs.dim() != 2:
            return "formed only for classifiers that score each sample once"
        return "too many samples × classes" if len(self.keys) * outputs.shape[1] > MOST_SCORES else ""

    def scores(self) -> torch.Tensor | str:
        """[n, C], the classes' scores of the whole probe, on the CPU; or why they were not kept."""
        if self.kept:
            return torch.cat([self.kept[start] for start in sorted(self.kept)])
        return self.why_not

    @property
    def label(self) -> str:
        """How Σ_g's labels were taken at every layer without a closed form."""
        return self.objective.label(self.fisher) if self.objective else ""

    def finish(self) -> tuple[ProbeFit, Settled]:
        """How well the network does, and at what."""
        assert self.objective is not None and self.fit is not None, "asked after a batch"
        objective = self.objective
        fit = replace(self.fit.finish(), prediction=self.meaning.prediction if self.meaning else "")
        return fit, Settled(objective.name, objective.evidence, objective.task.convention)


class Held:
    """One batch of outputs beside its labels."""

    def __init__(
        self,
        target: Target,
        objective: Objective,
        outputs: torch.Tensor,
        start: int,
        stop: int,
        mask: torch.Tensor | None,
    ) -> None:
        self.target, self.objective, self.outputs = target, objective, outputs
        self.keys = target.keys[start:stop]
        self.labels = None if target.labels is None else target.labels[start:stop]
        # where outputs have no positions, or as many axes of them as images, padded tokens lie before them
        positions = objective.layout.positions(tuple(outputs.shape))
        self.mask = mask if mask is not None and len(positions) == mask.dim() else None

    @property
    def passes(self) -> int:
        """Backward passes that :meth:`gradients` asks for."""
        return self.objective.passes(self.outputs, self.target.fisher)

    def gradients(self) -> Iterator[torch.Tensor]:
        """∂ℓ/∂outputs for one backward pass each; whatever is quadratic in them is added up over the passes."""
        return self.objective.gradients(
            self.outputs,
            self.target.fisher,
            keys=self.keys,
            seed=self.target.seed,
            targets=self.labels,
            mask=self.mask,
        )

    def closed_form(self) -> torch.Tensor:
        """The expected Σ_g of the layer that gives the outputs, summed over the batch, float64 [C, C]."""
        return self.objective.closed_form(self.outputs, self.labels, self.mask)

    def structure(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The same in parts, each its diagonal [C] and rows [r, C] whose products are subtracted beside it."""
        return self.objective.structure(self.outputs, self.labels, self.mask)

    def channels(self) -> torch.Tensor:
        """Shaped like the outputs of one sample, [1, …]: the index of its class at every entry."""
        one = self.outputs[:1]
        rows = self.objective.layout.rows(one)
        classes = torch.arange(rows.shape[-1], device=rows.device, dtype=torch.float32)
        return self.objective.layout.restore(classes.expand(rows.shape), one)
