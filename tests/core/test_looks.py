"""``--samples auto``: when more samples are taken, and when no more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from lcaudit import rules
from lcaudit.audit import judge
from lcaudit.core import specimen
from lcaudit.core.looks import EARLY_LEVEL, FIRST, decided, until_decided
from lcaudit.core.outcomes import Report, Run
from lcaudit.core.quantity import Quantity

RULE = rules.select(("LC301",), ())
LIMIT = RULE[0].limit.value


def report(size: int, gain: float, error: float, available: int = 10_000) -> Report:
    """An audit of one head whose log gain has a standard error that falls with √n."""
    half = error / math.sqrt(size) * 2.2621571628  # Student's t at 95 %, 9 degrees of freedom
    figure = Quantity(
        gain, "×", gain * math.exp(-half), gain * math.exp(half), method="jackknife", n=size, scale="log", degrees=9
    )
    layer = specimen.layer("head", is_head=True)
    what_if = {name: replace(change, gain=figure) for name, change in layer.what_if.items()}
    measured = specimen.measurements(layers=(replace(layer, what_if=what_if, samples=size, enough_samples=100),))
    probe = replace(measured.probe, samples=size, available=available)
    return judge(replace(measured, probe=probe), RULE, run=Run("", {}))


def looks_of(audit: Callable[[int], Report], most: int = 5000) -> tuple[int, ...]:
    return until_decided(audit, most).measurements.settings.looks


def test_one_look_is_enough_where_the_verdict_is_plain():
    assert looks_of(lambda size: report(size, 20 * LIMIT, 0.5)) == (FIRST,)


def test_samples_double_until_the_interval_leaves_the_limit():
    looks = looks_of(lambda size: report(size, 1.5 * LIMIT, 3.0))
    assert len(looks) > 1 and all(after == 2 * before for before, after in itertools.pairwise(looks))
    assert decided(report(looks[-1], 1.5 * LIMIT, 3.0)) and not decided(report(looks[-2], 1.5 * LIMIT, 3.0))


def test_a_figure_at_its_limit_uses_the_budget_and_stays_undecided():
    found = until_decided(lambda size: report(size, LIMIT, 3.0), 1500)
    assert found.measurements.settings.looks == (250, 500, 1000, 1500)
    assert [check.status for check in found.checks] == ["undecided"]
    assert any("looks at 250, 500, 1000, 1500 samples" in line for line in found.convention)


def test_the_budget_is_what_the_probe_holds():
    assert looks_of(lambda size: report(min(size, 700), LIMIT, 3.0, available=700)) == (250, 500, 700)


def test_an_early_look_asks_for_more_than_a_verdict():
    """Between the level of verdicts and the early one the check has passed, and yet samples are added."""
    sure = next(
        found
        for error in (step / 50 for step in range(400, 1, -1))
        if (found := report(FIRST, 2 * LIMIT, error)).checks[0].status == "fail"
    )
    ends = sure.checks[0].measured.at(EARLY_LEVEL)
    assert ends[0] <= LIMIT and not decided(sure)


@pytest.mark.slow
def test_looks_together_are_as_seldom_wrong_as_promised():
    """A figure a hair below its limit must hardly ever be failed, however often one looks."""
    import numpy as np

    draw, wrong, trials = np.random.default_rng(0), 0, 4000
    for _ in range(trials):
        noise = draw.normal(size=5000).cumsum()

        def audit(size: int, noise: np.ndarray = noise) -> Report:
            return report(size, LIMIT * 0.999 * math.exp(3.0 * noise[size - 1] / size), 3.0, available=5000)

        wrong += until_decided(audit, 5000).checks[0].status == "fail"
    assert wrong <= 0.0025 * trials
