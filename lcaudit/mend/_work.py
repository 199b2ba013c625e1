"""Fixes applied one after the other, each judged by itself, and all of them held against what was predicted."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lcaudit import capture, fixes, recipes
from lcaudit.core.errors import AuditError
from lcaudit.core.figures import percent
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.outcomes import Report
from lcaudit.core.recipe import Step
from lcaudit.core.text import count, display_name
from lcaudit.core.verification import AppliedFix, RefusedFix, Verification, Verified
from lcaudit.fixes import Plan, Study
from lcaudit.mend._bench import Bench, literally
from lcaudit.mend._choose import Choice
from lcaudit.spectra.plug_in import METRICS, plug_in

#: Largest change of an output that a fix may make and still be called safe, relative to the largest output.
TOLERANCE = 1e-4


def _change(before: torch.Tensor, after: torch.Tensor) -> float:
    """Largest change of an output, relative to the largest absolute output before."""
    if before.shape != after.shape:
        return float("inf")
    scale = float(before.abs().max())
    largest = float((after.double() - before.double()).abs().max())
    return largest / scale if scale else largest


class Work:
    """Fixes applied one after the other to a copy of the network, each judged by itself."""

    def __init__(self, bench: Bench, before: Report) -> None:
        self.bench, self.before = bench, before
        self.module = bench.network.module
        self.original = copy.deepcopy(bench.network.module)
        self.steps: tuple[Step, ...] = ()
        self.applied: list[AppliedFix] = []
        self.refused: list[RefusedFix] = []
        self.first = self.now = self._outputs(self.module)
        self.last: Bench | None = None

    def _outputs(self, module: torch.nn.Module) -> tuple[Any, Any]:
        return self.bench.outputs(module, self.bench.probe), self.bench.outputs(module, self.bench.held_out)

    def make(self, choice: Choice) -> None:
        """Apply one fix, or say why not."""
        fix, remedy = choice.fix, fixes.remedies()[choice.fix.id]
        refuse = partial(RefusedFix, fix.id, answers=choice.answers)
        assert remedy.plan is not None, "chosen for its plan"
        candidate = copy.deepcopy(self.module)
        try:
            plan: Plan = remedy.plan(fix, self._study())
            recipes.apply(candidate, plan.steps)
            outputs = self._outputs(candidate)
        except AuditError as error:
            self.refused.append(refuse(layers=fix.layers, reason=error.message))
            return
        self.refused += [refuse(layers=(name,), reason=reason) for name, reason in plan.left_out.items()]
        if not plan.steps:
            if not plan.left_out:
                self.refused.append(refuse(layers=fix.layers, reason="there is nothing to change"))
            return
        made = self._judged(choice, plan, outputs)
        if isinstance(made, str):
            errors = [one[1].error if one else None for one in (self.now[1], outputs[1])]
            judged = choice.fix.applicability != "safe" and None not in errors
            before, after = errors if judged else (None, None)
            self.refused.append(refuse(layers=plan.layers, reason=made, error_before=before, error_after=after))
            return
        self.applied.append(made)
        self.module, self.now, self.steps = candidate, outputs, (*self.steps, *plan.steps)

    def _judged(self, choice: Choice, plan: Plan, outputs: tuple[Any, Any]) -> AppliedFix | str:
        changes = [_change(b[0], a[0]) if b else None for b, a in zip(self.now, outputs, strict=True)]
        made = AppliedFix(
            choice.fix.id,
            plan.layers,
            choice.answers,
            choice.fix.applicability,
            plan.what,
            changes[0] or 0.0,
            changes[1],
        )
        if choice.fix.applicability == "safe":
            worst = max(one for one in changes if one is not None)
            if not worst <= TOLERANCE:
                where = "the probe" if worst == changes[0] else "held-out samples"
                return (
                    f"it would change outputs by {worst:.2g} of their scale on {where}, at most {TOLERANCE:g} is safe"
                )
            return made
        if outputs[1] is None:
            return "it changes the function, and no samples are held out to judge it"
        error, after = self.now[1][1].error, outputs[1][1].error
        if error is None or after is None:
            return "it changes the function, and the data has no labels to judge it by"
        if not after.value < error.value:
            said = f"{percent(error.value)} before and {percent(after.value)} after"
            return f"the error on {count(error.n, 'held-out sample')} does not fall: {said}"
        return replace(made, error_before=error, error_after=after)

    def _study(self) -> Study:
        module, run = self.module, self.bench.run
        named = dict(module.named_modules())

        def layer(name: str) -> Any:
            found = named.get(name)
            return found if type(found) in recipes.LAYERS and recipes.plain_path(name) else None

        return Study(
            measurements=self.before.measurements,
            layer=layer,
            padding=recipes.zero_padding,
            channel_statistics=lambda padding: capture.channel_statistics(module, self.bench.probe, padding, **run),
            running_statistics=lambda: capture.running_statistics(
                module, self.bench.probe, device=run["device"], dtype=run["dtype"]
            ),
            stored_statistics=lambda: capture.stored_statistics(module),
            loss=self._loss,
        )

    def _loss(self, steps: tuple[Step, ...]) -> float | None:
        candidate = copy.deepcopy(self.module)
        recipes.apply(candidate, steps)
        outputs = self.bench.outputs(candidate, self.bench.probe)
        loss = outputs[1].loss if outputs else None
        return None if loss is None else loss.value

    def options_after(self) -> dict[str, Any]:
        """The options of the audit, a selection of layers under the names that they have now."""
        options = dict(self.bench.options)
        if options.get("layers"):
            names = [one.layer.name for one in self.before.measurements.layers]
            options["layers"] = tuple(literally(recipes.renamed(name, self.steps)) for name in names)
        return options

    def take_back(self, bench: Bench) -> None:
        """The changed network as its file has it: what is told last is told of that."""
        self.last = bench
        self.now = (
            bench.outputs(bench.network.module, bench.probe),
            bench.outputs(bench.network.module, bench.held_out),
        )

    def figures(self) -> tuple[tuple[Verified, ...], float | None]:
        """The changed layers' figures before, predicted and measured; and by how far Σ_g misses its prediction."""
        assert self.last is not None, "asked once the file was read back"
        known = {spectra_of.layer.name for spectra_of in self.before.measurements.layers}
        names = list(dict.fromkeys(name for fix in self.applied for name in fix.layers if name in known))
        before = self.bench.moments(self.original, names)
        predicted = recipes.predict(before, self.steps)
        after = self.last.moments(self.last.network.module, [recipes.renamed(name, self.steps) for name in names])
        float32 = self.bench.run["dtype"] == torch.float32
        rows, gradient = [], None
        for name in names:
            later = recipes.renamed(name, self.steps)
            if name not in before or later not in after:
                continue
            said, found = None, after[later]
            if predicted:
                said = plug_in(predicted[later], float32=float32)
                found = replace(found, measured=predicted[later].measured)  # the same directions count in both
            then, now = plug_in(before[name], float32=float32), plug_in(found, float32=float32)
            rows += [
                Verified(name, later, metric, then[metric], said[metric] if said else None, now[metric])
                for metric in METRICS
            ]
            if predicted:
                wanted = predicted[later].gradient
                scale = float(wanted.abs().max()) or 1.0
                gradient = max(gradient or 0.0, float((after[later].gradient - wanted).abs().max()) / scale)
        return tuple(rows), gradient

    def verification(
        self, after: Report, refused: tuple[RefusedFix, ...], figures: tuple[tuple[Verified, ...], float | None]
    ) -> Verification:
        """Everything about the fixes, for the report."""
        rows, gradient = figures
        (first, first_out), (now, now_out) = self.first, self.now
        was, then = self._findings(self.before), self._findings(after)
        checkpoint = self.before.measurements.checkpoint
        held_out = self.bench.held_out

        def fit(outputs: tuple[torch.Tensor, ProbeFit] | None, key: str) -> Any:
            return None if outputs is None else getattr(outputs[1], key)

        return Verification(
            source=checkpoint.name,
            source_sha256=checkpoint.sha256,
            samples=len(self.bench.probe.keys),
            held_out=0 if held_out is None else len(held_out.keys),
            applied=tuple(self.applied),
            refused=refused,
            figures=rows,
            logits_probe=_change(first[0], now[0]),
            logits_held_out=None if first_out is None else _change(first_out[0], now_out[0]),
            tolerance=TOLERANCE,
            gradient_change=gradient,
            error_probe_before=fit(first, "error"),
            error_probe_after=fit(now, "error"),
            error_held_out_before=fit(first_out, "error"),
            error_held_out_after=fit(now_out, "error"),
            loss_probe_before=fit(first, "loss"),
            loss_probe_after=fit(now, "loss"),
            loss_held_out_before=fit(first_out, "loss"),
            loss_held_out_after=fit(now_out, "loss"),
            gone=tuple(was[key] for key in was if key not in then),
            left=tuple(was[key] for key in was if key in then),
            new=tuple(then[key] for key in then if key not in was),
        )

    def _findings(self, report: Report) -> dict[str, str]:
        """Ids of findings as they are, by what they would be called in the changed network."""
        found = {}
        for finding in report.findings:
            name = finding.id
            for layer in finding.layers if report is self.before else ():
                if finding.id == f"{finding.rule}:{display_name(layer, 400)}":
                    name = f"{finding.rule}:{display_name(recipes.renamed(layer, self.steps), 400)}"
            found[name] = finding.id
        return found
