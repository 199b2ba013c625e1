"""An unchanged network keeps its verdicts on different probes. ``benchmarks/calm.py`` does it a hundred times."""

from __future__ import annotations

import lcaudit
from benchmarks.calm import flips, side, tally
from lcaudit.core.quantity import Quantity
from lcaudit.demo import WEIGHTS


def test_no_verdict_flips_between_random_probes():
    reports = [lcaudit.audit(WEIGHTS, "digits", samples=160, seed=seed, device="cpu") for seed in range(3)]
    assert len({report.measurements.probe.indices for report in reports}) == 3
    lines = tally(reports)
    assert not [line for line in lines if line["flips"]]
    decided = [line for line in lines if {"pass", "fail"} & set(line["statuses"])]
    assert len(decided) > 40, "that nothing flips must not be because nothing is decided"


def test_a_flip_is_a_pass_and_a_fail():
    assert flips(["pass", "undecided", "fail"])
    assert not flips(["pass", "undecided"]) and not flips(["fail", "skip"])


def test_a_verdict_looks_at_the_interval_of_its_level():
    gain = Quantity(12.0, "×", 10.5, 13.7, method="jackknife", scale="log", degrees=9)
    assert side(gain, 10, 0.95) == "fail" and side(gain, 10, 0.999) == "undecided" and side(gain, 17, 0.999) == "pass"
    assert gain.against(10) == "straddles"
