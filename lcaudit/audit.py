"""The whole audit. The only file that knows more than one stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Literal

from lcaudit import architectures, capture, checkpoints, fixes, probes, rules, spectra
from lcaudit.core.convention import convention_of
from lcaudit.core.errors import UsageError
from lcaudit.core.gate import FailOn, gate
from lcaudit.core.looks import until_decided
from lcaudit.core.machine import DTYPES, choose_device, environment
from lcaudit.core.measurements import ExactCurvature, LayerSpectra, Measurements, Settings
from lcaudit.core.outcomes import Report, Rule, Run
from lcaudit.core.types import Moments, Settled

SCHEMA_VERSION = "1.0"


def audit(
    model: str | Path,
    data: str | Path,
    *,
    arch: str | None = None,
    data_root: Path | None = None,
    split: str | None = None,
    samples: int | str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    batch_size: int = 50,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    fisher: str | None = None,
    mc_samples: int | str = 1,
    task: str = "auto",
    ignore_index: int = -100,
    convention: str = "kfac",
    layers: str | Sequence[str] = (),
    exact: Literal["hessian", "ggn"] | None = None,
    exact_layers: str | Sequence[str] = (),
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    fail_on: FailOn = "error",
    min_coverage: float = 0.0,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Report:
    """Audit a checkpoint: identify the network, measure every layer on the probe, judge, suggest fixes.

    Args:
        model: a file or folder of weights. data: name of a data set, or a path (see ``lcaudit check --help``).
        samples: how many of the probe's samples; ``None`` for all, at most 5,000; ``auto`` for as many as it
            takes to decide every verdict, at most 5,000.
        input_size: side of the pictures that the network sees, or (height, width); ``None`` for its own.
        interpolation: by which they are resized, e.g. ``bicubic``; ``None`` for the network's own.
        fisher: ``expected``, labels drawn from the network's own predictive distribution, or ``empirical``,
            the given labels; ``None`` for the convention's own.
        mc_samples: draws per sample, or ``exact`` for the whole expectation.
        task: ``classification``, ``binary``, ``regression``, or ``auto`` for the one that outputs and labels
            speak for. ignore_index: class index of positions that do not count.
        convention: ``kfac``, or ``huang2020`` for that paper's authors' own, in which few rules have limits.
        layers: measure only layers with these names (``*`` and ``?`` as in file names); none for all.
        exact: cross-check λmax by Lanczos iteration on the Hessian or the Gauss–Newton matrix of single layers.
        exact_layers: which ones, by name; none for the head.
        select, ignore: rule codes, prefixes or names, a string being one. progress: called with (stage, done, total).

    Raises:
        AuditError: there is no verdict; the message says what was seen and what to do.

    Cost: about two forward and backward passes over the probe, one more backward pass for each further
        draw, and the eigenvalues.
    """
    given = dict(locals())  # what every look passes on; nothing else is local yet
    if samples == "auto":
        return until_decided(lambda size: audit(**given | {"samples": size}), probes.DEFAULT_SAMPLES)
    _check_kinds(model, data, arch)
    layers, exact_layers, select, ignore = map(_several, (layers, exact_layers, select, ignore))
    whose = capture.fisher_of(fisher, mc_samples, convention)
    chosen, started, clock = rules.select(select, ignore), datetime.now(UTC), _Clock()
    on = choose_device(device, dtype)
    if exact_layers and not exact:
        raise UsageError("--exact-layer needs --exact hessian or --exact ggn")
    with clock("open"):
        checkpoint = checkpoints.open_checkpoint(Path(model))
        network = architectures.resolve(checkpoint, arch)
        probe = probes.open_probe(
            str(data), network, root=data_root, split=split, samples=samples, seed=seed, mean=mean, std=std,
            task=task, ignore_index=ignore_index, input_size=_sides(input_size), interpolation=interpolation or "",
        )  # fmt: skip
    if exact:
        capture.check(network, probe, exact_layers, exact)
    moments = None
    checked: tuple[ExactCurvature, ...] = ()
    if not checkpoint.non_finite:  # nothing can be measured through weights that are not numbers
        with clock("measure"):
            moments = capture.measure(
                network, probe, device=on, dtype=DTYPES[dtype], batch_size=batch_size, seed=seed,
                task=task, ignore_index=ignore_index, fisher=whose, convention=convention, layers=layers,
                progress=lambda done, total: progress("measuring samples", done, total),
            )  # fmt: skip
    if exact and moments:
        with clock("exact"):
            checked = capture.cross_check(
                network, probe, tuple(dict.fromkeys(exact_layers)) or _head(moments), exact, device=on,
                dtype=DTYPES[dtype], batch_size=batch_size, seed=seed,
                progress=lambda done, total: progress("cross-checking", done, total),
            )  # fmt: skip
    with clock("analyse"):
        spectra_of = _analyse(moments, dtype == "float32" and convention == "kfac", progress) if moments else ()
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
            batch_size=batch_size,
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
        ),
        environment=environment(on),
        tensors=len(checkpoint.tensors),
        exact=checked,
    )
    run = Run(started.isoformat(timespec="seconds"), clock.seconds)
    return judge(measured, chosen, run=run, fail_on=fail_on, min_coverage=min_coverage)


def _check_kinds(model: object, data: object, arch: object) -> None:
    """Say what is accepted where something else was passed."""
    if not isinstance(model, (str, Path)):
        raise UsageError(
            f"model is a {type(model).__name__}, expected the path of a file or folder of weights",
            "save the weights, torch.save(model.state_dict(), 'weights.pt'), and pass that path; "
            "arch='file.py:factory' builds the network",
        )
    if not isinstance(data, (str, Path)):
        raise UsageError(
            f"data is a {type(data).__name__}, expected the name of a data set or a path",
            "save arrays with numpy.savez('probe.npz', images=..., labels=...) and pass that path",
        )
    if arch is not None and not isinstance(arch, str):
        raise UsageError(
            f"arch is a {type(arch).__name__}, expected 'file.py:factory' or the name of a family",
            "put the function into a file and pass its path and name as one string",
        )


def _sides(size: int | tuple[int, int] | None) -> tuple[int, ...]:
    """One side stands for a square."""
    return () if size is None else (size, size) if isinstance(size, int) else tuple(size)


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    """A string by itself counts as one of several."""
    return (given,) if isinstance(given, str) else tuple(given)


def judge(
    measured: Measurements, chosen: Sequence[Rule], *, run: Run, fail_on: FailOn = "error", min_coverage: float = 0.0
) -> Report:
    """Rules, fixes and the gate over measurements, fresh or read back from a file."""
    checks, found = rules.judge(measured, chosen)
    findings = tuple(replace(finding, fixes=fixes.propose(finding, measured)) for finding in found)
    return Report(
        schema_version=SCHEMA_VERSION,
        run=run,
        gate=gate(findings, checks, measured, fail_on, min_coverage),
        findings=findings,
        checks=checks,
        rules=tuple(rules.record(rule) for rule in chosen),
        convention=convention_of(measured.settings),
        measurements=measured,
    )


def _head(moments: Moments) -> tuple[str, ...]:
    """The layer that gives the network's output, or the last one, by name."""
    return tuple(one.layer.name for one in moments.layers if one.layer.is_head or one is moments.layers[-1])[:1]


def _analyse(moments: Moments, float32: bool, progress: Callable[[str, int, int], None]) -> tuple[LayerSpectra, ...]:
    """Spectra of every layer, several at a time: eigenvalue routines release the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(spectra.analyse, layer, float32=float32) for layer in moments.layers]
        done: list[LayerSpectra] = []
        try:
            for future in waiting:
                done.append(future.result())
                progress("analysing layers", len(done), len(waiting))
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption must not wait for the layers that are left
    return tuple(done)


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
