"""The verdicts: one file per rule, each with its limit, the limit's source and its manual page.

To add a rule is to add one file that defines ``RULE``; its docstring is what ``lcaudit explain`` prints.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import cache

from lcaudit.core import plugins
from lcaudit.core.errors import UsageError
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import (
    SEVERITIES,
    Check,
    Crash,
    Fail,
    Finding,
    Outcome,
    Pass,
    Rule,
    RuleRecord,
    Skip,
    Suppression,
    Undecided,
)
from lcaudit.core.text import display_name
from lcaudit.rules._base import worst
from lcaudit.rules._conditioning import limits_of_gains
from lcaudit.rules._suppress import Excuses, specificity

__all__ = ["Excuses", "all_rules", "excuses", "find", "judge", "limits_of_gains", "manual", "record", "select"]


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, ordered by code."""
    rules = sorted(plugins.load_all(__name__, "RULE"), key=lambda rule: rule.code)
    assert len({rule.code for rule in rules}) == len(rules), "two rules share a code"
    return tuple(rules)


def find(code_or_name: str) -> Rule:
    """The rule with this code (``LC301``, in either case) or kebab name.

    Raises:
        UsageError: no such rule; the hint lists near matches.
    """
    for rule in all_rules():
        if code_or_name.upper() == rule.code or code_or_name.lower() == rule.name:
            return rule
    known = {name: rule for rule in all_rules() for name in (rule.code, rule.name)}
    near = difflib.get_close_matches(code_or_name, list(known), n=8, cutoff=0.5)
    near += [rule.code for rule in all_rules() if rule.code.startswith(code_or_name.upper())]
    rules = list(dict.fromkeys(known[name] for name in near))
    listing = ", ".join(f"{rule.code} {rule.name}" for rule in rules or all_rules())
    hint = f"close matches: {listing}; `lcaudit rules` lists all" if rules else f"there are {listing}"
    raise UsageError(f"no rule is called {display_name(code_or_name, 80)}", hint)


def select(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules that remain. A selector is a code, a prefix of one (``LC3``), a kebab name, or ``ALL``.

    As in ruff the most specific selector decides, and between equals ``ignore`` does: selecting
    ``LC301`` and ignoring ``LC3`` leaves LC301. Nothing selected means all.

    Raises:
        UsageError: a selector matches no rule, or no rule is left.
    """
    chosen, dropped = list(select) or ["ALL"], list(ignore)
    _check_known((*chosen, *dropped))
    kept = tuple(
        rule
        for rule in all_rules()
        if max(specificity(s, rule) for s in chosen) > max((specificity(s, rule) for s in dropped), default=-1)
    )
    if not kept:
        raise UsageError("the selection leaves no rule to run", "select less narrowly, or ignore less")
    return kept


def excuses(suppressions: Sequence[Suppression], today: date) -> Excuses:
    """The suppressions, ready to be asked.

    Raises:
        UsageError: one names no rule, gives no reason, or its ``until`` is not a date.
    """
    _check_known(one.rule for one in suppressions)
    for one in suppressions:
        shown = f"suppression of {display_name(one.rule, 40)}"
        if not one.reason.strip():
            raise UsageError(f"{shown}: no reason is given", 'say why: reason = "the probe has one class only"')
        try:
            date.fromisoformat(one.until or "2000-01-01")
        except ValueError:
            raise UsageError(
                f"{shown}: until is {display_name(one.until, 40)}, expected a date", "write it as 2027-03-01"
            ) from None
    return Excuses(suppressions, today)


def _check_known(selectors: Iterable[str]) -> None:
    for selector in selectors:
        if not any(specificity(selector, rule) >= 0 for rule in all_rules()):
            find(selector)


def judge(
    measurements: Measurements, rules: Sequence[Rule], excused: Excuses | None = None
) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """Run ``rules`` over ``measurements``.

    A rule that raises becomes a crash among the checks and stops no other rule. Fails of one rule with
    one cause become one finding; those that a suppression covers make findings apart, which carry it.

    Returns:
        every check in order of rule and layer; and the findings, worst first: by severity, then what casts
        doubt on the rest, defects before opportunities, and how far the figure lies beyond its limit.
    """
    checks: list[Check] = []
    findings: list[Finding] = []
    for rule in rules:
        outcomes = _run(rule, measurements)
        checks += [_check(rule, outcome) for outcome in outcomes]
        for suppression, fails in _by_cause(rule, outcomes, measurements, excused):
            finding, crash = _finding(rule, fails, measurements)
            findings.append(replace(finding, suppression=suppression))
            checks += crash
    doubts = {rule.code for rule in rules if rule.casts_doubt}
    return tuple(checks), tuple(sorted(findings, key=lambda finding: _rank(finding, finding.rule in doubts)))


def manual(rule: Rule) -> str:
    """The rule's manual page: the docstring of its file."""
    return plugins.document(__name__, rule.name.replace("-", "_"))


def record(rule: Rule) -> RuleRecord:
    """The rule as a report carries it, its manual page cut at the headings."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in manual(rule).splitlines()[1:]:
        if line and not line[0].isspace():
            heading = line.strip()
        elif line.strip():
            sections.setdefault(heading, []).append(line.strip())
    return RuleRecord(
        code=rule.code,
        name=rule.name,
        summary=rule.summary,
        severity=rule.severity,
        kind=rule.kind,
        metric=rule.metric,
        limit=rule.limit,
        casts_doubt=rule.casts_doubt,
        manual={heading: " ".join(lines) for heading, lines in sections.items()},
    )


def _run(rule: Rule, measurements: Measurements) -> tuple[Outcome, ...]:
    convention = measurements.settings.convention
    if convention not in rule.conventions:
        return (Skip("", f"its limit is not calibrated for the convention {display_name(convention)}"),)
    try:
        outcomes = tuple(rule.check(measurements))
        assert all(isinstance(outcome, Outcome) for outcome in outcomes), "the rule returned something else"
    except Exception as error:  # a mistake in one rule must not hide what the others found
        return (Crash("", _crash_reason(error)),)
    return outcomes or (Skip("", "there is nothing here for this rule to look at"),)


def _crash_reason(error: Exception) -> str:
    return display_name(f"{type(error).__name__}: {error}")


def _check(rule: Rule, outcome: Outcome) -> Check:
    match outcome:
        case Pass(layer, measured, note):
            return Check(rule.code, layer, "pass", measured, note)
        case Fail(layer, measured, _, evidence):
            return Check(rule.code, layer, "fail", measured, evidence[0] if evidence else rule.summary)
        case Undecided(layer, measured, reason):
            return Check(rule.code, layer, "undecided", measured, reason)
        case Skip(layer, reason):
            return Check(rule.code, layer, "skip", None, reason)
        case Crash(layer, reason):
            return Check(rule.code, layer, "crash", None, reason)


def _by_cause(
    rule: Rule, outcomes: Iterable[Outcome], measurements: Measurements, excused: Excuses | None
) -> list[tuple[Suppression | None, list[Fail]]]:
    """Fails that make one finding each, with what suppresses them, every list in order of execution."""
    depth = {spectra.layer.name: spectra.layer.depth for spectra in measurements.layers}
    groups: dict[tuple[Suppression | None, str, str], list[Fail]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Fail):
            alone = "" if outcome.cause else outcome.layer
            excuse = excused(rule, outcome.layer) if excused else None
            groups.setdefault((excuse, outcome.cause, alone), []).append(outcome)
    return [
        (excuse, sorted(group, key=lambda fail: depth.get(fail.layer, math.inf)))
        for (excuse, _, _), group in groups.items()
    ]


def _finding(rule: Rule, fails: list[Fail], measurements: Measurements) -> tuple[Finding, list[Check]]:
    crash = []
    try:
        title, message = rule.tell(fails, measurements)
    except Exception as error:  # the fact stands even where its text could not be written
        title, message = rule.summary, "The explanation could not be written; the figure stands."
        crash = [Check(rule.code, "", "crash", None, _crash_reason(error))]
    most = worst(fails)
    where = most.cause or display_name(most.layer, 400)
    finding = Finding(
        id=f"{rule.code}:{where}" if where else rule.code,
        rule=rule.code,
        severity=most.severity or rule.severity,
        kind=rule.kind,
        title=title,
        message=message,
        layers=tuple(fail.layer for fail in fails if fail.layer),
        metric=most.metric or rule.metric,
        measured=most.measured,
        limit=most.limit or rule.limit,
        evidence=tuple(dict.fromkeys(sentence for fail in fails for sentence in fail.evidence)),
    )
    return finding, crash


def _rank(finding: Finding, casts_doubt: bool) -> tuple[int, bool, bool, float, str]:
    # A limit of nought has no scale to measure an excess by: it counts as just exceeded.
    excess = finding.measured.value / finding.limit.value if finding.limit.value else 1.0
    return (
        SEVERITIES.index(finding.severity),
        not casts_doubt,
        finding.kind != "defect",
        -excess,
        finding.id,
    )
