"""λmax of the Fisher block from few gradients: what its interval covers, and what the ratio says."""

import math

import numpy as np
import pytest
import torch

from lcaudit.core.quantity import Quantity
from lcaudit.core.trust import holds, words
from lcaudit.core.types import SampleGram
from lcaudit.spectra import fisher_block

SIZE, GROUPS = 128, 10
SPECTRA = {
    # name: (eigenvalues, whether the interval must cover; else the figure must be refused)
    "power law": (1 / np.arange(1, 401), True),
    "one spike": (np.r_[9.0, np.ones(399)], True),
    "nine equal spikes": (np.r_[np.full(9, 15.0), np.ones(391)], True),
    "few parameters": (np.linspace(1, 2, 8), True),
    "flat": (np.ones(2000), False),
}


def block(rows, group=None):
    group = np.arange(len(rows)) * GROUPS // len(rows) if group is None else group
    counts = np.bincount(group, minlength=GROUPS)
    return SampleGram(torch.from_numpy(rows @ rows.T), torch.from_numpy(group), torch.from_numpy(counts))


@pytest.mark.parametrize("name", SPECTRA)
def test_the_interval_covers_the_truth_or_the_figure_is_refused(name):
    values, covered = SPECTRA[name]
    generator, hits, refused = np.random.default_rng(0), 0, 0
    for _ in range(40):
        rows = generator.standard_normal((SIZE, len(values))) * np.sqrt(values)
        got = fisher_block.quantity(fisher_block.largest(block(rows)))
        assert got.low <= got.value <= got.high and got.n == SIZE and got.unit == "nat"
        hits += got.low <= values.max() <= got.high
        refused += not got.reliable
    assert (hits >= 34 and refused <= 2) if covered else refused >= 38  # 250 draws: 95 to 100 %


def test_largest_and_what_is_left_out_equal_whole_matrices():
    rows = np.random.default_rng(1).standard_normal((60, 9)) * np.arange(1, 10)
    got = fisher_block.largest(block(rows))
    assert math.exp(got.plug_in) == pytest.approx(np.linalg.eigvalsh(rows.T @ rows / 60)[-1], rel=1e-9)
    held = 0.0
    for g in range(GROUPS):
        others, own = np.delete(rows, slice(6 * g, 6 * g + 6), 0), rows[6 * g : 6 * g + 6]
        values, vectors = np.linalg.eigh(others.T @ others / 54)
        assert math.exp(got.left_out[g]) == pytest.approx(values[-1], rel=1e-6)
        held += np.square(own @ vectors[:, -1]).sum() / 60
    assert math.exp(got.held_out) == pytest.approx(held, rel=1e-4)


def test_an_all_zero_block_has_no_largest_and_one_group_no_interval():
    assert fisher_block.largest(block(np.zeros((20, 3)))) is None
    one = SampleGram(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.int64), torch.tensor([3]))
    got = fisher_block.quantity(fisher_block.largest(one))
    assert got.low is None and not got.reliable and got.value == pytest.approx(1 / 3)


def test_scaling_the_weight_leaves_scaled_curvature_alone():
    rows = np.random.default_rng(2).standard_normal((50, 6))
    one, two = (fisher_block.quantity(fisher_block.largest(block(rows * s))) for s in (1.0, 4.0))
    a, b = fisher_block.scaled(one, 3.0), fisher_block.scaled(two, 3.0 / 4)
    assert (a.low, a.value, a.high, a.raw) == pytest.approx((b.low, b.value, b.high, b.raw))


@pytest.mark.parametrize(
    ("ends", "verdict", "said"),
    [
        ((0.8, 1.0, 1.3), True, "product holds within ×1.5"),
        ((5.0, 9.0, 14.0), False, "product is ×9 too large"),
        ((0.01, 0.02, 0.05), False, "product is ×50 too small"),
        ((1.2, 1.4, 2.0), None, "product is ×1.4 too large"),
        ((0.5, 1.0, 1.8), None, "product is within ×2, closer is not known"),
    ],
)
def test_trust_in_words(ends, verdict, said):
    low, value, high = ends
    ratio = Quantity(value, "×", low, high, method="m", n=9)
    assert (holds(ratio), words(ratio, "")) == (verdict, said)


def test_what_was_not_compared_is_not_trusted():
    assert holds(None) is None and words(None, "no time") == "not measured: no time"
    unsure = Quantity(1.0, "×", 0.9, 1.1, method="m", n=9, reliable=False)
    assert holds(unsure) is None and words(unsure, "") == "not known: too few samples"
    assert words(Quantity(math.nan, "×", math.nan, math.nan, method="m"), "").startswith("not known")


def test_an_interval_that_no_float_holds_is_none():
    """Groups of samples that differ by hundreds of decades."""
    own = fisher_block.Largest(2.0, 1.0, np.array([-1e3, 0.0, 1e3]), 1.0, 30)
    found = fisher_block.quantity(own)
    assert found.value == pytest.approx(math.exp(2)) and found.low is None and not found.reliable
