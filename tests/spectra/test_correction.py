"""The correction of eigenvalues against models in which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.spectra.correction import Treated, corrected, strain

PLACES = np.arange(60)


def test_separate_eigenvalues_are_moved_midway():
    logs = -0.5 * PLACES
    crossed = logs + 0.1  # the same everywhere: slope 1
    best, midway = corrected(logs, crossed)
    np.testing.assert_allclose(best, logs + 0.05)
    np.testing.assert_allclose(midway, logs + 0.05)


@pytest.mark.parametrize("share", [0.04, 0.25, 0.64])
def test_a_crowd_torn_apart_by_noise_is_drawn_together(share):
    """ℓ spread by √(τ² + σ²), the variances on other samples by s times that: the truth by √s times."""
    logs = np.linspace(1, -1, 60)
    best, midway = corrected(logs, share * logs)
    middle = slice(10, 50)  # nearer the ends fewer neighbours are averaged over
    np.testing.assert_allclose(best[middle], np.sqrt(share) * logs[middle], atol=1e-12)
    np.testing.assert_allclose(midway[middle], (1 + share) / 2 * logs[middle], atol=1e-12)


def test_eigenvalues_of_isotropic_data_are_drawn_to_one():
    draw = np.random.default_rng(0)
    data = draw.normal(size=(2, 600, 40))
    values, vectors = np.linalg.eigh(data[0].T @ data[0] / 600)
    logs = np.log(values[::-1])
    other = data[1].T @ data[1] / 600
    crossed = np.log(np.einsum("ji,jk,ki->i", vectors, other, vectors)[::-1])
    best, _ = corrected(logs, crossed)
    assert np.ptp(logs) > 0.9 and np.ptp(best) < 0.45


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(-20, 20))
def test_correction_moves_with_the_scale(rank, seed, shift):
    draw = np.random.default_rng(seed)
    logs = np.sort(draw.normal(size=rank))[::-1]
    crossed = logs + draw.normal(scale=0.1, size=rank)
    for one, other in zip(corrected(logs, crossed), corrected(logs + shift, crossed + shift), strict=True):
        np.testing.assert_allclose(one + shift, other, atol=1e-7)


def test_nothing_to_correct():
    for logs in (np.empty(0), np.array([2.0]), np.zeros(12)):
        for found in corrected(logs, logs):
            np.testing.assert_array_equal(found, logs)


def test_strain_is_the_gap_over_what_is_accepted():
    ratios = np.array([False, True, True])
    raw = np.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(strain(raw, raw - [0.3, 0.3, 0.0], ratios), [0.5, 1.2, 0.0])


def test_ratios_are_paired():
    draw = np.random.default_rng(1)
    shared = draw.normal(size=(10, 2))
    one = Treated(np.ones(2), np.ones(2), np.ones(2), shared, np.array([0.2, 0.9]))
    other = Treated(np.zeros(2), np.zeros(2), np.zeros(2), shared, np.array([0.5, 0.1]))
    difference = one - other
    assert np.ptp(difference.left_out) == 0 and list(difference.best) == [1, 1]
    assert list(difference.strain) == [0.5, 0.9]
    assert list((one + 2)[[0]].raw) == [3]
