"""What a reader asks of a report first, the same in every format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lcaudit.core.measurements import LayerSpectra
from lcaudit.core.outcomes import SEVERITIES, Check, Finding, Limit, Report, RuleRecord
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count

VERDICTS = {"pass": "PASS", "fail": "FAIL", "incomplete": "INCOMPLETE"}
#: Status of a check → its words in a list of counts.
STATUSES = {
    "pass": "passed",
    "fail": "failed",
    "undecided": "undecided",
    "skip": "not applicable",
    "crash": "not run",
}
APPLICABILITY = {
    "safe": "safe: the network computes the same function, to rounding",
    "unsafe": "unsafe: the function changes, or retraining is needed",
    "display": "advice: nothing that lcaudit can apply",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one rule that say the same: which layers, why, and the first one's figure."""

    rule: str
    name: str
    reason: str
    layers: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Checks by status, findings by severity."""

    checks: Counter[str]
    findings: Counter[str]

    @property
    def decided(self) -> int:
        """Checks that passed or failed."""
        return self.checks["pass"] + self.checks["fail"]


def tally(report: Report) -> Tally:
    """Count checks and findings."""
    return Tally(Counter(check.status for check in report.checks), Counter(f.severity for f in report.findings))


def severities(found: Tally) -> str:
    """``0 errors, 2 warnings, 1 note``."""
    nouns = {"error": "error", "warning": "warning", "info": "note"}
    return ", ".join(count(found.findings[severity], nouns[severity]) for severity in SEVERITIES)


def rule_names(report: Report) -> dict[str, RuleRecord]:
    """Rules by code."""
    return {rule.code: rule for rule in report.rules}


def groups(report: Report, status: str) -> tuple[Group, ...]:
    """Checks with ``status``, those of one rule and one reason together, in order of first appearance."""
    found: dict[tuple[str, str], list[Check]] = {}
    names = rule_names(report)
    for check in report.checks:
        if check.status == status:
            found.setdefault((check.rule, check.reason), []).append(check)
    return tuple(
        Group(
            rule,
            names[rule].name if rule in names else "",
            reason,
            tuple(check.layer for check in checks if check.layer),
            tuple(checks),
        )
        for (rule, reason), checks in found.items()
    )


def accused(report: Report) -> dict[str, str]:
    """Layers that a finding names → its worst severity."""
    worst: dict[str, str] = {}
    for severity in SEVERITIES:
        for finding in report.findings:
            if finding.severity == severity:
                for layer in finding.layers:
                    worst.setdefault(layer, severity)
    return worst


def kappa(spectra: LayerSpectra, percentile: str = "80") -> Quantity:
    """κ_p of Σ_x; undefined where the layer has none (an input that is all zeros)."""
    return spectra.input.condition_number.get(percentile, Quantity(math.nan, method="none"))


def gain(spectra: LayerSpectra) -> Quantity | None:
    """What a BatchNorm before this layer would gain: κ_80 before / after."""
    change = spectra.what_if.get("batch_norm")
    return change.gain if change else None


def worst_first(layers: Iterable[LayerSpectra]) -> tuple[LayerSpectra, ...]:
    """By κ_80 of Σ_x, largest first; undefined ones lead, since nothing good is known of them."""

    def badness(spectra: LayerSpectra) -> float:
        value = kappa(spectra).value
        return math.inf if math.isnan(value) else value

    return tuple(sorted(layers, key=badness, reverse=True))


def side(finding: Finding) -> str:
    """Where the figure lies: ``over the limit`` or ``under the limit``, interval and all."""
    where = finding.measured.against(finding.limit.value)
    return {"above": "over the limit", "below": "under the limit"}.get(where, "limit not comparable")


def verdict_sentence(report: Report) -> str:
    """One sentence: the worst finding, or why there is none. Text from the report is not yet escaped."""
    if report.findings:
        worst = report.findings[0]
        place = f" ({worst.layers[0]})" if len(worst.layers) == 1 and worst.layers[0] not in worst.title else ""
        return f"Worst finding: {worst.title.rstrip('.')}{place}."
    found = tally(report)
    if found.decided == 0:
        return "Nothing was decided: no check could compare its figure with its limit."
    if found.checks["undecided"] or found.checks["crash"]:
        return "No findings among the checks that were decided."
    return "No findings: every check that applies passed."


def judges_of(report: Report, wanted: Iterable[Quantity | None]) -> tuple[RuleRecord, ...]:
    """The rules that judge one of these figures themselves: their limits belong into the figures' plot."""
    figures = {_identity(quantity) for quantity in wanted if quantity is not None}
    names = rule_names(report)
    codes = {c.rule: None for c in report.checks if c.measured is not None and _identity(c.measured) in figures}
    return tuple(names[code] for code in codes if code in names)


def _identity(quantity: Quantity) -> tuple[float, str, float | None, float | None]:
    return quantity.value, quantity.unit, quantity.low, quantity.high


def straddled(group: Group, report: Report) -> Limit | None:
    """The limit that the one figure of ``group`` could not be told from; ``None`` where the reason is another."""
    rule, measured = rule_names(report).get(group.rule), group.checks[0].measured
    if rule is None or measured is None or len(group.checks) > 1 or measured.unit != rule.limit.unit:
        return None
    return rule.limit if measured.against(rule.limit.value) == "straddles" else None
