"""Bias, coverage and refusal in simulation, and intervals against textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.coverage import Cell, layer, population, rows, simulate
from lcaudit.core.quantity import VERDICT_LEVEL
from lcaudit.core.statistics import student_t
from lcaudit.spectra import analyse
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.intervals import estimates, jackknife_error, share, short_by
from lcaudit.spectra.sides import FEWEST_SAMPLES

RUNS = 150


def least_successes(trials: int, probability: float, risk: float = 1e-4) -> int:
    """Smallest count that a binomial variable falls short of with a probability below ``risk``, at most."""
    total = 0.0
    for k in range(trials + 1):
        total += math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        if total > risk:
            return k
    return trials


def treated(best: list[float], other: list[float], left_out: np.ndarray, strain: float = 0.0) -> Treated:
    """Invented figures."""
    return Treated(np.array(best), np.array(best), np.array(other), left_out, np.full(len(best), strain))


@pytest.mark.parametrize(
    "cell",
    [
        Cell("power law", "gaussian", 16, 16),
        Cell("spiked", "random length", 16, 16),
        Cell("uncentred", "heavy entries", 16, 16),
        Cell("spiked", "gaussian", 16, 256, positions=16, shared=0.5),
        Cell("power law", "gaussian", 40, 4),
    ],
    ids=lambda cell: f"{cell.spectrum}, {cell.kind}, {cell.positions}",
)
def test_intervals_cover_and_bias_is_removed(cell):
    """Coverage is judged against 92 %, with a risk of 1 in 10 000 that chance alone fails it."""
    found = simulate(cell, RUNS)
    for name in ("κ_50", "κ_80", "gain"):
        got = found[name]
        judged = round(got["judged"] * RUNS)
        assert judged > 0.6 * RUNS, name
        assert round(got["coverage"] * judged) >= least_successes(judged, 0.92), name
        assert round((1 - got["wrong"]) * judged) >= least_successes(judged, 0.99), name
        assert abs(got["bias"]) < 0.1 and abs(got["bias"]) < got["spread"], name
    assert found["κ_80"]["plain_bias"] > abs(found["κ_80"]["bias"]), "the plug-in figure is biased upwards"


@pytest.mark.parametrize(
    "cell",
    [
        Cell("flat", "gaussian", 32, 16),  # isotropic: noise alone makes κ_80 ≈ 2
        Cell("flat", "random length", 32, 64),
        Cell("power law", "gaussian", 60, 2),
        Cell("power law", "gaussian", 128, 64, positions=64, shared=0.9),  # 64 rows a sample, worth hardly one
    ],
    ids=["flat", "flat and heavy", "two rows per dimension", "rows that repeat each other"],
)
def test_what_cannot_be_corrected_is_refused(cell):
    assert simulate(cell, 40)["κ_80"]["judged"] <= 0.05


def test_the_number_of_samples_asked_for_is_enough():
    draw, source = np.random.default_rng(0), population("spiked", 30)

    def measured(samples):
        return analyse(layer(rows(source, samples, "random length", draw)), float32=False)

    short = measured(120)
    assert not short.input.condition_number["80"].reliable and short.enough_samples > 120
    enough = measured(math.ceil(1.5 * short.enough_samples))
    assert enough.input.condition_number["80"].reliable and enough.samples >= enough.enough_samples
    few = measured(60)
    assert few.enough_samples == max(FEWEST_SAMPLES, 4 * 30) and few.input.condition_number["80"].low is None


def test_jackknife_of_a_mean_is_the_textbook_interval():
    values = np.random.default_rng(1).uniform(0.4, 0.6, size=10)
    left_out = [(values.sum() - v) / 9 for v in values]
    got = share(float(values.mean()), left_out, n=10)
    half = student_t(9) * values.std(ddof=1) / np.sqrt(10)
    assert got.value == pytest.approx(values.mean())
    assert got.high - got.value == pytest.approx(half) and got.value - got.low == pytest.approx(half)
    wide = student_t(9, VERDICT_LEVEL) / student_t(9) * half
    assert got.at(VERDICT_LEVEL) == pytest.approx((got.value - wide, got.value + wide))


def test_jackknife_removes_the_bias_of_a_square():
    draw = np.random.default_rng(2)
    values = draw.normal(0.5, 0.3, size=(4000, 10))
    squares = values.mean(1) ** 2
    left_out = ((values.sum(1, keepdims=True) - values) / 9) ** 2
    corrected = np.mean([share(float(a), list(b), n=10).value for a, b in zip(squares, left_out, strict=True)])
    assert squares.mean() - 0.25 == pytest.approx(0.009, abs=0.003)
    assert corrected == pytest.approx(0.25, abs=0.005)


def test_an_interval_is_symmetric_in_logarithms_and_widens_with_the_level():
    left_out = np.random.default_rng(3).normal(1, 0.05, size=(10, 1))
    (got,) = estimates(treated([1.0], [1.0], left_out), n=500)
    reach = student_t(9) * float(jackknife_error(left_out)[0])
    assert (math.log(got.low), math.log(got.high)) == pytest.approx((1 - reach, 1 + reach))
    growth = student_t(9, VERDICT_LEVEL) / student_t(9)
    assert [math.log(end) for end in got.at(VERDICT_LEVEL)] == pytest.approx([1 - growth * reach, 1 + growth * reach])
    assert got.reliable and got.degrees == 9


def test_corrections_that_disagree_or_are_too_large_are_refused():
    left_out = np.random.default_rng(4).normal(1, 0.01, size=(10, 1))
    error = float(jackknife_error(left_out)[0])
    assert estimates(treated([1.0], [1 + 0.9 * error], left_out), n=500)[0].reliable
    refused = treated([1.0], [1 + 2 * error], left_out)
    assert not estimates(refused, n=500)[0].reliable and short_by(refused) == pytest.approx(2 ** (2 / 3))
    assert not estimates(treated([1.0], [1.0], left_out, strain=1.3), n=500)[0].reliable
    assert short_by(treated([1.0], [1.0], left_out, strain=1.3)) == 1.3
    # far below what matters, disagreement counts as error and is not refused
    precise = treated([1.0], [1.01], np.full((10, 1), 1.0))
    assert estimates(precise, n=500)[0].reliable
    assert math.log(estimates(precise, n=500)[0].high) == pytest.approx(1 + student_t(9) * 0.01)


def test_one_group_gives_no_interval_and_no_verdict():
    (only,) = estimates(treated([0.0], [0.0], np.empty((0, 1))), n=1)
    assert only.low is None and only.against(5) == "unknown"


def test_without_enough_rows_a_figure_is_shown_as_it_is():
    (got,) = estimates(treated([1.0], [1.0], np.ones((10, 1))), n=30, enough=False)
    assert got.value == got.raw and got.low is None and not got.reliable
