"""Replicates of second moments against moments computed anew from the rows that are left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.coverage import layer, population, rows
from lcaudit.spectra import analyse, resample
from lcaudit.spectra.factor import Whole, exactly, perturbed
from lcaudit.spectra.resample import INPUTS
from lcaudit.spectra.second_moment import BATCH_NORM_EPS, GroupedMoments
from tests.spectra.test_analyse import moments

GROUPS = 10


def changed(data: np.ndarray, change: str) -> np.ndarray:
    """Literal second moment of rows [n, d] after a change."""
    if change != "input":
        data = data - data.mean(0)
    if change == "batch_norm":
        data = data / np.sqrt(data.var(0) + BATCH_NORM_EPS)
    return data.T @ data / len(data)


def drawn(side: int, samples: int, spectrum: str = "uncentred") -> np.ndarray:
    return rows(population(spectrum, side), samples, "gaussian", np.random.default_rng(side))


def replicated(data: np.ndarray, change: str):
    grouped = GroupedMoments(layer(data).inputs)
    others = [grouped.without(g) for g in range(GROUPS)]
    whole = Whole(grouped.whole().matrix(change), grouped.whole().measured(change), False)
    exact = exactly(whole, [lambda o=other: o.matrix(change) for other in others], grouped.shares())
    traces = np.array([other.diagonal(change).sum() for other in others])
    return exact, perturbed(whole, lambda vectors: grouped.times_without(change, vectors), traces)


@pytest.mark.parametrize("change", INPUTS)
def test_each_group_left_out_is_the_moment_of_the_other_rows(change):
    data = drawn(7, 93)  # groups of unequal size
    factor, _ = replicated(data, change)
    parts = np.array_split(data[:, 0], GROUPS)
    for g in range(GROUPS):
        rest = np.concatenate([part for k, part in enumerate(parts) if k != g])
        values = np.linalg.eigvalsh(changed(rest, change))[::-1]
        np.testing.assert_allclose(factor.left_out[g], np.log(values), atol=1e-10)
        assert factor.traces[g] == pytest.approx(np.log(values.sum()), abs=1e-10)


def test_crossed_is_the_variance_on_samples_that_the_eigenvectors_have_not_seen():
    data = drawn(6, 93)
    factor, _ = replicated(data, "input")
    parts, total = np.array_split(data[:, 0], GROUPS), np.zeros(6)
    for g, part in enumerate(parts):
        rest = np.concatenate([other for k, other in enumerate(parts) if k != g])
        vectors = np.linalg.eigh(changed(rest, "input"))[1][:, ::-1]
        total += np.square(part @ vectors).sum(0)
    np.testing.assert_allclose(factor.crossed, np.log(total / len(data)), atol=1e-10)


@pytest.mark.parametrize("change", INPUTS)
def test_the_matrix_is_never_formed_to_be_applied(change):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, groups=2),
                          nn.Flatten(), nn.LazyLinear(3)).double()  # fmt: skip
    inputs = torch.randn(120, 2, 6, 6, dtype=torch.float64)
    model(inputs)
    grouped = GroupedMoments({m.layer.name: m for m in moments(model, inputs).layers}["2"].inputs)
    vectors = np.random.default_rng(0).normal(size=(2, 18, 5))
    for moment in (grouped.whole(), grouped.without(3)):
        matrix = moment.matrix(change)
        np.testing.assert_allclose(moment.apply(change, vectors), matrix @ vectors, atol=1e-12)
        np.testing.assert_allclose(moment.diagonal(change), np.diagonal(matrix, axis1=1, axis2=2), atol=1e-12)
        np.testing.assert_allclose(matrix, matrix.swapaxes(1, 2), atol=1e-14)
    for g, product in enumerate(grouped.times_without(change, vectors)):
        np.testing.assert_allclose(product, grouped.without(g).matrix(change) @ vectors, atol=1e-12)


@pytest.mark.parametrize("change", INPUTS)
def test_perturbation_agrees_with_exact_replicates_where_rows_are_many(change):
    data = drawn(30, 6000, "power law")
    exact, (fast, by_noise) = replicated(data, change)
    np.testing.assert_allclose(fast.full.values, exact.full.values, rtol=1e-11)
    spread = exact.left_out.std(0)
    assert np.median(fast.left_out.std(0) / spread) == pytest.approx(1, abs=0.15)
    bias, found = exact.crossed - exact.logs, fast.crossed - fast.logs
    assert found[-1] - found[0] == pytest.approx(bias[-1] - bias[0], rel=0.35)
    np.testing.assert_allclose(fast.traces, exact.traces, atol=1e-10)
    assert 3000 < by_noise < 12000, "6 000 Gaussian rows count as about so many"


def test_both_ways_give_the_same_layer(monkeypatch):
    """Interval lengths scatter, for near neighbours swap shares of one change: on average they agree."""
    ratios = []
    for seed in range(4):
        source = population("uncentred", 100)
        simulated = layer(rows(source, 12_000, "random length", np.random.default_rng(seed)))
        both = []
        for side in (96, 100):
            monkeypatch.setattr(resample, "EXACT_SIDE", side)
            got = analyse(simulated, float32=False)
            both.append(
                [got.input.condition_number[p] for p in ("50", "80")]
                + [what_if.gain for what_if in got.what_if.values()]
                + [got.input.largest, got.fisher.largest]
            )
        for one, other in zip(*both, strict=True):
            assert one.raw == pytest.approx(other.raw, rel=1e-11)
            assert one.reliable and other.reliable
            wanted = np.log(other.high / other.low)
            assert abs(np.log(one.value / other.value)) < 0.15 * wanted
            ratios.append(np.log(one.high / one.low) / wanted)
    assert np.exp(np.log(ratios).mean()) == pytest.approx(1, abs=0.15)


def test_where_the_bias_is_not_small_exact_replicates_are_made(monkeypatch):
    made = []
    monkeypatch.setattr(resample, "exactly", lambda *arguments: made.append(1) or exactly(*arguments))
    data = rows(population("uncentred", 100), 800, "gaussian", np.random.default_rng(6))
    assert analyse(layer(data), float32=False).input.condition_number["50"].low is not None
    assert len(made) == 4  # Σ_x, both changes, and Σ_g of side 1
    made.clear()
    analyse(layer(rows(population("uncentred", 100), 20_000, "gaussian", np.random.default_rng(7))), float32=False)
    assert len(made) == 1


def test_too_wide_a_layer_is_refused_where_perturbation_does_not_do(monkeypatch):
    monkeypatch.setattr(resample, "WIDE_SIDE", 99)
    data = rows(population("uncentred", 100), 800, "gaussian", np.random.default_rng(8))
    got = analyse(layer(data), float32=False)
    assert not got.input.condition_number["80"].reliable and got.enough_samples > 800
