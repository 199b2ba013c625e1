"""Which fixes are tried, of those that an audit proposes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lcaudit import fixes, rules
from lcaudit.core.errors import UsageError
from lcaudit.core.figures import rounded_up
from lcaudit.core.measurements import LayerSpectra
from lcaudit.core.outcomes import Fix, Report
from lcaudit.core.verification import OpenCheck, RefusedFix, Unsettled
from lcaudit.fixes import Remedy


@dataclass(frozen=True, slots=True)
class Choice:
    """A fix to be made, and the finding that it answers (``""`` where it was asked for by name)."""

    fix: Fix
    answers: str


def choose(report: Report, select: Sequence[str], unsafe: bool) -> tuple[tuple[Choice, ...], tuple[RefusedFix, ...]]:
    """The first applicable fix of every selected finding, and why others are not made.

    Args:
        select: rule codes, their beginnings or names, and ids of fixes; nothing for every finding.
        unsafe: whether fixes that change the function may be taken.

    Raises:
        UsageError: a selector names no rule and no fix.
    """
    remedies = fixes.remedies()
    wanted, chosen = _selected(select, remedies)
    choices, refused = [], []
    for finding in report.findings:
        offered = [fix for fix in finding.fixes if fix.id in wanted or finding.rule in chosen]
        named = [fix for fix in offered if fix.id in wanted]
        pick = next((fix for fix in named or offered if _takes(fix, remedies, unsafe)), None)
        if pick:
            choices.append(Choice(pick, finding.id))
        elif named or offered:
            could = [fix for fix in named or offered if remedies[fix.id].plan and fix.applicability != "display"]
            first = (could or named or offered)[0]
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


def _selected(select: Sequence[str], remedies: Mapping[str, Remedy]) -> tuple[list[str], set[str]]:
    """Fixes asked for by name, and codes of the rules whose findings are."""
    wanted = [one for one in select if one in remedies]
    codes = [one for one in select if one not in remedies]
    try:
        return wanted, {rule.code for rule in rules.select(codes)} if codes or not wanted else set()
    except UsageError as error:
        raise UsageError(f"{error.message}, nor is a fix", f"{error.hint}; fixes: {', '.join(remedies)}") from None


def unsettled(report: Report, select: Sequence[str], available: int) -> Unsettled:
    """Selected checks that a fix could answer and that the samples did not decide, the estimate beyond the limit.

    Args:
        available: samples that the data has; as many samples are suggested as leave two to be held out.
    """
    remedies = fixes.remedies()
    wanted, chosen = _selected(select, remedies)
    mendable = {
        code for id, one in remedies.items() if one.plan for code in one.mends if code in chosen or id in wanted
    }
    limits = {rule.code: rule.limit.value for rule in report.rules}
    layers = {one.layer.name: one for one in report.measurements.layers}
    open_ = []
    for check in report.checks:
        beyond = check.measured is not None and check.measured.value > limits.get(check.rule, math.inf)
        if check.status != "undecided" or check.rule not in mendable or not beyond:
            continue
        assert check.measured is not None, "what is beyond a limit was measured"
        layer = layers.get(check.layer)
        open_.append(OpenCheck(check.rule, check.layer, check.measured, check.reason, _needed(layer)))
    reachable = [_rounded(one.needed, available - 2) for one in open_ if one.needed and one.needed <= available - 2]
    return Unsettled(report.measurements.probe.samples, tuple(open_), max(reachable, default=None))


def _needed(layer: LayerSpectra | None) -> int | None:
    """About how many samples would do, in the figure that the check's own reason has."""
    if layer is None or layer.samples >= layer.enough_samples:
        return None
    return layer.enough_samples if layer.samples < layer.least_samples else rounded_up(layer.enough_samples)


def _rounded(needed: int, most: int) -> int:
    """A tenth more than an estimate, rounded up to a number that is easy to type."""
    unit = max(1, 10 ** (len(str(needed)) - 1) // 2)
    return min(most, -(-needed * 11 // (10 * unit)) * unit)


def _takes(fix: Fix, remedies: Mapping[str, Remedy], unsafe: bool) -> bool:
    if remedies[fix.id].plan is None or fix.applicability == "display":
        return False
    return fix.applicability == "safe" or unsafe


def _why_not(fix: Fix, remedies: Mapping[str, Remedy]) -> str:
    if fix.applicability == "display" or remedies[fix.id].plan is None:
        return "advice: nothing that could be done to the weights"
    return "it changes the function; pass --unsafe-fixes"
