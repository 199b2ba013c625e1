"""Suppressions: what they cover, how they part a finding, and when they have had their day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from lcaudit import rules
from lcaudit.audit import judge
from lcaudit.core import specimen
from lcaudit.core.errors import UsageError
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Run, Suppression

TODAY = date(2026, 5, 4)
RULE = rules.find("LC302")


def crowded() -> Measurements:
    """Three layers that read one uncentred stream; the second one is the worst."""
    gains = {"block1.conv": 30.0, "block2.conv": 90.0, "head2": 50.0}
    layers = tuple(
        specimen.layer(name, "conv2d", gain=gain, reads="sum of branches", depth=depth)
        for depth, (name, gain) in enumerate(gains.items())
    )
    return specimen.measurements(layers=layers)


def found(*wishes: Suppression):
    _, findings = rules.judge(crowded(), (RULE,), rules.excuses(wishes, TODAY))
    live = [finding for finding in findings if finding.suppression is None]
    return live, [finding for finding in findings if finding.suppression]


def test_without_suppressions_there_is_one_finding_of_three_layers() -> None:
    (finding,), none = found()
    assert len(finding.layers) == 3 and not none and finding.measured.value == 90


def test_a_suppressed_layer_leaves_its_finding_and_takes_its_figure_along() -> None:
    wish = Suppression("LC302", "block2.*", "frozen")
    (live,), (hidden,) = found(wish)
    assert live.layers == ("block1.conv", "head2") and live.measured.value == 50
    assert hidden.layers == ("block2.conv",) and hidden.measured.value == 90 and hidden.suppression == wish


@pytest.mark.parametrize("rule", ["LC302", "lc3", "LC", "ALL", "ill-conditioned-layer"])
@pytest.mark.parametrize("layer", ["", "*", "*[0-9]*"])
def test_a_selector_and_a_pattern_can_cover_all(rule: str, layer: str) -> None:
    live, hidden = found(Suppression(rule, layer, "all of it"))
    assert not live and len(hidden) == 1


@pytest.mark.parametrize("wish", [Suppression("LC301", "", "x"), Suppression("LC302", "block", "x")])
def test_others_are_left_alone(wish: Suppression) -> None:
    live, hidden = found(wish)
    assert len(live) == 1 and not hidden


def test_the_first_of_several_counts_and_neither_is_unused() -> None:
    first, second = Suppression("LC302", "*", "one"), Suppression("LC3", "", "two")
    excuses = rules.excuses((first, second), TODAY)
    _, findings = rules.judge(crowded(), (RULE,), excuses)
    assert [finding.suppression for finding in findings] == [first]
    assert excuses.notices((RULE,), crowded()) == ()


@pytest.mark.parametrize(("until", "counts"), [("2026-05-03", True), ("2026-05-04", False), ("", False)])
def test_the_last_day_still_counts(until: str, counts: bool) -> None:
    live, _ = found(Suppression("LC302", "", "x", until))
    assert bool(live) == counts


def test_a_rule_that_did_not_run_says_nothing_about_its_suppression() -> None:
    excuses = rules.excuses((Suppression("LC101", "", "x"),), TODAY)
    rules.judge(crowded(), (RULE,), excuses)
    assert excuses.notices((RULE,), crowded()) == ()


def test_whole_model_findings_are_not_covered_by_a_pattern_of_layers() -> None:
    measured = rules.find("LC902").fires()
    wishes = (Suppression("LC902", "*", "x"),)
    checks, findings = rules.judge(measured, (rules.find("LC902"),), rules.excuses(wishes, TODAY))
    whole = [finding for finding in findings if not finding.layers]
    assert all(finding.suppression is None for finding in whole)
    assert len(checks)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Suppression("LC999", "", "x"), "no rule is called LC999"),
        (Suppression("LC302", "", ""), "no reason is given"),
        (Suppression("LC302", "", "x", "tomorrow"), "until is tomorrow, expected a date"),
    ],
)
def test_wishes_that_cannot_be_understood(wish: Suppression, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        rules.excuses((wish,), TODAY)
    assert caught.value.hint


def test_the_gate_looks_at_what_counts_and_the_report_keeps_the_rest() -> None:
    measured = rules.find("LC101").fires()
    run = Run("2026-05-04T00:00:00+00:00", {})
    strict = judge(measured, rules.all_rules(), run=run)
    wish = Suppression("LC101", "", "known", "2026-05-04")
    eased = judge(measured, rules.all_rules(), run=run, suppress=(wish,))
    assert strict.gate.exit_code == 1 and eased.gate.exit_code != 1
    assert [finding.rule for finding in eased.suppressed] == ["LC101"]
    assert eased.suppressed[0].fixes == strict.findings[0].fixes
    assert strict.checks == eased.checks
    late = judge(measured, rules.all_rules(), run=replace(run, started_at="2026-05-05"), suppress=(wish,))
    assert late.gate.exit_code == 1 and "expired on 2026-05-04; its finding counts again" in late.notices[0]
