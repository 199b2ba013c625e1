"""Fixes applied and measured again: ``lcaudit fix`` from the audit to the file and back.

Half of the samples measure the network and make the fixes; the other half are held out and only judge them.
A fix that claims to keep the function is refused where the outputs say otherwise, one that changes it where
the error on held-out samples does not fall. The changed network is written to a file, read back, audited, and
held against what was predicted from the original's moments.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lcaudit import architectures, capture, checkpoints, fixes, probes, recipes, rules
from lcaudit.audit import audit
from lcaudit.core.errors import AuditError, EnvironmentFailure, UsageError
from lcaudit.core.figures import percent
from lcaudit.core.files import write_together
from lcaudit.core.machine import DTYPES, choose_device
from lcaudit.core.measurements import ProbeFit
from lcaudit.core.outcomes import AppliedFix, Fix, RefusedFix, Report, Verification, Verified
from lcaudit.core.recipe import METADATA_KEY, VERSION, Recipe, Step
from lcaudit.core.text import count, display_name
from lcaudit.core.types import Network, Probe, SecondMoments
from lcaudit.fixes import Plan, Remedy, Study
from lcaudit.spectra.plug_in import METRICS, plug_in, second_moments

#: Largest change of an output that a fix may make and still be called safe, relative to the largest output.
TOLERANCE = 1e-4
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A fix to be made, and the finding that it answers (``""`` where it was asked for by name)."""

    fix: Fix
    answers: str


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of it: the report of the changed network, or of the original where nothing was applied.

    Attributes:
        weights, recipe: contents of the two files; empty where nothing was applied.
    """

    report: Report
    weights: bytes
    recipe: str
    choices: tuple[Choice, ...]


def choose(
    report: Report, select: Sequence[str], unsafe: bool
) -> tuple[tuple[Choice, ...], tuple[RefusedFix, ...]]:
    """The first applicable fix of every selected finding, and why others are not made.

    Args:
        select: rule codes, their beginnings or names, and ids of fixes; nothing for every finding.
        unsafe: whether fixes that change the function may be taken.

    Raises:
        UsageError: a selector names no rule and no fix.
    """
    remedies = fixes.remedies()
    wanted = [one for one in select if one in remedies]
    codes = [one for one in select if one not in remedies]
    try:
        chosen = {rule.code for rule in rules.select(codes)} if codes or not wanted else set()
    except UsageError as error:
        raise UsageError(f"{error.message}, nor is a fix", f"{error.hint}; fixes: {', '.join(remedies)}") from None
    choices, refused = [], []
    for finding in report.findings:
        offered = [fix for fix in finding.fixes if fix.id in wanted or finding.rule in chosen]
        named = [fix for fix in offered if fix.id in wanted]
        pick = next((fix for fix in named or offered if _takes(fix, remedies, unsafe)), None)
        if pick:
            choices.append(Choice(pick, finding.id))
        elif named or offered:
            first = (named or offered)[0]
            refused.append(RefusedFix(first.id, first.layers, finding.id, _why_not(first, remedies)))
    made = {choice.fix.id for choice in choices} | {one.fix for one in refused}
    for name in wanted:
        request = remedies[name].request
        if name in made:
            continue
        if request is None:
            refused.append(RefusedFix(name, (), "", "no finding of this network asks for it"))
        elif not unsafe:
            refused.append(RefusedFix(name, (), "", "it changes the function; pass --unsafe-fixes"))
        else:
            choices.append(Choice(request(report.measurements), ""))
    choices.sort(key=lambda choice: remedies[choice.fix.id].order)
    return tuple(choices), tuple(refused)


def _takes(fix: Fix, remedies: Mapping[str, Remedy], unsafe: bool) -> bool:
    if remedies[fix.id].plan is None or fix.applicability == "display":
        return False
    return fix.applicability == "safe" or unsafe


def _why_not(fix: Fix, remedies: Mapping[str, Remedy]) -> str:
    if fix.applicability == "display" or remedies[fix.id].plan is None:
        return "advice: nothing that could be done to the weights"
    return "it changes the function; pass --unsafe-fixes"


def mend(
    model: str | Path,
    data: str | Path,
    name: str,
    *,
    select: Sequence[str] = (),
    unsafe: bool = False,
    samples: int | None = None,
    only_choose: bool = False,
    progress: Progress = lambda stage, done, total: None,
    **options: Any,
) -> Mended:
    """Audit, choose fixes, apply each that holds, measure again. Nothing is written but temporary files.

    Args:
        name: base name that the new weights will have.
        select, unsafe: see :func:`choose`.
        samples: how many measure; as many more are held out where the data has them. ``None``: half of the data,
            at most 5,000.
        only_choose: stop once it is known which fixes would be tried.
        options: as of :func:`lcaudit.audit`.

    Raises:
        AuditError: there is no verdict on the original, or the changed network cannot be read back.

    Cost: two audits, two more runs that measure the changed layers, and three forward passes for each fix.
    """
    bench = _Bench(Path(model), str(data), samples, options)
    before = audit(model, data, samples=len(bench.probe.keys), progress=progress, **bench.options)
    choices, refused = choose(before, select, unsafe)
    if only_choose:
        return Mended(before, b"", "", choices)
    work = _Work(bench, before)
    for number, choice in enumerate(choices):
        progress("applying fixes", number, len(choices))
        work.make(choice)
    refused += tuple(work.refused)
    if not work.steps:
        return Mended(replace(before, verification=work.verification(before, refused, ((), None))), b"", "", choices)
    record = before.measurements
    recipe = Recipe(
        VERSION, record.environment.lcaudit, record.network.family, display_name(record.network.title, 200),
        display_name(record.checkpoint.name), record.checkpoint.sha256, (*bench.earlier, *work.steps),
    )  # fmt: skip
    text = recipes.written(recipe)
    weights = _weights(work.module, text)
    try:
        with tempfile.TemporaryDirectory(prefix="lcaudit-") as folder:
            path = Path(folder) / name
            write_together([(path, weights)])
            after = audit(path, data, samples=len(bench.probe.keys), progress=progress, **bench.options)
            again = _Bench(path, str(data), samples, options)
    except OSError as error:
        raise EnvironmentFailure(f"cannot use the temporary folder: {error.strerror}", "set TMPDIR to another") from None
    work.take_back(again)
    verification = work.verification(after, refused, work.figures())
    return Mended(replace(after, verification=verification), weights, text, choices)


def _weights(module: torch.nn.Module, recipe: str) -> bytes:
    """The state dict as a safetensors file with the recipe in it; tied tensors are stored once."""
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    texts = {"format": "pt", METADATA_KEY: recipe}
    first: dict[tuple[int, int, tuple[int, ...]], str] = {}
    for key, value in module.state_dict().items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.shape))
        if value.numel() and place in first:
            texts[key] = first[place]
        else:
            first[place] = key
            tensors[key] = value.detach().cpu().contiguous().clone()
    return save(tensors, metadata=texts)


class _Bench:
    """A network, the half of the probe that measures and the half that judges."""

    def __init__(self, model: Path, data: str, samples: int | None, options: dict[str, Any]) -> None:
        self.options = options
        get = options.get
        checkpoint = checkpoints.open_checkpoint(model)
        self.network: Network = recipes.rebuilt(
            checkpoint, lambda one, family: architectures.resolve(one, get("arch") or family)
        )
        text = checkpoint.texts.get(METADATA_KEY)
        self.earlier: tuple[Step, ...] = recipes.parse(text, model.name).steps if text is not None else ()
        open_probe = partial(
            probes.open_probe, data, self.network, root=get("data_root"), split=get("split"), seed=get("seed", 0),
            mean=get("mean"), std=get("std"), task=get("task", "auto"), ignore_index=get("ignore_index", -100),
        )  # fmt: skip
        available = open_probe(samples=2).record.available
        half = min(available // 2, probes.DEFAULT_SAMPLES) if samples is None else samples
        whole = open_probe(samples=min(available, 2 * max(2, half)))
        keys = whole.keys[: max(2, min(half, len(whole.keys)))]
        measuring = capture.part_of(whole, keys, True, len(keys))
        assert measuring is not None, "at least two samples are measured"
        self.probe: Probe = measuring
        self.held_out: Probe | None = capture.part_of(whole, keys, False, len(keys))
        self.device = choose_device(get("device", "auto"), get("dtype", "float32"))
        self.run = {
            "device": self.device, "dtype": DTYPES[get("dtype", "float32")], "batch_size": get("batch_size", 50),
        }  # fmt: skip

    def outputs(self, module: torch.nn.Module, probe: Probe | None) -> tuple[torch.Tensor, ProbeFit] | None:
        """Outputs of every sample, error and loss; ``None`` where no samples are held out."""
        if probe is None:
            return None
        return capture.evaluate(
            module, probe, classes=self.network.record.classes, task=self.options.get("task", "auto"),
            ignore_index=self.options.get("ignore_index", -100), **self.run,
        )  # fmt: skip

    def moments(self, module: torch.nn.Module, layers: Sequence[str]) -> dict[str, SecondMoments]:
        """Second moments of the named layers."""
        if not layers:
            return {}
        fisher = capture.fisher_of(None, 1, "kfac")
        found = capture.measure(
            replace(self.network, module=module), self.probe, seed=self.options.get("seed", 0), fisher=fisher,
            task=self.options.get("task", "auto"), ignore_index=self.options.get("ignore_index", -100),
            layers=tuple(map(_literally, layers)), **self.run,
        )  # fmt: skip
        return {one.layer.name: second_moments(one) for one in found.layers}


def _literally(name: str) -> str:
    """A pattern that matches the name alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)


def _change(before: torch.Tensor, after: torch.Tensor) -> float:
    """Largest change of an output, relative to the largest absolute output before."""
    if before.shape != after.shape:
        return float("inf")
    scale = float(before.abs().max())
    largest = float((after.double() - before.double()).abs().max())
    return largest / scale if scale else largest


class _Work:
    """Fixes applied one after the other to a copy of the network, each judged by itself."""

    def __init__(self, bench: _Bench, before: Report) -> None:
        self.bench, self.before = bench, before
        self.module = bench.network.module
        self.original = copy.deepcopy(bench.network.module)
        self.steps: tuple[Step, ...] = ()
        self.applied: list[AppliedFix] = []
        self.refused: list[RefusedFix] = []
        self.first = self.now = self._outputs(self.module)
        self.last: _Bench | None = None

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
            self.refused.append(refuse(layers=plan.layers, reason=made))
            return
        self.applied.append(made)
        self.module, self.now, self.steps = candidate, outputs, (*self.steps, *plan.steps)

    def _judged(self, choice: Choice, plan: Plan, outputs: tuple[Any, Any]) -> AppliedFix | str:
        changes = [_change(b[0], a[0]) if b else None for b, a in zip(self.now, outputs, strict=True)]
        made = AppliedFix(
            choice.fix.id, plan.layers, choice.answers, choice.fix.applicability, plan.what, changes[0] or 0.0, changes[1]
        )
        if choice.fix.applicability == "safe":
            worst = max(one for one in changes if one is not None)
            if not worst <= TOLERANCE:
                where = "the probe" if worst == changes[0] else "held-out samples"
                return f"it would change outputs by {worst:.2g} of their scale on {where}, at most {TOLERANCE:g} is safe"
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
        )

    def take_back(self, bench: _Bench) -> None:
        """The changed network as its file has it: what is told last is told of that."""
        self.last = bench
        self.now = (bench.outputs(bench.network.module, bench.probe), bench.outputs(bench.network.module, bench.held_out))

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
            then, now = plug_in(before[name], float32=float32), plug_in(after[later], float32=float32)
            said = plug_in(predicted[later], float32=float32) if predicted else None
            rows += [
                Verified(name, later, metric, then[metric], said[metric] if said else None, now[metric])
                for metric in METRICS
            ]
            if predicted:
                wanted, found = predicted[later].gradient, after[later].gradient
                scale = float(wanted.abs().max()) or 1.0
                gradient = max(gradient or 0.0, float((found - wanted).abs().max()) / scale)
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
