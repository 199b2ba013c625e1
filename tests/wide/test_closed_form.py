"""A wide softmax's Σ_g from its probabilities, against the literal matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.capture.stores import RowStore, SketchStore
from lcaudit.capture.tasks import settle
from lcaudit.core.types import KeptRows
from lcaudit.spectra import analyse
from lcaudit.spectra.closed_form import _Block, closed_form_bounds
from lcaudit.spectra.sketch import sketch_bounds
from tests.cases import mlp
from tests.oracles import literal
from tests.wide.test_sketch import ends, inside
from tests.wide.wide_cases import descending, moments

CPU = torch.device("cpu")


def probabilities(rows, classes, sharpness, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, classes, generator=generator).double()
    return logits - torch.log(torch.arange(1, classes + 1).double())  # words are rare to different degrees


def literal_moment(logits):
    """E[diag(p) − p pᵀ], sample by sample."""
    total = np.zeros((logits.shape[1],) * 2)
    for row in logits.softmax(1).numpy():
        total += np.diag(row) - np.outer(row, row)
    return total / len(logits)


def kept(logits):
    store = RowStore(1, 1, logits.shape[1], len(logits), torch.float64, CPU)
    task = settle("classification", tuple(logits.shape), None, classes=logits.shape[1], ignore_index=-100)
    for diagonal, rows in task.structure(logits):
        store.add_closed_form(diagonal, rows, 0)
    return store.settle()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 25), classes=st.integers(2, 40), sharpness=st.floats(0, 12), seed=st.integers(0, 999),
    work=st.sampled_from([0.0, 3e5, 1e12]),
)  # fmt: skip
def test_bounds_hold(rows, classes, sharpness, seed, work):
    logits = probabilities(rows, classes, sharpness, seed)
    want = descending(literal_moment(logits))
    bounds = closed_form_bounds(kept(logits), rows, work)
    # p − p² rounds by about 1e-16 whatever is left of it
    assert inside(bounds, want, 1e-10 + 1e-15 / max(want[0], 1e-300))
    assert bounds.trace[0] == pytest.approx(want.sum(), rel=1e-9, abs=1e-14)
    if work > 1e9 and want[0] > 1e-9:
        assert bounds.upper[0][0] <= bounds.lower[0][0] * (1 + 1e-6), "counting closes the bounds on λmax"


def test_counts_of_eigenvalues_are_exact():
    logits = probabilities(9, 30, 3.0, 1)
    rows = kept(logits)
    block = _Block(rows.rows[0].numpy(), rows.squares[0, 0].numpy() / 9, 9)
    values = descending(literal_moment(logits))
    for threshold in np.concatenate([np.sqrt(values[:-2] * values[1:-1]), [2 * values[0]]]):
        assert block.above(threshold) == int((values > threshold).sum())


def test_with_work_to_spare_kappa_is_known():
    logits = probabilities(20, 60, 1.0, 2)
    bounds = closed_form_bounds(kept(logits), 20)
    matrix = literal_moment(logits)
    values = descending(matrix)
    for place in (29, 47, 53):
        low, high = bounds.lower[0][place], bounds.upper[0][place]
        assert low * (1 - 1e-9) <= values[place] <= high * (1 + 1e-9) and high <= 1.001 * low


def test_a_softmax_that_is_nearly_sure_loses_no_digits():
    logits = torch.zeros(3, 5).double()
    logits[torch.arange(3), torch.arange(3)] = 30.0
    store = kept(logits)
    want = literal_moment(logits)
    assert float(store.squares.sum()) / 3 == pytest.approx(8 * np.exp(-30), rel=1e-9, abs=0)
    assert np.trace(want) != pytest.approx(8 * np.exp(-30), rel=1e-6, abs=0), "the difference itself has lost them"


@pytest.mark.parametrize("form", ["rows", "sketch"])
def test_the_head_of_a_network(form):
    torch.manual_seed(0)
    model, inputs = mlp(6, 10, 40).double(), torch.randn(15, 6).double()
    usual, wide = moments(model, inputs), moments(model, inputs, form)
    sums, head = usual.layers[-1], wide.layers[-1]
    assert head.gradient_label == sums.gradient_label == "expected, closed form"
    want = (sums.gradient.sum(0) / 15).numpy()
    if form == "rows":
        assert isinstance(head.gradient, KeptRows) and head.gradient.subtracted
        assert inside(closed_form_bounds(head.gradient, 15), descending(want))
    else:
        assert inside(sketch_bounds(head.gradient, 15), descending(want))
    got, figures = analyse(head, float32=False), analyse(sums, float32=False)
    for p in ("50", "80"):
        kappa = got.gradient.condition_number[p]
        low, high = ends(kappa)
        assert low * (1 - 1e-6) <= literal.kappa(want, int(p)) <= high * (1 + 1e-6)
    assert got.gradient.trace.value == pytest.approx(figures.gradient.trace.raw, rel=1e-9)
    assert got.gradient.rank <= figures.gradient.rank <= (got.gradient.rank_at_most or got.gradient.rank)


@pytest.mark.parametrize("store", ["rows", "sketch"])
@pytest.mark.parametrize("task", ["binary", "regression", "classification"])
def test_every_task_has_its_structure(task, store):
    torch.manual_seed(1)
    outputs = 3 * torch.randn(7, 5).double()
    targets = {"binary": (outputs > 0).double(), "regression": outputs + 0.5}.get(task)
    objective = settle(task, (7, 5), targets, classes=5, ignore_index=-100)
    diagonal, rows = next(objective.structure(outputs))
    matrix = -(rows.T @ rows)
    matrix.diagonal().copy_(diagonal)
    torch.testing.assert_close(matrix, objective.closed_form(outputs), rtol=1e-12, atol=1e-15)
    kept = RowStore(1, 1, 5, 7, torch.float64, CPU) if store == "rows" else SketchStore(1, 1, 5, 5, CPU)
    kept.add_closed_form(diagonal, rows, 0)
    settled = kept.settle()
    bounds = closed_form_bounds(settled, 1) if store == "rows" else sketch_bounds(settled, 1)
    assert inside(bounds, descending(matrix.numpy()))
