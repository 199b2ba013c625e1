"""Intervals and where they lie, against literal formulas and tabulated quantiles."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.core.quantity import Quantity, exact, wilson
from lcaudit.core.statistics import NORMAL_95, student_t


def _score(share: float, trials: int, truth: float) -> float:
    """How many standard deviations the observed share lies from a supposed true one."""
    return (share - truth) / math.sqrt(truth * (1 - truth) / trials)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_where_the_score_test_turns(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval = wilson(successes, trials)
    share = successes / trials
    assert interval.value == share and interval.n == trials
    assert 0 <= interval.low <= share <= interval.high <= 1
    if interval.low > 1e-9:
        assert _score(share, trials, interval.low) == pytest.approx(NORMAL_95, rel=1e-5)
    if interval.high < 1 - 1e-9:
        assert _score(share, trials, interval.high) == pytest.approx(-NORMAL_95, rel=1e-5)


def test_wilson_against_published_figures() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        interval = wilson(successes, trials)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (9, 2.26216), (10, 2.22814),
     (29, 2.04523), (30, 2.04227), (120, 1.97993)],
)  # fmt: skip
def test_student_t_against_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=5e-5 * quantile)


def test_student_t_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 7, 9, 40):
        for level in (0.5, 0.9, 0.95, 0.99):
            wanted = stats.t.ppf((1 + level) / 2, degrees)
            assert student_t(degrees, level) == pytest.approx(wanted, rel=1e-10)


def test_student_t_tends_to_the_normal() -> None:
    assert pytest.approx(1.959963984540054, abs=1e-12) == NORMAL_95
    assert student_t(1001) == pytest.approx(NORMAL_95, rel=2e-3)
    quantiles = [student_t(degrees) for degrees in range(1, 30)]
    assert quantiles == sorted(quantiles, reverse=True)


JUDGED = [
    (Quantity(1.0, low=0.5, high=2.0, method="jackknife"), 2.0, "below"),
    (Quantity(1.0, low=0.5, high=2.0, method="jackknife"), 1.99, "straddles"),
    (Quantity(1.0, low=0.5, high=2.0, method="jackknife"), 0.5, "straddles"),
    (Quantity(1.0, low=0.5, high=2.0, method="jackknife"), 0.49, "above"),
    (Quantity(1.0, low=0.5, high=2.0, method="jackknife", reliable=False), 10.0, "unknown"),
    (Quantity(1.0, low=None, high=2.0, method="jackknife"), 10.0, "unknown"),
    (Quantity(1.0, method="jackknife"), 10.0, "unknown"),
    (Quantity(math.nan, low=0.5, high=2.0, method="jackknife"), 10.0, "unknown"),
    (Quantity(1.0, low=math.nan, high=2.0, method="jackknife"), 1.5, "straddles"),
    (Quantity(1.0, low=0.5, high=math.nan, method="jackknife"), 10.0, "straddles"),
    (Quantity(math.inf, low=2.0, high=math.inf, method="jackknife"), 1.0, "above"),
    (exact(3), 3.0, "below"),
    (exact(3), 2.9, "above"),
    (exact(math.nan), 3.0, "unknown"),
    (exact(math.inf), 3.0, "above"),
]


@pytest.mark.parametrize(("quantity", "limit", "where"), JUDGED)
def test_the_whole_interval_decides(quantity: Quantity, limit: float, where: str) -> None:
    assert quantity.against(limit) == where


@given(st.fractions(0, 10), st.fractions(0, 10), st.fractions(0, 10))
def test_nothing_that_reaches_beyond_the_limit_passes(low: Fraction, high: Fraction, limit: Fraction) -> None:
    quantity = Quantity(float(low), low=float(min(low, high)), high=float(max(low, high)), method="jackknife")
    where = quantity.against(float(limit))
    assert (where == "below") == (float(max(low, high)) <= float(limit))
    assert (where == "above") == (float(min(low, high)) > float(limit))


def test_raw_is_the_uncorrected_figure() -> None:
    assert Quantity(2.0, plug_in=3.0).raw == 3.0
    assert Quantity(2.0).raw == 2.0
