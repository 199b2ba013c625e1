"""Bounds hold the literal figures between them, whatever the spectrum."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.capture.stores import TESTS, SketchStore
from lcaudit.core.measurements import PERCENTILES
from lcaudit.core.types import Sketch
from lcaudit.spectra import analyse
from lcaudit.spectra.bounds import Bounds, eigenvalue_at_most, product_summary, summary
from lcaudit.spectra.second_moment import GroupedMoments
from lcaudit.spectra.sketch import FAILURE, quantile, sketch_bounds
from tests.cases import mlp
from tests.oracles import literal
from tests.wide.wide_cases import PERCENTS, Padded, descending, literal_changes, moments

CPU = torch.device("cpu")


def inside(bounds, values, slack=1e-9):
    """Whether descending eigenvalues lie between the bounds."""
    low, high = (np.sort(np.concatenate(one))[::-1] for one in (bounds.lower, bounds.upper))
    edge = slack * values[0]
    return bool((values >= low - edge).all() and (values <= high + edge).all())


def ends(quantity):
    """Both bounds of a figure; the figure itself where it is known."""
    return tuple(quantity.value if end is None else end for end in (quantity.low, quantity.high))


def sketched(rows, span):
    store = SketchStore(1, 1, rows.shape[1], span, CPU)
    store.add(rows.T[None], 0)
    return store.settle()


@settings(max_examples=60, deadline=None)
@given(
    side=st.integers(1, 60), rows=st.integers(1, 90), span=st.integers(1, 24), decay=st.floats(0.0, 3.0),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_bounds_hold_for_power_laws_and_flat_spectra(side, rows, span, decay, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, side, generator=generator).double() * torch.arange(1, side + 1).double() ** -decay
    matrix = (x.T @ x / rows).numpy()
    bounds = sketch_bounds(sketched(x, span), rows, limit=rows)
    assert inside(bounds, descending(matrix))
    assert bounds.trace[0] == pytest.approx(np.trace(matrix), rel=1e-12)
    found = summary(bounds, dimension=side, zero=0, n=rows)
    rank = np.linalg.matrix_rank(matrix, tol=side * 2.3e-16 * np.linalg.eigvalsh(matrix)[-1], hermitian=True)
    assert found.rank <= rank <= (found.rank if found.rank_at_most is None else found.rank_at_most)
    for p in PERCENTILES[:3]:
        kappa = found.condition_number[p]
        assert not kappa.reliable
        low, high = ends(kappa)
        assert low * (1 - 1e-6) <= literal.kappa(matrix, int(p)) <= high * (1 + 1e-6)
    values = descending(matrix)
    values = values[values > 0] / values.sum()
    entropy = math.exp(-(values * np.log(values)).sum())
    low, high = ends(found.entropy_rank)
    assert low * (1 - 1e-6) <= entropy <= high * (1 + 1e-6)


def test_a_sketch_as_wide_as_the_rank_knows_everything():
    torch.manual_seed(0)
    x = torch.randn(50, 6).double() @ torch.randn(6, 40).double()
    bounds = sketch_bounds(sketched(x, 12), 50)
    np.testing.assert_allclose(bounds.lower[0][:6], descending((x.T @ x / 50).numpy())[:6], rtol=1e-9)
    assert bounds.upper[0][0] == pytest.approx(bounds.lower[0][0], rel=1e-6)
    assert bounds.upper[0][6:].max() < 1e-9 * bounds.upper[0][0]


def test_vectors_that_took_no_part_bound_what_is_missed_much_better_than_the_trace():
    torch.manual_seed(1)
    x = torch.randn(900, 800).double()
    x[:, 0] *= 10
    sketch = sketched(x, 16)
    bounds = sketch_bounds(sketch, 900)
    assert inside(bounds, descending((x.T @ x / 900).numpy()))
    missed = bounds.trace[0] - bounds.lower[0].sum()
    assert bounds.upper[0][0] - bounds.lower[0][0] < missed / 5


def test_the_quantile_of_chi_square():
    torch.manual_seed(2)
    draws = torch.randn(400_000, TESTS).double().square().sum(1)
    for chance in (0.5, 0.05, 1e-3):
        below = float((draws < quantile(TESTS, chance)).double().mean())
        assert below == pytest.approx(chance, rel=0.02 if chance > 0.01 else 0.25)
    assert 0 < quantile(TESTS, FAILURE) < quantile(TESTS, 1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.floats(0, 5), st.data())
def test_no_spectrum_above_its_lower_bounds_breaks_the_upper_ones(lower, extra, data):
    """Any way to spread what is left of the trace over the eigenvalues stays below."""
    lower = np.sort(np.array(lower))[::-1]
    weights = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(lower), max_size=len(lower))))
    share = extra * weights / weights.sum() if weights.sum() > 0 else np.eye(len(lower))[0] * extra
    values = np.sort(lower + share)[::-1]
    bound = eigenvalue_at_most(lower, float(lower.sum() + extra))
    assert (values <= bound + 1e-9 * (1 + values[0])).all()


@pytest.mark.parametrize("span", [4, 64])
def test_every_change_of_the_input_stays_within_its_bounds(span):
    torch.manual_seed(3)
    for model, inputs in (
        (mlp(30, 24, 5), torch.rand(40, 30)),
        (Padded(), torch.randn(9, 2, 6, 6)),
    ):
        model, inputs = model.double(), inputs.double()
        usual, kept = moments(model, inputs), moments(model, inputs, "sketch", span)
        for sums, rows in zip(usual.layers, kept.layers, strict=True):
            assert isinstance(rows.inputs.second, Sketch) and isinstance(rows.gradient, Sketch)
            whole = GroupedMoments(rows.inputs).whole()
            for change, matrix in literal_changes(sums.inputs).items():
                bounds = sketch_bounds(rows.inputs.second, whole.rows, whole, change, limit=rows.inputs.second.rows)
                assert inside(bounds, descending(matrix), 1e-7), (rows.layer.name, change)
            gradient = descending((sums.gradient.sum(0) / int(sums.samples.sum())).numpy())
            assert inside(sketch_bounds(rows.gradient, int(rows.samples.sum())), gradient)


def test_a_sketched_layer_is_shown_and_not_judged():
    torch.manual_seed(4)
    model, inputs = mlp(30, 24, 5), torch.rand(300, 30)
    options = {"batch_size": 30, "dtype": torch.float32}
    usual, kept = moments(model, inputs, **options), moments(model, inputs, "sketch", 8, **options)
    for sums, rows in zip(usual.layers, kept.layers, strict=True):
        want, got = analyse(sums, float32=True), analyse(rows, float32=True)
        assert got.input.zero == want.input.zero
        assert got.mean_energy.value == pytest.approx(want.mean_energy.value, rel=1e-5)
        for factor in ("input", "centred", "gradient", "fisher"):
            one, other = getattr(want, factor), getattr(got, factor)
            low, high = ends(other.largest)
            assert low <= one.largest.raw * (1 + 1e-5) and one.largest.raw <= high * (1 + 1e-5)
            for p in PERCENTILES:
                figure = other.condition_number[p]
                assert not figure.reliable and figure.against(0) == figure.against(1e9) == "unknown"
                low, high = ends(figure)
                if p != "100":
                    assert low <= one.condition_number[p].raw * (1 + 1e-5)
                    assert one.condition_number[p].raw <= high * (1 + 1e-5)
        for change, what_if in got.what_if.items():
            low, high = ends(what_if.gain)
            assert what_if.gain.against(10) == "unknown"
            assert low <= want.what_if[change].gain.raw * (1 + 1e-5) <= high * (1 + 1e-4)
        assert not got.kronecker_ratio.reliable


def test_products_of_known_eigenvalues_are_found_without_being_formed():
    generator = np.random.default_rng(5)
    parts = [[np.sort(generator.exponential(size=size))[::-1] for size in sizes] for sizes in ((7, 3), (4, 9))]
    left, right = (Bounds(tuple(one), tuple(one), np.array([p.sum() for p in one]), "") for one in parts)
    products = np.sort(np.concatenate([np.outer(a, b).ravel() for a, b in zip(*parts, strict=True)]))[::-1]
    found = product_summary(left, right, dimension=100, n=9)
    assert found.rank == len(products) == 55 and found.rank_at_most is None
    assert found.largest.value == pytest.approx(products[0])
    assert found.trace.value == pytest.approx(products.sum())
    for p in (*PERCENTS, 100):
        want = products[0] / products[math.ceil(p / 100 * 55) - 1]
        assert found.condition_number[str(p)].value == pytest.approx(want, rel=1e-9)
    shares = products / products.sum()
    assert found.entropy_rank.value == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    assert found.effective_rank.value == pytest.approx(products.sum() / products[0])
    for place, value in found.curve:
        assert value == pytest.approx(products[place - 1], rel=1e-9)
