"""What the HTML page shows, in order: the template lays it out and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from lcaudit.core.outcomes import Effect, Finding, Fix, Report
from lcaudit.core.quantity import Quantity
from lcaudit.reports import _format as numbers
from lcaudit.reports import _summary as summary
from lcaudit.reports._page_layers import layer_views, panels
from lcaudit.reports._page_method import method
from lcaudit.reports._plots import value_bar

#: Layers named in a card before the rest is folded away; effects of a fix likewise.
_MOST = 8


@dataclass(frozen=True, slots=True)
class Statistic:
    """One figure of the band at the top."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class FixView:
    """A fix with its effects as rows (layer, metric, before, after, gain, interval, basis)."""

    fix: Fix
    applicability: str
    rows: tuple[tuple[str, ...], ...]
    rest: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A finding with its plot and its words."""

    finding: Finding
    anchor: str
    rule: str
    summary: str
    source: str
    bar: Markup | None
    value: str
    interval: str
    note: str
    limit: str
    side: str
    layers: tuple[tuple[str, str], ...]
    rest: tuple[tuple[str, str], ...]
    fixes: tuple[FixView, ...]


def page(report: Report) -> Mapping[str, Any]:
    """Everything the template reads; text in it is as it came, the template escapes."""
    measured = report.measurements
    layers = layer_views(report)
    links = {spectra.layer.name: view.anchor for spectra, view in zip(measured.layers, layers, strict=True)}
    found = summary.tally(report)
    return {
        "report": report,
        "word": summary.VERDICTS[report.gate.verdict],
        "sentence": summary.verdict_sentence(report),
        "statistics": _statistics(report, found),
        "facts": _facts(report),
        "severities": summary.severities(found),
        "cards": tuple(_card(finding, i, report, links) for i, finding in enumerate(report.findings)),
        "panels": panels(report),
        "layers": layers,
        "checks": _checks(report),
        "passes": _passes(report),
        "method": method(report),
    }


def _statistics(report: Report, found: summary.Tally) -> tuple[Statistic, ...]:
    checks = found.checks
    return (
        Statistic("Passed", f"{checks['pass']} of {found.decided}", "decided checks"),
        Statistic("Undecided", str(checks["undecided"]), "the interval holds the limit"),
        Statistic("Not run", str(checks["crash"]), "nothing is known"),
        Statistic("Not applicable", str(checks["skip"]), "with reasons below"),
        Statistic("Audited", numbers.percent(report.gate.coverage), "of the parameters"),
    )


def _facts(report: Report) -> tuple[tuple[str, str], ...]:
    measured = report.measurements
    probe, fit = measured.probe, measured.fit
    used = f"{numbers.grouped(probe.samples)} of {numbers.grouped(probe.available)} samples"
    facts = [
        ("Network", f"{measured.network.title}, {numbers.grouped(measured.network.parameters)} parameters"),
        ("Probe", f"{probe.dataset}/{probe.split}, {used}"),
    ]
    if fit is None:
        facts.append(("Fit", "not measured: the weights are not all finite"))
    elif fit.error is None:
        facts.append(("Fit", f"no labels; predictive entropy {_spoken(fit.entropy)}"))
    else:
        loss = f", loss {_spoken(fit.loss)}" if fit.loss else ""
        facts.append(("Fit", f"error {_spoken(replace(fit.error, unit='share'))}{loss}"))
    facts.append(("SHA-256", measured.checkpoint.sha256))
    return tuple(facts)


def _spoken(quantity: Quantity) -> str:
    shown = numbers.figure(quantity)
    return f"{shown.value} ({shown.interval})" if shown.interval else shown.value


def _card(finding: Finding, place: int, report: Report, links: Mapping[str, str]) -> Card:
    rule = summary.rule_names(report).get(finding.rule)
    figure = numbers.figure(finding.measured)
    exact = "exact" if finding.measured.method == "exact" else "no interval"
    level = f"{numbers.plain(100 * finding.measured.level)} % interval {figure.interval}"
    layers = tuple((layer, links.get(layer, "")) for layer in finding.layers)
    return Card(
        finding=finding,
        anchor=f"finding-{place + 1}",
        rule=rule.name if rule else "",
        summary=rule.summary if rule else "",
        source=finding.limit.source,
        bar=value_bar(finding),
        value=figure.value,
        interval=level if figure.interval else exact,
        note=figure.note,
        limit=numbers.limit(finding.limit.value, finding.limit.unit),
        side=summary.side(finding),
        layers=layers[:_MOST],
        rest=layers[_MOST:],
        fixes=tuple(_fix(fix) for fix in finding.fixes),
    )


def _fix(fix: Fix) -> FixView:
    effects = sorted(fix.effects, key=lambda effect: -effect.gain.value)
    rows = tuple(_effect(effect) for effect in effects)
    return FixView(fix, summary.APPLICABILITY[fix.applicability], rows[:_MOST], rows[_MOST:])


def _effect(effect: Effect) -> tuple[str, ...]:
    gain = numbers.figure(replace(effect.gain, unit="×"))
    before, after = numbers.figure(effect.before).value, numbers.figure(effect.after).value
    return effect.layer, effect.metric, before, after, gain.value, gain.interval, effect.basis


def _checks(report: Report) -> tuple[tuple[str, str, tuple[tuple[summary.Group, str, str], ...]], ...]:
    """Per status that needs a reason: (key, words, (group, the one figure, limit))."""
    sections = []
    for status in ("undecided", "crash", "skip"):
        rows = []
        for group in summary.groups(report, status):
            first = group.checks[0].measured
            figure = _spoken(first) if first and len(group.checks) == 1 else ""
            limit = summary.straddled(group, report)
            rows.append((group, figure, f", limit {numbers.limit(limit.value, limit.unit)}" if limit else ""))
        sections.append((status, summary.STATUSES[status], tuple(rows)))
    return tuple(sections)


def _passes(report: Report) -> tuple[tuple[str, str, dict[str, int]], ...]:
    """Per rule: code, name, number of checks by status; rules that looked at nothing included."""
    counted: dict[str, dict[str, int]] = {rule.code: dict.fromkeys(summary.STATUSES, 0) for rule in report.rules}
    for check in report.checks:
        counted.setdefault(check.rule, dict.fromkeys(summary.STATUSES, 0))[check.status] += 1
    names = summary.rule_names(report)
    return tuple((code, names[code].name if code in names else "", by) for code, by in counted.items())
