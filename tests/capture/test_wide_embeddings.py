"""A large vocabulary is kept as counts, and a weight that is a table and a matrix is two layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture.handlers import embedding
from lcaudit.core.types import Counts
from lcaudit.spectra import analyse
from lcaudit.spectra.one_hot import OneHotWhole
from lcaudit.spectra.second_moment import SecondMoment
from tests.cases import network, probe


class Tied(nn.Module):
    """A language model whose head is its embedding: a module's weight, or applied by hand."""

    def __init__(self, by_hand, words=40):
        super().__init__()
        self.table, self.inner = nn.Embedding(words, 6), nn.Linear(6, 6)
        if not by_hand:
            self.head = nn.Linear(6, words, bias=False)
            self.head.weight = self.table.weight
        self.by_hand = by_hand

    def forward(self, x):
        hidden = self.inner(self.table(x)).tanh().mean(1)
        return nn.functional.linear(hidden, self.table.weight) if self.by_hand else self.head(hidden)


def measured(model, inputs):
    return measure(
        network(model), probe(inputs), device=torch.device("cpu"), dtype=torch.float64, batch_size=16, seed=0
    )


def tokens(words, samples=120, length=5):
    return (torch.rand(samples, length) ** 3 * words).long()


def test_counts_give_what_the_full_matrix_gives(monkeypatch):
    torch.manual_seed(0)
    model, inputs = Tied(by_hand=False).double(), tokens(40)
    full = measured(model, inputs).layers[0]
    monkeypatch.setattr(embedding, "MOST_ENTRIES", 39)
    counts = measured(model, inputs).layers[0]
    assert isinstance(counts.inputs.second, Counts) and counts.form.startswith("Σ_x: counts of its 40 entries")
    ours, theirs = analyse(counts, float32=False), analyse(full, float32=False)
    for change in ("centring", "batch_norm"):
        one, other = ours.what_if[change], theirs.what_if[change]
        for percentile, kappa in one.condition_number.items():
            assert kappa.raw == pytest.approx(other.condition_number[percentile].raw, rel=1e-9), (change, percentile)
    assert (ours.input.rank, ours.input.zero, ours.centred.rank) == (
        theirs.input.rank, theirs.input.zero, theirs.centred.rank,
    )  # fmt: skip
    assert ours.centred.rank == ours.input.rank - 1
    np.testing.assert_allclose(ours.input.curve, theirs.input.curve, rtol=1e-9)
    assert ours.fisher.largest.raw == pytest.approx(theirs.fisher.largest.raw, rel=1e-9)
    assert ours.mean_energy.raw == pytest.approx(theirs.mean_energy.raw, rel=1e-9)
    assert not ours.input.condition_number["80"].reliable  # groups of counts are not kept apart in eigenvalues


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(any),
    st.sampled_from(("input", "centring", "batch_norm")),
)
def test_eigenvalues_are_those_of_the_matrix(counts, change):
    counts = np.array([counts], dtype=float)
    rows = int(counts.sum())
    p = counts / rows
    moment = SecondMoment(
        total=(np.diag(counts[0]))[None], removed=None, squares=counts, rows=rows, mean=p, channel_variance=p - p**2,
        centre=p, half=p / 2,
    )  # fmt: skip
    expected = np.linalg.eigvalsh(moment.matrix(change))[:, ::-1]
    np.testing.assert_allclose(OneHotWhole(moment, change).eigenvalues(), expected, atol=1e-12 * expected.max() + 1e-15)


@pytest.mark.parametrize("by_hand", [False, True])
def test_each_use_of_a_tied_weight_is_a_layer(by_hand):
    torch.manual_seed(0)
    model, inputs = Tied(by_hand).double(), tokens(40)
    moments = measured(model, inputs)
    names = {one.layer.name: one.layer for one in moments.layers}
    head = "table.weight" if by_hand else "head"
    assert list(names) == ["table", "inner", head] and moments.not_audited == ()
    assert (names["table"].kind, names[head].kind) == ("embedding", "linear")
    assert names[head].is_head and not names["table"].is_head
    assert f"shared with {head}" in names["table"].geometry and "shared with table" in names[head].geometry
    # the matrix counts once
    assert sum(one.layer.parameters for one in moments.layers) == sum(p.numel() for p in model.parameters())
    hidden = model.inner(model.table(inputs)).tanh().mean(1)
    here = next(one for one in moments.layers if one.layer.name == head)
    torch.testing.assert_close(here.inputs.second.sum((0, 1)), hidden.mT @ hidden)


def test_a_tied_weight_of_which_one_use_is_not_measured_does_not_count():
    class Positions(Tied):
        def forward(self, x):
            shared = self.table(torch.arange(x.shape[1]))
            return super().forward(x) + shared.mean()

    torch.manual_seed(0)
    moments = measured(Positions(by_hand=False).double(), tokens(40))
    head = next(one for one in moments.layers if one.layer.name == "head")
    assert head.layer.parameters == 0
    (missing,) = moments.not_audited
    assert (missing.name, missing.parameters) == ("table", 240) and "do not grow with the batch" in missing.reason


def test_two_vocabularies_that_read_one_tensor_are_counted_apart():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large, self.head = nn.Embedding(7, 4), nn.Embedding(9, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head((self.small(x) + self.large(x)).tanh().mean(1))

    torch.manual_seed(0)
    sides = {one.layer.name: one.inputs.second.shape[-1] for one in measured(Two().double(), tokens(7)).layers}
    assert sides == {"small": 7, "large": 9, "head": 4}
