"""Bias correction and coverage in simulation."""

import numpy as np
import pytest
import torch

from lcaudit.core.measurements import LayerRecord
from lcaudit.core.statistics import student_t
from lcaudit.core.types import InputMoments, LayerMoments
from lcaudit.spectra import analyse
from lcaudit.spectra.intervals import estimates, resampling, share

DIMENSION = 24


def layer(rows: np.ndarray, groups: int = 10) -> LayerMoments:
    """A linear layer whose inputs are ``rows`` [n, d]."""
    parts = [torch.from_numpy(part) for part in np.array_split(rows, groups)]
    d = rows.shape[1]
    second = torch.stack([part.T @ part for part in parts])[:, None]
    first = torch.stack([part.sum(0) for part in parts])[:, None]
    counts = torch.tensor([len(part) for part in parts])
    inputs = InputMoments(
        second, first[..., None], torch.ones(1, 1, dtype=torch.float64), torch.zeros(d, dtype=torch.int64),
        torch.arange(d), first, second.diagonal(dim1=-2, dim2=-1), counts, counts,
    )  # fmt: skip
    record = LayerRecord("x", "linear", 0, 1, d, 2, 1, 1, "", "layer", "", False)
    return LayerMoments(record, inputs, torch.eye(2, dtype=torch.float64).repeat(groups, 1, 1, 1), "", counts, 1.0)


def sample(spectrum: np.ndarray, n: int, heavy: bool, draw: np.random.Generator) -> np.ndarray:
    rows = draw.normal(size=(n, len(spectrum)))
    if heavy:
        rows *= np.sqrt(3 / draw.chisquare(5, size=(n, 1)))  # Student's t with 5 degrees, unit variance
    return rows * np.sqrt(spectrum)


SPECTRA = {
    "power law": np.arange(1, DIMENSION + 1.0) ** -1.5,
    "spiked": np.r_[50.0, 20.0, np.linspace(2, 0.5, DIMENSION - 2)],
}


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_cover_and_bias_is_removed(name, heavy):
    spectrum, draw = SPECTRA[name], np.random.default_rng(0)
    runs = 120
    for p in ("50", "80"):
        truth = spectrum[0] / spectrum[int(np.ceil(int(p) / 100 * DIMENSION)) - 1]
        found = [
            analyse(layer(sample(spectrum, 8 * DIMENSION, heavy, draw)), float32=False).input.condition_number[p]
            for _ in range(runs)
        ]
        corrected = np.mean([np.log(q.value / truth) for q in found])
        plain = np.mean([np.log(q.raw / truth) for q in found])
        covered = np.mean([q.low <= truth <= q.high for q in found])
        assert abs(corrected) < 0.1
        assert plain > abs(corrected) - 0.02, "the plug-in figure is biased upwards"
        assert covered > 0.88  # 95 % nominal; three binomial standard errors below is 0.89


def test_halves_are_complementary_and_replicates_leave_one_out():
    plan = resampling(10, pairs=4)
    assert len(plan.left_out) == 10 and all(mask.sum() == 9 for mask in plan.left_out)
    assert len(plan.halves) == 8
    for one, other in zip(plan.halves[::2], plan.halves[1::2], strict=True):
        assert one.sum() == 5 and not (one & other).any() and (one | other).all()
    assert resampling(1, pairs=4).left_out == ()


def test_jackknife_of_a_mean_is_the_textbook_interval():
    values = np.random.default_rng(1).normal(size=10)
    left_out = [(values.sum() - v) / 9 for v in values]
    got = share(float(values.mean()), left_out, n=10)
    half = student_t(9) * values.std(ddof=1) / np.sqrt(10)
    assert got.high - got.value == pytest.approx(half) and got.value - got.low == pytest.approx(half)


def test_one_group_gives_no_interval_and_no_verdict():
    (only,) = estimates(np.zeros(1), [], [], n=1)
    assert only.low is None and only.against(5) == "unknown"
