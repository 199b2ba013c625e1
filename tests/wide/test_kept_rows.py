"""Rows that are kept give what sums of their products give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lcaudit.capture.normed import NORMS
from lcaudit.core.measurements import PERCENTILES
from lcaudit.core.types import KeptRows
from lcaudit.spectra import analyse
from lcaudit.spectra.dual import DualMoment, summed_gradient, summed_inputs
from lcaudit.spectra.second_moment import GroupedMoments
from tests.cases import Residual, mlp
from tests.wide.wide_cases import Padded, descending, literal_changes, moments

NETWORKS = {
    "vectors": (lambda: mlp(30, 24, 20, 5), lambda n: torch.rand(n, 30)),
    "convolutions": (Padded, lambda n: torch.randn(n, 2, 6, 6)),
    "residual": (Residual, lambda n: torch.randn(n, 2, 6, 6)),
}


@pytest.mark.parametrize("samples", [3, 11])
@pytest.mark.parametrize("name", NETWORKS)
def test_eigenvalues_equal_those_of_the_literal_matrices(name, samples):
    torch.manual_seed(0)
    build, draw = NETWORKS[name]
    model, inputs = build().double(), draw(samples).double()
    usual, kept = moments(model, inputs), moments(model, inputs, "rows")
    assert len(usual.layers) == len(kept.layers) > 2
    seen = 0
    for sums, rows in zip(usual.layers, kept.layers, strict=True):
        assert isinstance(rows.inputs.second, KeptRows)
        whole = GroupedMoments(rows.inputs).whole()
        dual = DualMoment(rows.inputs.second, whole.rows, whole, False)
        scale = np.square(np.asarray(rows.inputs.second.rows)).sum() / whole.rows
        for change, matrix in literal_changes(sums.inputs).items():
            want = descending(matrix)
            got = np.sort(dual.whole(change).eigenvalues().ravel())[::-1]
            size = scale * (whole.scale().max() ** 2 if change == "batch_norm" else 1)
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * size, err_msg=f"{rows.layer.name} {change}")
            seen += 1
        for name_ in ("input", "centring", "batch_norm"):
            np.testing.assert_allclose(
                whole.diagonal(name_), GroupedMoments(sums.inputs).whole().diagonal(name_), rtol=1e-10, atol=1e-12
            )
    assert seen == 4 * len(usual.layers)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("samples", "judged"), [(13, False), (260, True)])
def test_the_spectra_of_a_layer_are_the_usual_ones(name, samples, judged):
    """With few rows for each entry every figure agrees, without interval; with many the sums themselves are formed."""
    torch.manual_seed(1)
    build, draw = NETWORKS[name]
    model, inputs = build().double(), draw(samples).double()
    usual, kept = moments(model, inputs, batch_size=50), moments(model, inputs, "rows", batch_size=50)
    some = False
    for sums, rows in zip(usual.layers, kept.layers, strict=True):
        want, got = analyse(sums, float32=False), analyse(rows, float32=False)
        for factor in ("input", "centred", "gradient", "fisher"):
            one, other = getattr(want, factor), getattr(got, factor)
            bounded = other.rank_at_most is not None or other.largest.level == 1.0
            assert one.zero == other.zero
            assert bounded or one.rank == other.rank, (rows.layer.name, factor)
            for p in () if bounded else PERCENTILES:
                a, b = one.condition_number[p], other.condition_number[p]
                assert b.raw == pytest.approx(a.raw, rel=1e-6, nan_ok=True)
                if judged and a.reliable and a.low is not None:
                    assert b.reliable and b.low == pytest.approx(a.low, rel=1e-6)
                    some = True
        assert got.mean_energy.value == pytest.approx(want.mean_energy.value, rel=1e-9)
        for change in want.what_if.keys() - NORMS.keys():  # these are not summed for a wide layer
            assert got.what_if[change].gain.raw == pytest.approx(want.what_if[change].gain.raw, rel=1e-6)
        assert got.kronecker_ratio.raw == pytest.approx(want.kronecker_ratio.raw, rel=1e-6)
    assert some is judged


def test_dead_features_are_left_out_and_the_rest_is_judged():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    with torch.no_grad():
        model[0].bias[6:] = -1e3
    inputs = torch.randn(120, 8).double()
    usual, kept = moments(model, inputs, batch_size=30), moments(model, inputs, "rows", batch_size=30)
    assert kept.layers[1].inputs.second.rows.shape == (1, 120, 40)
    assert summed_inputs(kept.layers[1].inputs).second.shape == (10, 1, 6, 6)
    want, got = (analyse(one.layers[1], float32=True) for one in (usual, kept))
    assert got.input.zero == want.input.zero == 34 and got.input.rank == want.input.rank
    for p in ("50", "80"):
        assert got.input.condition_number[p].value == pytest.approx(want.input.condition_number[p].value, rel=1e-9)
        assert got.input.condition_number[p].low == pytest.approx(want.input.condition_number[p].low, rel=1e-9)
    assert got.what_if["batch_norm"].gain.reliable == want.what_if["batch_norm"].gain.reliable


def test_padded_tokens_are_no_rows():
    torch.manual_seed(3)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(9, 12), nn.Linear(12, 4)

        def forward(self, x):
            return self.second(self.first(x).tanh())

    mask = torch.rand(7, 5) > 0.4
    mask[:, 0] = True
    model, inputs = Tokens().double(), torch.randn(7, 5, 9).double()
    for task in ("classification", "regression"):
        options = {"mask": mask, "batch_size": 3, "task": task, "classes": 4}
        usual, kept = (moments(model, inputs, form, **options) for form in ("", "rows"))
        for sums, rows in zip(usual.layers, kept.layers, strict=True):
            assert rows.inputs.second.rows.shape[1] == int(mask.sum())
            assert rows.inputs.second.rows.shape[1] < rows.inputs.second.rows._base.shape[1]
            torch.testing.assert_close(rows.gradient.squares.sum(), sums.gradient.diagonal(dim1=-2, dim2=-1).sum())


def test_rows_of_each_group_are_told_apart():
    torch.manual_seed(4)
    model, inputs = mlp(5, 6, 3).double(), torch.randn(90, 5).double()
    usual, kept = moments(model, inputs), moments(model, inputs, "rows")
    for sums, rows in zip(usual.layers, kept.layers, strict=True):
        torch.testing.assert_close(summed_inputs(rows.inputs).second, sums.inputs.second, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(summed_gradient(rows.gradient), sums.gradient, rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 12), side=st.integers(1, 20), rank=st.integers(1, 4), scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_rank_and_scale(rows, side, rank, scale, seed):
    """Rows that span a plane show its rank; scaling them scales the eigenvalues; their order does not matter."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, rank, generator=generator).double() @ torch.randn(rank, side, generator=generator).double()

    def values(x):
        kept = KeptRows(x[None], torch.zeros(rows, dtype=torch.int64), x.square().sum(0)[None, None])
        return DualMoment(kept, rows, None, True).whole().eigenvalues()[0]

    one = values(x)
    assert np.count_nonzero(one) == min(rows, side, rank)
    np.testing.assert_allclose(values(scale * x.flip(0)), scale**2 * one, rtol=1e-8, atol=1e-9 * scale**2 * one[0])
    assert one.sum() == pytest.approx(float(x.square().sum()) / rows, rel=1e-9)
    assert not math.isnan(one[0])
