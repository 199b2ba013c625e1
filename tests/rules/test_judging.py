"""Finding, selecting and running rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lcaudit import rules
from lcaudit.core import specimen
from lcaudit.core.errors import UsageError
from lcaudit.core.measurements import NonFinite
from lcaudit.core.outcomes import Fail, Limit, Pass, Skip
from lcaudit.core.quantity import exact


def codes(chosen) -> list[str]:
    return [rule.code for rule in chosen]


def test_find_by_code_and_name() -> None:
    assert rules.find("LC301") is rules.find("lc301") is rules.find("ill-conditioned-head")


@pytest.mark.parametrize(
    ("typed", "near"),
    [("LC310", "LC301"), ("ill-conditoned-head", "ill-conditioned-head"), ("LC3", "LC304"), ("??", "LC101")],
)
def test_unknown_rule_lists_near_matches(typed: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.find(typed)
    assert near in caught.value.hint and typed in caught.value.message


def test_unknown_rule_is_shown_escaped() -> None:
    with pytest.raises(UsageError) as caught:
        rules.find("LC\x1b[2J")
    assert "\x1b" not in caught.value.message


def test_select_prefix_code_and_name() -> None:
    assert codes(rules.select()) == codes(rules.all_rules())
    third = [code for code in codes(rules.all_rules()) if code.startswith("LC3")]
    assert codes(rules.select(["LC3"])) == third and len(third) > 4
    assert codes(rules.select(["lc30", "probe-does-not-fit"])) == [*third, "LC901"]
    assert codes(rules.select(["LC301"])) == ["LC301"]


def test_the_more_specific_selector_decides() -> None:
    assert codes(rules.select(["LC301"], ["LC3"])) == ["LC301"]
    assert codes(rules.select(["LC3"], ["LC301"])) == [code for code in codes(rules.select(["LC3"])) if code != "LC301"]
    assert "LC301" in codes(rules.select(["ALL"], ["LC9"])) and "LC901" not in codes(rules.select([], ["LC9"]))


@pytest.mark.parametrize(
    ("chosen", "ignored"),
    [(["LC5"], []), ([], ["head"]), (["L"], []), (["LC3015"], []), (["LC3"], ["LC3"]), ([""], [])],
)
def test_selectors_that_mean_nothing_are_refused(chosen: list[str], ignored: list[str]) -> None:
    with pytest.raises(UsageError):
        rules.select(chosen, ignored)


def toy(check=None, tell=None, **changes):
    base = rules.find("LC303")
    return replace(
        base,
        check=check or (lambda measurements: [Pass("")]),
        tell=tell or (lambda fails, measurements: ("title", "message")),
        **changes,
    )


def test_a_crash_is_a_check_and_stops_nobody() -> None:
    def breaks(measurements):
        raise KeyError("layer\x1b\n::error::")

    checks, findings = rules.judge(specimen.measurements(), (toy(breaks), *rules.all_rules()))
    crash = checks[0]
    assert (crash.status, crash.measured) == ("crash", None)
    assert crash.reason.startswith("KeyError") and crash.reason.isprintable()
    assert {check.rule for check in checks} == {rule.code for rule in rules.all_rules()} and not findings


def test_a_rule_that_returns_something_else_crashes() -> None:
    checks, _ = rules.judge(specimen.measurements(), (toy(lambda measurements: ["fine"]),))
    assert [check.status for check in checks] == ["crash"]


def test_silence_is_a_skip() -> None:
    checks, _ = rules.judge(specimen.measurements(), (toy(lambda measurements: []),))
    assert [check.status for check in checks] == ["skip"] and checks[0].reason


def test_a_finding_outlives_its_text() -> None:
    rule = toy(lambda measurements: [Fail("head", exact(2))], tell=lambda fails, measurements: 1 / 0)
    checks, findings = rules.judge(specimen.measurements(), (rule,))
    assert [finding.id for finding in findings] == ["LC303:head"]
    assert [check.status for check in checks] == ["fail", "crash"]


def test_one_cause_is_one_finding_in_order_of_execution() -> None:
    layers = tuple(specimen.layer(name, depth=depth) for depth, name in enumerate("abc"))
    fails = [
        Fail("c", exact(1), "one", ("shared", "c")),
        Fail("a", exact(5), "one", ("shared", "a")),
        Fail("b", exact(9), "two"),
        Fail("b", exact(7)),
        Skip("x", "no"),
    ]
    checks, findings = rules.judge(specimen.measurements(layers=layers), (toy(lambda m: fails),))
    assert {finding.id: finding.layers for finding in findings} == {
        "LC303:one": ("a", "c"),
        "LC303:two": ("b",),
        "LC303:b": ("b",),
    }
    one = next(finding for finding in findings if finding.id == "LC303:one")
    assert one.measured.value == 5 and one.evidence == ("shared", "a", "c")
    assert len(checks) == len(fails)


def test_a_fail_may_replace_figure_limit_and_severity() -> None:
    limit = Limit(2, "nat", "why")
    fail = Fail("head", exact(3, "nat"), limit=limit, metric="loss", severity="info")
    (finding,) = rules.judge(specimen.measurements(), (toy(lambda m: [fail]),))[1]
    assert (finding.limit, finding.metric, finding.severity) == (limit, "loss", "info")
    rule = toy(lambda m: [Fail("head", exact(3, "share"))])
    (finding,) = rules.judge(specimen.measurements(), (rule,))[1]
    assert (finding.limit, finding.metric, finding.severity) == (rule.limit, rule.metric, rule.severity)


def test_a_remark_on_a_pass_is_the_reason_of_its_check() -> None:
    (check,) = rules.judge(specimen.measurements(), (toy(lambda m: [Pass("head", None, "far better")]),))[0]
    assert (check.status, check.reason) == ("pass", "far better")


def test_a_report_carries_the_manual_by_heading() -> None:
    rule = rules.find("LC301")
    record = rules.record(rule)
    assert (record.code, record.metric, record.limit) == (rule.code, rule.metric, rule.limit)
    assert record.manual["How sure"].startswith("The closed form agrees with a network")
    assert "\n" not in record.manual["Source"]


def test_findings_are_ranked() -> None:
    base = rules.find("LC901").fires()
    ill = specimen.layer("head", is_head=True, gain=12, rank=4, zero=3)
    worse = specimen.layer("body", "conv2d", gain=400, reads="sum of branches", samples=2000)
    measurements = replace(
        base,
        layers=(worse, ill, specimen.layer("wide", dimension=900)),
        batch_norms=(specimen.batch_norm(shift=3.0),),
        non_finite=(NonFinite("w", 1, 2),),
    )
    _, findings = rules.judge(measurements, rules.all_rules())
    assert [finding.rule for finding in findings] == [
        "LC901", "LC101", "LC304",  # errors, the probe first
        "LC401",  # warnings: defects
        "LC302", "LC301",  # then opportunities by excess
        "LC902", "LC303",  # information, the one further beyond its limit first
    ]  # fmt: skip
    assert rules.judge(measurements, rules.all_rules()[::-1])[1] == findings


def test_near_names_are_called_close_matches() -> None:
    with pytest.raises(UsageError) as raised:
        rules.find("LC9999")
    assert raised.value.hint.startswith("close matches: LC9") and "`lcaudit rules` lists all" in raised.value.hint
    with pytest.raises(UsageError) as raised:
        rules.find("zzzz")
    assert all(rule.code in raised.value.hint for rule in rules.all_rules())
