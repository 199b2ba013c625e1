"""Intervals and where they lie, against literal formulas and tabulated quantiles."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.core.quantity import VERDICT_LEVEL, Quantity, exact, wilson
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


#: At the level of verdicts this interval grows by 3.2905 / 1.9600 to 0.1606 … 2.6789.
SHOWN = Quantity(1.0, low=0.5, high=2.0, method="jackknife")

JUDGED = [
    (SHOWN, 2.68, "below"),
    (SHOWN, 2.67, "straddles"),
    (SHOWN, 0.17, "straddles"),
    (SHOWN, 0.16, "above"),
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
    where, ends = quantity.against(float(limit)), quantity.at(VERDICT_LEVEL)
    assert ends is not None and ends[0] <= quantity.low <= quantity.high <= ends[1]
    assert (where == "below") == (ends[1] <= float(limit))
    assert (where == "above") == (ends[0] > float(limit))


def test_an_interval_grows_with_the_level_on_its_own_scale() -> None:
    assert (
        SHOWN.at(0.95) == (0.5, 2.0) and exact(3).at(0.5) == (3, 3) and Quantity(1.0, method="plug-in").at(0.9) is None
    )
    normal = statistics.NormalDist()
    growth = normal.inv_cdf(0.9995) / normal.inv_cdf(0.975)
    assert SHOWN.at(0.999) == pytest.approx((1 - 0.5 * growth, 1 + growth))
    assert replace(SHOWN, scale="log").at(0.999) == pytest.approx((0.5**growth, 2**growth))
    growth = 4.780913 / 2.262157  # Student's t, 9 degrees of freedom, tabulated
    assert replace(SHOWN, degrees=9).at(0.999) == pytest.approx((1 - 0.5 * growth, 1 + growth), abs=1e-5)
    assert replace(SHOWN, degrees=10**9).at(0.999) == pytest.approx(SHOWN.at(0.999), rel=1e-2)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_at_another_level_is_wilson_at_that_level(counts: tuple[int, int]) -> None:
    wanted = wilson(*counts, z=statistics.NormalDist().inv_cdf(0.9995))
    assert wilson(*counts).at(0.999) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_a_share_from_a_file_may_be_none() -> None:
    for value, low, high in [(-3.0, 0.1, 0.2), (7.0, 0.1, 0.2), (0.5, math.nan, 0.6), (math.nan, 0.1, 0.2)]:
        Quantity(value, low=low, high=high, method="Wilson score", scale="share").against(0.5)


def test_a_figure_at_its_limit_rarely_falls_wholly_on_one_side() -> None:
    """By construction: of 20 000 probes of a figure that *is* the limit, about one in 1000 decides."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(20_000, 10))  # ten groups each
    means, errors = values.mean(1), values.std(1, ddof=1) / math.sqrt(10)
    sides = Counter(
        Quantity(m, "1", m - 2.262157 * e, m + 2.262157 * e, method="jackknife", degrees=9).against(0.0)
        for m, e in zip(means.tolist(), errors.tolist(), strict=True)
    )
    assert 2 <= sides["above"] <= 25 and 2 <= sides["below"] <= 25


def test_raw_is_the_uncorrected_figure() -> None:
    assert Quantity(2.0, plug_in=3.0).raw == 3.0
    assert Quantity(2.0).raw == 2.0
