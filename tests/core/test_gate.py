"""The verdict and its exit code for every mixture of findings, checks and coverage."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from lcaudit.core import specimen
from lcaudit.core.gate import EXIT_CODES, STATUSES, gate
from lcaudit.core.identification import Identification
from lcaudit.core.outcomes import Check, Finding, Limit
from lcaudit.core.quantity import exact

MEASURED = specimen.measurements()


def finding(severity: str) -> Finding:
    return Finding(
        id="LC000", rule="LC000", severity=severity, kind="defect", title="", message="", layers=(), metric="",
        measured=exact(1), limit=Limit(0, "1", "none"),
    )  # fmt: skip


def check(status: str) -> Check:
    return Check("LC000", "", status, None, "")


@pytest.mark.parametrize(
    ("severities", "statuses", "fail_on", "verdict", "code"),
    [
        ([], ["pass"], "error", "pass", 0),
        ([], [], "error", "pass", 0),
        (["warning", "info"], ["fail", "fail"], "error", "pass", 0),
        (["error"], ["fail"], "error", "fail", 1),
        (["warning"], ["fail"], "warning", "fail", 1),
        (["info"], ["fail"], "warning", "pass", 0),
        (["info"], ["fail"], "info", "fail", 1),
        (["error"], ["fail"], "info", "fail", 1),
        (["error", "warning", "info"], ["fail"] * 3, "never", "pass", 0),
        ([], ["undecided", "pass"], "error", "pass", 0),
        (["info"], ["undecided", "fail"], "error", "pass", 0),
        ([], ["undecided", "skip"], "error", "incomplete", 3),
        ([], ["undecided"], "never", "incomplete", 3),
        ([], ["skip"], "error", "pass", 0),
        ([], ["pass", "crash"], "error", "incomplete", 3),
        ([], ["pass", "crash"], "never", "incomplete", 3),
        (["error"], ["fail", "crash"], "error", "fail", 1),
        (["warning"], ["fail", "crash"], "error", "incomplete", 3),
    ],
)
def test_verdict(severities, statuses, fail_on, verdict, code) -> None:
    judged = gate([finding(s) for s in severities], [check(s) for s in statuses], MEASURED, fail_on, 0.0)
    assert (judged.verdict, judged.exit_code) == (verdict, code)
    assert (not judged.reasons) == (verdict == "pass")
    assert judged.counts == {status: statuses.count(status) for status in STATUSES}
    assert (judged.fail_on, judged.coverage) == (fail_on, MEASURED.coverage)


def test_a_failure_also_says_what_is_missing() -> None:
    judged = gate([finding("error"), finding("error")], [check("crash")], replace(MEASURED, layers=()), "error", 0.0)
    assert judged.reasons == ("2 findings at or above --fail-on error", "1 check crashed", "no layer was measured")


def test_nothing_decided_says_what_to_do() -> None:
    (reason,) = gate([], [check("undecided"), check("undecided")], MEASURED, "error", 0.0).reasons
    assert reason.startswith("nothing could be decided: 2 checks undecided")
    assert "use more samples" in reason


@pytest.mark.parametrize("fail_on", ["error", "never"])
def test_nothing_measured_is_never_a_pass(fail_on) -> None:
    judged = gate([], [check("pass")], replace(MEASURED, layers=()), fail_on, 0.0)
    assert (judged.verdict, judged.exit_code, judged.coverage) == ("incomplete", 3, 0.0)


def test_coverage_below_what_was_asked_is_incomplete() -> None:
    share = MEASURED.coverage
    assert 0 < share <= 1
    assert gate([], [], MEASURED, "error", share).exit_code == 0
    halved = replace(MEASURED, network=replace(MEASURED.network, parameters=2 * MEASURED.network.parameters))
    judged = gate([], [], halved, "error", share)
    assert (judged.verdict, judged.exit_code) == ("incomplete", 3)
    assert "--min-coverage asks for" in judged.reasons[0]


def test_adding_a_finding_never_makes_the_verdict_better() -> None:
    order = {"pass": 0, "incomplete": 1, "fail": 2}
    for fail_on in ("error", "warning", "info", "never"):
        for severities in itertools.product([(), ("info",)], [(), ("warning",)], [(), ("error",)]):
            present = [finding(one) for some in severities for one in some]
            before = order[gate(present, [], MEASURED, fail_on, 0.0).verdict]
            for more in ("info", "warning", "error"):
                assert order[gate([*present, finding(more)], [], MEASURED, fail_on, 0.0).verdict] >= before


def test_exit_codes_are_those_of_the_documentation() -> None:
    assert EXIT_CODES == {"pass": 0, "fail": 1, "incomplete": 3}


@pytest.mark.parametrize("decision", ["ambiguous", "not tested", "agrees", "chosen by probe"])
def test_what_was_assumed_and_not_confirmed_qualifies_a_pass(decision: Any) -> None:
    found = Identification("batch-norm replay", decision, ("preprocessing",), "Because.")
    checks = [check("pass")]
    result = gate([], checks, specimen.measurements(identification=found), "error", 0.0)
    assert (result.verdict, result.exit_code) == ("pass", 0)
    assert bool(result.reasons) == (decision in ("ambiguous", "not tested"))
    declared = specimen.measurements(identification=Identification("", decision, (), "Because."))
    assert gate([], checks, declared, "error", 0.0).reasons == ()
