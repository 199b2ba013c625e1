"""The whole audit: what is opened, measured, analysed, judged and told, in this order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Literal

from lcaudit import capture, comparisons, fixes, opening, probes, rules, spectra
from lcaudit.core import hub
from lcaudit.core.comparison import Baseline
from lcaudit.core.convention import convention_of
from lcaudit.core.errors import UsageError
from lcaudit.core.gate import FailOn, gate
from lcaudit.core.links import Link
from lcaudit.core.looks import until_decided
from lcaudit.core.machine import DTYPES, choose_device, environment, memory_allowance, single_products
from lcaudit.core.measurements import ExactCurvature, LayerSpectra, Measurements
from lcaudit.core.outcomes import Report, Rule, Run, Suppression
from lcaudit.core.settings import Settings
from lcaudit.core.types import Moments, Settled

SCHEMA_VERSION = "1.0"


def audit(
    model: str | Path,
    data: str | Path,
    *,
    arch: str | None = None,
    base: str | Path | None = None,
    data_root: Path | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    samples: int | str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    tokenizer: Path | None = None,
    max_tokens: int | None = None,
    batch_size: int | str = "auto",
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    fisher: str | None = None,
    mc_samples: int | str = 1,
    task: str = "auto",
    ignore_index: int = -100,
    convention: str = "kfac",
    layers: str | Sequence[str] = (),
    max_memory: int | None = None,
    precision: float = 0.1,
    norms: bool = False,
    exact: Literal["hessian", "ggn"] | None = None,
    exact_layers: str | Sequence[str] = (),
    learning_rate: float | None = None,
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    fail_on: FailOn = "error",
    min_coverage: float = 0.0,
    suppress: Sequence[Suppression] = (),
    notices: Sequence[str] = (),
    max_download: int | str = hub.MOST,
    baseline: Baseline | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Report:
    """Audit a checkpoint: identify the network, measure every layer on the probe, judge, suggest fixes.

    Args:
        model: a file or folder of weights, or a repository of the Hub. data: name of a data set, a path, or a data
            set of the Hub (see ``lcaudit check --help``).
        base: for a LoRA adapter, the weights that it was trained on: what ``model`` may be.
        columns: which columns of a table are the ``image`` or the ``text``, and the ``label``, where their types do
            not say.
        samples: how many of the probe's samples; ``None`` for all, at most 5,000; ``auto`` for as many as it
            takes to decide every verdict, at most 5,000.
        input_size: side of the pictures that the network sees, or (height, width); ``None`` for its own.
        interpolation: by which they are resized, e.g. ``bicubic``; ``None`` for the network's own.
        fisher: ``expected``, labels drawn from the network's own predictive distribution, or ``empirical``,
            the given labels; ``None`` for the convention's own.
        tokenizer: the ``tokenizer.json`` for texts, ``None`` for the one beside the weights. max_tokens: of each
            text; ``None`` for what the network reads, at most 512.
        mc_samples: draws per sample, or ``exact`` for the whole expectation.
        task: ``classification``, ``binary``, ``regression``, or ``auto`` for the one that outputs and labels
            speak for. ignore_index: class index of positions that do not count.
        batch_size: samples per pass; ``auto`` for what suits the device, halved whenever memory runs out.
        convention: ``kfac``, or ``huang2020`` for that paper's authors' own, in which few rules have limits.
        layers: measure only layers with these names (``*`` and ``?`` as in file names); none for all.
        max_memory: bytes for the layers' moments; ``None`` for at most half of what is free. Wide layers that do
            not fit are measured in another form, which their figures say.
        precision: how well κ of a layer's input must be known after 250 samples for the others to be left out
            of it: each end of the 95 % interval within this share of the figure; 0 to leave none out.
        norms: compute what a LayerNorm and an RMSNorm would do before every layer, not only before a cheap head.
        exact: cross-check λmax by Lanczos iteration on the Hessian or the Gauss–Newton matrix of single layers.
        exact_layers: which ones, by name; none for the head.
        learning_rate: the one you train with, to hold against the curvature; ``None`` judges none.
        select, ignore: rule codes, prefixes or names, a string being one.
        suppress: findings that shall not count; the report lists them. notices: sentences about the settings that
            the report shall repeat.
        max_download: how much may be downloaded for the model, and for the data: bytes, or a size such as ``10GB``.
        baseline: what to hold the figures against (:func:`lcaudit.comparisons.read`); the gate fails on worse ones.
        progress: called with (stage, done, total); a total of 0 marks a sentence by itself.

    Raises:
        AuditError: there is no verdict; the message says what was seen and what to do.

    Cost: about two forward and backward passes over the probe, one more backward pass for each further
        draw, and the eigenvalues.
    """
    given = dict(locals())  # what every look passes on; nothing else is local yet
    if samples == "auto":
        alone = given | {"baseline": None}  # it was measured with one number of samples
        report = until_decided(lambda size: audit(**alone | {"samples": size}), probes.DEFAULT_SAMPLES)
        return comparisons.hold(report, baseline) if baseline else report
    opening.check_kinds(model, data, arch)
    layers, exact_layers, select, ignore = map(opening.several, (layers, exact_layers, select, ignore))
    whose = capture.fisher_of(fisher, mc_samples, convention)
    chosen, started, clock = rules.select(select, ignore), datetime.now(UTC), _Clock()
    rules.excuses(suppress, started.date())  # what cannot be understood is said before anything is measured
    on = choose_device(device, dtype)
    max_memory = memory_allowance(max_memory, on)
    if exact_layers and not exact:
        raise UsageError("--exact-layer needs --exact hessian or --exact ggn")
    with clock("open"):
        checkpoint, networks, probe = opening.opened(
            model, data, arch, max_download, progress, root=data_root, split=split, samples=samples, seed=seed,
            mean=mean, std=std, task=task, ignore_index=ignore_index, columns=columns, input_size=input_size,
            interpolation=interpolation, tokenizer=tokenizer, max_tokens=max_tokens, base=base,
        )  # fmt: skip
    network, identified = networks[0], None
    if not checkpoint.non_finite:  # nothing can be measured through weights that are not numbers
        with clock("identify"):
            network, probe, identified = opening.identified(
                networks, probe, device=on, dtype=DTYPES[dtype], batch_size=batch_size, seed=seed, task=task,
                ignore_index=ignore_index,
            )  # fmt: skip
    if exact:
        capture.check(network, probe, exact_layers, exact)
    early = spectra.Early(precision, rules.limits_of_gains(chosen), dtype == "float32" and convention == "kfac")
    moments = None
    links: tuple[Link, ...] = ()
    checked: tuple[ExactCurvature, ...] = ()
    if not checkpoint.non_finite:
        with clock("measure"):
            moments = capture.measure(
                network, probe, device=on, dtype=DTYPES[dtype], batch_size=batch_size, seed=seed,
                task=task, ignore_index=ignore_index, fisher=whose, convention=convention, layers=layers,
                max_memory=max_memory, norms=norms, narrow=early if precision else None,
                progress=lambda done, total: progress("measuring samples", done, total),
            )  # fmt: skip
            links = capture.links(network, probe, device=on, dtype=DTYPES[dtype])
    if exact and moments:
        with clock("exact"):
            checked = capture.cross_check(
                network, probe, tuple(dict.fromkeys(exact_layers)) or _head(moments), exact, device=on,
                dtype=DTYPES[dtype], batch_size=moments.batch_size, seed=seed,
                progress=lambda done, total: progress("cross-checking", done, total),
            )  # fmt: skip
    with clock("analyse"):
        spectra_of = _analyse(moments, early, progress) if moments else ()
    settled = moments.task if moments else Settled(task)
    measured = Measurements(
        checkpoint=checkpoint.record,
        network=network.record,
        probe=probe.record,
        fit=moments.fit if moments else None,
        layers=spectra_of,
        batch_norms=moments.batch_norms if moments else (),
        not_audited=moments.not_audited if moments else (),
        non_finite=checkpoint.non_finite,
        settings=Settings(
            seed=seed,
            samples=probe.record.samples,
            batch_size=moments.batch_size if moments else 0,
            dtype=dtype,
            device=on.type,
            fisher=whose.kind,
            mc_samples=whose.draws if whose.kind == "expected" else 0,
            task=settled.name,
            task_evidence=settled.evidence,
            loss=settled.loss,
            ignore_index=ignore_index,
            convention=convention,
            layers=tuple(layers),
            max_memory=max_memory,
            learning_rate=learning_rate,
            precision=precision,
        ),
        environment=environment(on),
        tensors=len(checkpoint.tensors),
        exact=checked,
        identification=identified,
        links=links,
    )
    run = Run(started.isoformat(timespec="seconds"), clock.seconds)
    report = judge(measured, chosen, run=run, fail_on=fail_on, min_coverage=min_coverage, suppress=suppress)
    report = replace(report, subject=_subject(Path(model)), notices=(*notices, *report.notices))
    return comparisons.hold(report, baseline) if baseline else report


def _subject(model: Path) -> str:
    """The path below the working folder, as reviews of code name files; ``""`` for what lies elsewhere."""
    below = model.absolute()
    return below.relative_to(Path.cwd()).as_posix() if below.exists() and below.is_relative_to(Path.cwd()) else ""


def judge(
    measured: Measurements, chosen: Sequence[Rule], *, run: Run, fail_on: FailOn = "error", min_coverage: float = 0.0,
    suppress: Sequence[Suppression] = (),
) -> Report:  # fmt: skip
    """Rules, fixes and the gate over measurements, fresh or read back from a file."""
    excuses = rules.excuses(suppress, date.fromisoformat(run.started_at[:10]) if suppress else date.min)
    checks, found = rules.judge(measured, chosen, excuses)
    told = tuple(replace(finding, fixes=fixes.propose(finding, measured)) for finding in found)
    findings = tuple(finding for finding in told if finding.suppression is None)
    return Report(
        schema_version=SCHEMA_VERSION,
        run=run,
        gate=gate(findings, checks, measured, fail_on, min_coverage),
        findings=findings,
        checks=checks,
        rules=tuple(rules.record(rule) for rule in chosen),
        convention=convention_of(measured.settings),
        measurements=measured,
        suppressed=tuple(finding for finding in told if finding.suppression),
        notices=excuses.notices(chosen, measured),
    )


def _head(moments: Moments) -> tuple[str, ...]:
    """The layer that gives the network's output, or the last one, by name."""
    return tuple(one.layer.name for one in moments.layers if one.layer.is_head or one is moments.layers[-1])[:1]


def _analyse(
    moments: Moments, early: spectra.Early, progress: Callable[[str, int, int], None]
) -> tuple[LayerSpectra, ...]:
    """Spectra of every layer, several at a time: eigenvalue routines release the interpreter's lock."""
    with single_products(), ThreadPoolExecutor(max_workers=2) as pool:
        alike = spectra.by_input(moments.layers)
        waiting = [pool.submit(early.analyse, layers) for layers in alike]
        done: dict[int, LayerSpectra] = {}
        try:
            for layers, future in zip(alike, waiting, strict=True):
                done |= zip(map(id, layers), future.result(), strict=True)
                progress("analysing layers", len(done), len(moments.layers))
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption must not wait for the layers that are left
    return tuple(done[id(layer)] for layer in moments.layers)


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


class _Callable(ModuleType):
    """Importing this file binds ``lcaudit.audit`` to the module; calling that is calling the function."""

    __call__ = staticmethod(audit)


sys.modules[__name__].__class__ = _Callable
