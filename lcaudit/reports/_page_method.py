"""The page's last section: how, with what, on what, and what was not looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lcaudit.core import figures as numbers
from lcaudit.core import memory
from lcaudit.core.hub_address import HubRecord
from lcaudit.core.measurements import BatchNormReplay
from lcaudit.core.outcomes import Report
from lcaudit.core.text import count
from lcaudit.reports._readings import HEADINGS, rows, told

#: Rows of a table of modules or tensors; more are counted.
_MOST = 200


def method(report: Report) -> Mapping[str, Any]:
    """Pairs (term, description) and rows for the template."""
    measured = report.measurements
    probe, network, checkpoint = measured.probe, measured.network, measured.checkpoint
    normalisation = probe.normalisation
    return {
        "convention": report.convention,
        "notes": (*measured.notes, *report.notices),
        "settings": _pairs(measured.settings),
        "environment": _pairs(measured.environment),
        "checkpoint": (
            ("Container", checkpoint.container),
            *_repository(checkpoint.hub),
            ("Unwrapped", "; ".join(checkpoint.unwrapped) or "nothing"),
            ("Tensors", numbers.grouped(measured.tensors)),
            ("Recorded accuracy", _recorded(report)),
        ),
        "files": tuple((file.name, file.sha256, numbers.grouped(file.size)) for file in checkpoint.files[:_MOST]),
        "network": (
            ("Family", network.family),
            ("Confidence", network.confidence),
            ("Read off the tensors", "; ".join(f"{key} {value}" for key, value in network.variant.items())),
            ("Input", " × ".join(map(str, network.input_shape))),
            ("Classes", str(network.classes)),
            ("Stored as", network.dtype),
        ),
        "readings": (HEADINGS, rows(report)),
        "evidence": tuple((_capital(step.step), step.says) for step in network.evidence),
        "assumptions": network.assumptions,
        "probe": (
            ("Data set", f"{probe.dataset}/{probe.split}, from {probe.source}"),
            ("Samples", f"{numbers.grouped(probe.samples)} of {numbers.grouped(probe.available)}, seed {probe.seed}"),
            ("Indices", _shortened(probe.indices)),
            *_repository(probe.hub),
            ("SHA-256 of the content", probe.sha256),
            ("Labels", f"{count(len(probe.classes), 'class', 'classes')}" if probe.labelled else "none"),
            ("Shape of a sample", " × ".join(map(str, probe.shape))),
            ("Preprocessing", "; ".join(probe.preprocessing) or "none"),
            ("Mean", ", ".join(f"{value:.4g}" for value in normalisation.mean)),
            ("Standard deviation", ", ".join(f"{value:.4g}" for value in normalisation.std)),
            ("Normalisation from", normalisation.source),
            ("Confidence", probe.confidence or "nothing to choose"),
            ("Compared", told(report) or "nothing"),
        ),
        "rules": tuple(
            (rule.code, rule.name, rule.severity, rule.limit.source, numbers.limit(rule.limit.value, rule.limit.unit))
            for rule in report.rules
        ),
        "batch_norms": tuple(_replay(one) for one in measured.batch_norms[:_MOST]),
        "not_audited": tuple(
            (one.name, one.kind, one.reason, numbers.grouped(one.parameters)) for one in measured.not_audited[:_MOST]
        ),
        "non_finite": tuple(
            (one.name, numbers.grouped(one.entries), numbers.grouped(one.size)) for one in measured.non_finite[:_MOST]
        ),
        "more": {
            "files": max(0, len(checkpoint.files) - _MOST),
            "batch_norms": max(0, len(measured.batch_norms) - _MOST),
            "not_audited": max(0, len(measured.not_audited) - _MOST),
            "non_finite": max(0, len(measured.non_finite) - _MOST),
        },
        "seconds": tuple((_capital(stage), f"{numbers.number(took)} s") for stage, took in report.run.seconds.items()),
        "coverage": f"{numbers.percent(report.gate.coverage)}, at least {numbers.percent(report.gate.min_coverage)}",
    }


def _pairs(record: Any) -> tuple[tuple[str, str], ...]:
    """Fields of a flat record that hold something, in order, as words; an empty one says nothing."""
    fields = ((field, getattr(record, field)) for field in record.__slots__)
    return tuple((_capital(field), _words(field, value)) for field, value in fields if value not in (None, "", ()))


def _capital(field: str) -> str:
    return field[:1].upper() + field[1:].replace("_", " ")


def _words(field: str, value: Any) -> str:
    if field == "max_memory":
        return memory.words(value) if value else "not known"
    if field == "precision":
        return f"{numbers.percent(value)} of κ of Σ_x, then its sums end" if value else "all samples for every Σ_x"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _repository(hub: HubRecord | None) -> tuple[tuple[str, str], ...]:
    """Where on the Hub it came from, if it did."""
    return (("Repository", hub.words()),) if hub else ()


def _recorded(report: Report) -> str:
    recorded = report.measurements.checkpoint.recorded
    return f"{numbers.percent(recorded.value, 2)} ({recorded.key})" if recorded else "none"


def _replay(one: BatchNormReplay) -> tuple[str, ...]:
    mean, variance = numbers.figure(one.mean_shift), numbers.figure(one.variance_shift)
    return one.name, str(one.channels), mean.value, mean.interval, variance.value, variance.interval


def _shortened(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
