"""What the HTML page shows, in order: the template lays it out and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Effect, Finding, Fix, Limit, Report
from lcaudit.core.text import count
from lcaudit.reports import _summary as summary
from lcaudit.reports import _verification as verification
from lcaudit.reports._comparison_page import view
from lcaudit.reports._page_layers import FOOTNOTE, ROW_HEADINGS, layer_views, panels
from lcaudit.reports._page_method import method
from lcaudit.reports._plots import value_bar

#: Layers named in a card before the rest is folded away; effects of a fix likewise; findings in the overview.
_MOST = 8
#: Facts that stand open in a card; more are folded.
_MOST_FACTS = 3


@dataclass(frozen=True, slots=True)
class Statistic:
    """One figure of the band at the top."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class FixView:
    """A fix with its effects as rows (layer, its anchor, metric, before, after, gain, interval, basis).

    ``rows`` are the largest effects on the first metric, ``rest`` all others.
    """

    fix: Fix
    applicability: str
    promise: str
    price: str
    rows: tuple[tuple[str, ...], ...]
    rest: tuple[tuple[str, ...], ...]
    lines: int


@dataclass(frozen=True, slots=True)
class Card:
    """A finding with its plot and its words.

    Attributes:
        fixes: the first in full, the others in short. layers, rest: (name, anchor), unless the fix lists them.
        manual: (heading, text) of the rule's page, in the first card of each rule; ``about`` is its anchor.
    """

    finding: Finding
    anchor: str
    rule: str
    bar: Markup | None
    value: str
    interval: str
    limit: str
    side: str
    folded: bool
    layers: tuple[tuple[str, str], ...]
    rest: tuple[tuple[str, str], ...]
    fixes: tuple[FixView, ...]
    manual: tuple[tuple[str, str], ...]
    about: str


def page(report: Report) -> Mapping[str, Any]:
    """Everything the template reads; text in it is as it came, the template escapes."""
    measured = report.measurements
    layers = layer_views(report)
    links = {spectra.layer.name: view.anchor for spectra, view in zip(measured.layers, layers, strict=True)}
    found = summary.tally(report)
    explained: dict[str, str] = {}
    return {
        "report": report,
        "word": summary.VERDICTS[report.gate.verdict],
        "gate": summary.GATES[report.gate.fail_on],
        "sentence": summary.verdict_sentence(report),
        "doubt": summary.doubt(report),
        "untested": summary.fit_untested(report),
        "primer": summary.PRIMER if measured.layers else (),
        "statistics": _statistics(report, found),
        "facts": _facts(report),
        "severities": summary.severities(found),
        "cards": tuple(_card(finding, i, report, links, explained) for i, finding in enumerate(report.findings)),
        "overview": _MOST,
        "panels": panels(report),
        "baseline": view(report.baseline) if report.baseline else None,
        "layers": layers,
        "row_headings": ROW_HEADINGS,
        "footnote": f"{FOOTNOTE} {summary.products(report)}".strip(),
        "checks": _checks(report),
        "suppressed": tuple((finding, summary.suppression(finding)) for finding in report.suppressed),
        "passes": _passes(report),
        "method": method(report),
        "verification": _verification(report),
    }


def _verification(report: Report) -> dict[str, Any] | None:
    found = report.verification
    if found is None:
        return None
    open_ = verification.not_decided(found.unsettled)
    return {
        "summary": verification.summary(found),
        "applied": tuple(verification.applied(found)),
        "refused": tuple(verification.refused(found)),
        "headings": verification.HEADINGS,
        "rows": verification.rows(found),
        "note": verification.NOTE,
        "facts": (*([("left open", open_)] if open_ else []), *verification.facts(found)),
    }


def _statistics(report: Report, found: summary.Tally) -> tuple[Statistic, ...]:
    checks = found.checks
    return (
        Statistic("Passed", str(checks["pass"]), f"of {count(sum(checks.values()), 'check')}, a rule on a layer each"),
        Statistic("Led to findings", str(checks["fail"]), summary.behind(found) or "none failed"),
        Statistic("Undecided", str(checks["undecided"]), "with reasons below"),
        Statistic("Not run", str(checks["crash"]), "nothing is known"),
        Statistic("Not applicable", str(checks["skip"]), "with reasons below"),
        Statistic("Audited", numbers.percent(report.gate.coverage), "of the parameters"),
    )


def _facts(report: Report) -> tuple[tuple[str, str], ...]:
    measured = report.measurements
    probe, fit, recorded = measured.probe, measured.fit, measured.checkpoint.recorded
    used = f"{numbers.grouped(probe.samples)} of {count(probe.available, 'sample')}"
    facts = [
        ("Network", f"{measured.network.title}, {numbers.grouped(measured.network.parameters)} parameters"),
        ("Probe", f"{probe.dataset}/{probe.split}, {used}; normalisation: {probe.normalisation.source}"),
    ]
    if fit is None:
        facts.append(("On the probe", "not run: the weights are not all finite"))
    elif fit.error is None:
        facts.append(("On the probe", summary.unlabelled(report, "; ")))
    else:
        beside = f"; the checkpoint records {numbers.percent(1 - recorded.value)}" if recorded else ""
        loss = f"; {summary.loss_words(fit)}" if fit.loss else ""
        error = f"{summary.error_words(fit)} {numbers.spoken(replace(fit.error, unit='share'))}"
        facts.append(("On the probe", f"{error}{beside}{loss}"))
    if measured.checkpoint.unwrapped:
        facts.append(("Weights", "; ".join(measured.checkpoint.unwrapped)))
    facts.append(("SHA-256", measured.checkpoint.sha256))
    return tuple(facts)


def _card(finding: Finding, place: int, report: Report, links: Mapping[str, str], explained: dict[str, str]) -> Card:
    rule, measured = summary.rule_names(report).get(finding.rule), finding.measured
    figure = numbers.figure(measured)
    samples = f"n {numbers.grouped(measured.n)}" if measured.n and figure.interval else ""
    layers = tuple((layer, links.get(layer, "")) for layer in finding.layers)
    fixes = tuple(_fix(fix, links) for fix in finding.fixes)
    if fixes and fixes[0].rows and set(fixes[0].fix.layers) == set(finding.layers):
        layers = ()
    manual: tuple[tuple[str, str], ...] = ()
    if rule and rule.manual and finding.rule not in explained:
        manual = (*rule.manual.items(), ("Limit", f"{_limit(rule.limit)}: {rule.limit.source}"))
    anchor = f"finding-{place + 1}"
    if manual:
        explained[finding.rule] = f"about-{anchor}"
    return Card(
        finding=finding,
        anchor=anchor,
        rule=rule.name if rule else "",
        bar=value_bar(finding),
        value=figure.value,
        interval=", ".join(part for part in (numbers.interval(measured), samples, figure.note) if part),
        limit=_limit(finding.limit),
        side=summary.side(finding),
        folded=len(finding.evidence) > _MOST_FACTS,
        layers=layers[:_MOST],
        rest=layers[_MOST:],
        fixes=fixes,
        manual=manual,
        about=explained.get(finding.rule, ""),
    )


def _limit(limit: Limit) -> str:
    return numbers.limit(limit.value, limit.unit)


def _fix(fix: Fix, links: Mapping[str, str]) -> FixView:
    first, others = summary.ranked(fix)
    rows = [_effect(effect, links.get(effect.layer, "")) for effect in (*first, *others)]
    shown = min(len(first), _MOST)
    return FixView(
        fix=fix,
        applicability=summary.APPLICABILITY[fix.applicability],
        promise=summary.promise(fix),
        price=summary.price(fix),
        rows=tuple(rows[:shown]),
        rest=tuple(rows[shown:]),
        lines=len(fix.code.splitlines()),
    )


def _effect(effect: Effect, anchor: str) -> tuple[str, ...]:
    gain = numbers.figure(replace(effect.gain, unit="×"))
    before, after = numbers.figure(effect.before).value, numbers.figure(effect.after).value
    return effect.layer, anchor, effect.metric, before, after, gain.value, gain.interval, effect.basis


def _checks(report: Report) -> tuple[tuple[str, str, tuple[tuple[summary.Group, str, str], ...]], ...]:
    """Per status that needs a reason: (key, words, (group, the one figure, limit))."""
    sections = []
    for status in ("undecided", "crash", "skip"):
        rows = []
        for group in summary.groups(report, status):
            first = group.checks[0].measured
            figure = numbers.spoken(first) if first and len(group.checks) == 1 else ""
            limit = summary.straddled(group, report)
            rows.append((group, figure, f", limit {_limit(limit)}" if limit else ""))
        sections.append((status, summary.STATUSES[status], tuple(rows)))
    return tuple(sections)


def _passes(report: Report) -> tuple[tuple[str, str, dict[str, int]], ...]:
    """Per rule: code, name, number of checks by status; rules that looked at nothing included."""
    counted: dict[str, dict[str, int]] = {rule.code: dict.fromkeys(summary.STATUSES, 0) for rule in report.rules}
    for check in report.checks:
        counted.setdefault(check.rule, dict.fromkeys(summary.STATUSES, 0))[check.status] += 1
    names = summary.rule_names(report)
    return tuple((code, names[code].name if code in names else "", by) for code, by in counted.items())
