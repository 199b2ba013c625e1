"""Sums of one layer while batches stream through it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from lcaudit.capture._survey import Found, Read, Survey
from lcaudit.capture._target import Held
from lcaudit.capture.budget import Forms
from lcaudit.capture.handlers._base import Accumulator, Call, Products
from lcaudit.capture.normed import NORMS, behind, joined, possible
from lcaudit.capture.stores import RowStore, SketchStore, Store, is_finite, on_cpu
from lcaudit.core.measurements import LayerRecord
from lcaudit.core.types import InputMoments, InputSums, LayerMoments

SPLIT = "it reads the tensor that another layer reads in some passes and its own in others"
#: Operations, in d² (d + _SMALL), that asking takes, measured at d = 144 to 576; and in d, for each group of samples,
#: that a correlation takes where its sums are settled once more before the end.
_WORTH, _SMALL, _SETTLING = 60, 400, 12_000
UNEVEN = "its rows do not grow with the batch, so that gradients of single samples cannot be told apart"


class LayerSums:
    """One layer's accumulators; ``refused`` says why it is not measured, once that is known."""

    def __init__(
        self, found: Found, forms: Forms, samples: int, device: torch.device, twin: LayerSums | None = None
    ) -> None:
        """``found`` by the survey of ``samples`` samples; ``forms``: in which its moments are kept.

        ``twin``: a layer that reads the same tensor just before, and sums it for both.
        """
        self.found, self.handler, self.forms, self.device = found, found.handler, forms, device
        self.groups = forms.groups
        self.refused = found.refused
        self.per_sample = found.rows // samples
        if not self.refused and (self.per_sample == 0 or found.rows % samples):
            self.refused = UNEVEN
        self.rows = 0
        self.gradient_calls = 0
        self.inputs: Accumulator | None = None
        self.gradient: Products | Store = Products(0, 0, 0, device)
        self.twin = twin
        self.twins = 0
        #: normalisations behind which the input is summed too, and those sums, each in one group for each thread
        self.norms: tuple[str, ...] = ()
        self.normed: dict[str, Accumulator] = {}
        self.collected: list[dict[str, Accumulator]] = []
        self.seen: tuple[Read, torch.Tensor | None] | None = None
        #: the input's sums, once it is summed no further
        self.stopped: InputSums | None = None
        if not self.refused:
            shape = found.shape
            if twin:
                self.inputs = twin.inputs
                twin.twins += 1
            else:
                self.inputs = self.handler.accumulator(found.call, self.groups, device, forms.inputs.store(device))
            self.gradient = forms.gradient.store(device) or Products(self.groups, shape.groups, shape.outputs, device)

    def part(self, first: int, last: int, samples: int, parts: Mapping[int, LayerSums]) -> LayerSums:
        """Empty sums for samples ``first`` to ``last`` of all; ``parts``: of the layers before, by their id."""
        other = copy.copy(self)
        if self.inputs is not None:
            other.twin = parts[id(self.twin)] if self.twin else None
            if not self.stopped:
                other.inputs = other.twin.inputs if other.twin else self.inputs.part(first, last, samples)
        other.gradient = self.gradient.part(first, last, samples)
        other.normed, other.collected, other.gradient_calls = {}, [], 0
        return other

    def collect(self, part: LayerSums) -> None:
        """Take what a part has summed; parts come in order of samples."""
        self.refused = self.refused or part.refused
        self.gradient_calls += part.gradient_calls
        if self.inputs is not None and part.inputs is not None and not self.twin and not self.stopped:
            self.inputs.collect(part.inputs)
            self.collected.append(part.normed)
        self.gradient.collect(part.gradient)

    def see_input(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        """Add the rows of one use, those that ``keep`` (bool [rows]) marks."""
        self.refused = self.refused or self.handler.refuse(call)
        if self.refused or self.inputs is None:
            return
        sides = self.handler.rows(call)
        self.rows += torch.Size(sides).numel()
        read = Read.of(self.handler, call)
        if self.twin:
            self.refused = "" if self.twin.summed(read, keep) else SPLIT
            return
        self.seen = (read, keep) if self.twins else None
        if self.stopped:
            return
        self.inputs.add(call, group, keep)
        for norm in self.norms:
            changed = behind(norm, self.handler, call)
            if changed is None:
                continue
            if norm not in self.normed:
                self.normed[norm] = self.handler.accumulator(changed, 1, self.device, None)
            self.normed[norm].add(changed, 0, keep)

    def saving(self, samples: int) -> float:
        """Operations that summing the input of so many samples takes, less those of finding out whether it must be."""
        found, shape = self.found, self.found.shape
        if self.refused or self.twin or self.inputs is None or self.forms.why:
            return 0.0
        own = found.handler.operations and found.handler.operations(found.call, self.groups)
        each = own or self.per_sample * shape.groups * shape.inputs**2
        return samples * each - _WORTH * shape.groups * shape.inputs**2 * (shape.inputs + _SMALL)

    def settling(self) -> float:
        """Operations that bringing the sums so far into their final form takes."""
        found, shape = self.found, self.found.shape
        own = not self.refused and found.handler.operations and found.handler.operations(found.call, self.groups)
        return float(_WORTH * _SETTLING * self.groups * shape.groups * shape.inputs) if own else 0.0

    def sums_so_far(self, samples: torch.Tensor) -> InputSums | None:
        """The input's sums over ``samples``, int64 [groups]; ``None`` where they are of no use."""
        assert self.inputs is not None, "asked where stopping is worth it"
        inputs = self.inputs.finish()
        if not int(inputs.rows.sum()) or not is_finite(inputs.second):
            return None
        return InputSums(self._record(inputs, samples, False), inputs, samples, self._normed())

    def stop(self, sums: InputSums) -> None:
        """Sum the input no further: these sums are final."""
        self.stopped = sums

    def sum_normed(self) -> None:
        """From now on sum the input behind normalisations too; not for a wide layer, whose sums would not fit."""
        if not self.refused and possible(self.found, self.forms):
            (self.twin or self).norms = tuple(NORMS)

    def summed(self, read: Read, keep: torch.Tensor | None) -> bool:
        """Whether these rows were added in this pass."""
        if self.seen is None or not self.seen[0].same(read):
            return False
        kept = self.seen[1]
        return kept is keep or (kept is not None and keep is not None and torch.equal(kept, keep))

    def close_pass(self, samples: int) -> None:
        """After a forward pass: every sample must have brought as many rows as in the survey.

        That is how a weight shows itself that acts on something the samples share, such as positions: the
        gradient at its output is a sum over samples, whose square is no sum of squares.
        """
        if self.rows != self.per_sample * samples:
            self.refused = self.refused or UNEVEN
        self.rows, self.seen = 0, None

    def see_gradient(self, call: Call, gradient: torch.Tensor, group: int, keep: torch.Tensor | None) -> None:
        """Add ∂ℓ/∂output of one use, each sample's own loss."""
        self.gradient_calls += 1
        for rows in self.handler.gradient_rows(call, gradient.detach()):
            self.gradient.add(rows if keep is None else rows[..., keep], group)

    def gives(self, call: Call, classes: torch.Tensor) -> bool:
        """Whether the layer's channels, in order, are the ``classes``: like its output [1, …], each entry's class."""
        shape = self.found.shape
        wanted = torch.arange(shape.groups * shape.outputs, device=classes.device)
        rows = torch.cat(list(self.handler.gradient_rows(replace(call, inputs=call.inputs[:1]), classes)), dim=2)
        return bool((rows == wanted.view(shape.groups, shape.outputs, 1)).all())

    def see_closed_form(self, held: Held, group: int) -> None:
        """At the network's output, whose expected Σ_g needs no backward pass."""
        self.gradient_calls += 1
        if isinstance(self.gradient, (RowStore, SketchStore)):
            for diagonal, rows in held.structure():
                self.gradient.add_closed_form(diagonal, rows, group)
            return
        moment, side = held.closed_form(), self.found.shape.outputs
        for k, block in enumerate(self.gradient.total[group]):
            here = slice(k * side, (k + 1) * side)
            block += moment[here, here]

    def finish(self, samples: torch.Tensor, is_head: bool, label: str) -> LayerMoments | None:
        """The moments, or ``None`` with ``refused`` set. ``samples``: int64 [groups]; ``label``: of Σ_g."""
        if not self.refused and self.gradient_calls == 0:
            self.refused = "its output does not reach the loss"
        if self.refused or self.inputs is None:
            return None
        owner = self.twin or self
        stopped = owner.stopped
        inputs = stopped.inputs if stopped else self.inputs.finish()
        gradient = on_cpu(self.gradient.settle())
        rows = int(inputs.rows.sum())
        if rows == 0:
            self.refused = "all its rows are padding"
        elif not (is_finite(inputs.second) and is_finite(gradient)):
            self.refused = "its input or gradient is not finite on this probe"
        if self.refused:
            return None
        record = self._record(inputs, stopped.samples if stopped else samples, is_head)
        normed = stopped.normed if stopped else owner._normed()
        return LayerMoments(
            record, inputs, gradient, label, samples, self.found.norm, form=self.forms.why, normed=normed,
            input_samples=stopped.samples if stopped else None,
        )  # fmt: skip

    def _record(self, inputs: InputMoments, samples: torch.Tensor, is_head: bool) -> LayerRecord:
        found, shape, rows = self.found, self.found.shape, int(inputs.rows.sum())
        return LayerRecord(
            name=found.weight.name,
            kind=found.kind,
            depth=found.depth,
            parameters=0,  # counted at the end of the run: layers may share them
            inputs=shape.inputs * shape.groups,
            outputs=shape.outputs * shape.groups,
            groups=shape.groups,
            positions=max(1, round(rows / int(samples.sum()))),
            geometry=found.geometry,
            reads=found.reads,
            through=found.through,
            is_head=is_head,
            channels=inputs.channel_sum[0].numel(),
            elements=round(inputs.channel_sum[0].numel() * int(inputs.elements.sum()) / int(samples.sum())),
        )

    def _normed(self) -> dict[str, InputMoments]:
        """The input's sums behind normalisations, by name."""
        summed = [one for one in (self.normed, *self.collected) if one]
        return {name: joined([one[name].finish() for one in summed]) for name in (self.norms if summed else ())}


def layer_sums(survey: Survey, forms: Mapping[Any, Forms], device: torch.device) -> dict[Any, LayerSums]:
    """Empty sums for every weight that was found, by its key."""
    sums: dict[Any, LayerSums] = {}
    for key, one in survey.found.items():  # in order of execution: a twin comes first
        twin = sums.get(forms[key].shared)
        shared = twin if twin and not twin.refused else None
        sums[key] = LayerSums(one, forms[key], survey.samples, device, shared)
    return sums
