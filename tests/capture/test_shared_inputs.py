"""Layers that read one tensor one after another have its moments summed once."""

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture.handlers._base import Products
from lcaudit.spectra import analyse, analyse_together, by_input
from tests.cases import network, probe


class Attention(nn.Module):
    """Query, key and value read one tensor; the output projection another."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        return self.head(self.out((q @ k.mT).softmax(-1) @ v).mean(1))


class Changing(nn.Module):
    """The second layer's input is overwritten between the two, or is another tensor for the second half."""

    def __init__(self, in_place):
        super().__init__()
        self.first, self.second, self.in_place, self.passes = nn.Linear(5, 4), nn.Linear(5, 4), in_place, 0

    def forward(self, x):
        x = x + 1
        a = self.first(x)
        if self.in_place:
            x.mul_(2)
        else:
            self.passes += 1
            x = x if self.passes < 4 else x * 2
        return a + self.second(x)


def measured(model, inputs):
    return {
        one.layer.name: one
        for one in measure(
            network(model), probe(inputs), device=torch.device("cpu"), dtype=torch.float64, batch_size=10, seed=0
        ).layers
    }


def test_the_moments_are_those_of_layers_measured_alone(monkeypatch):
    torch.manual_seed(0)
    model, inputs = Attention().double(), torch.randn(40, 7, 6, dtype=torch.float64)
    added = []
    add = Products.add
    monkeypatch.setattr(Products, "add", lambda self, rows, group: (added.append(rows.shape), add(self, rows, group)))
    together = measured(model, inputs)
    shared = len(added)
    monkeypatch.setattr("lcaudit.capture._survey._Look._pair", lambda *arguments: None)
    added.clear()
    apart = measured(model, inputs)
    batches = 10  # one for each group
    assert len(added) - shared == 2 * batches, "two of three sums are saved"
    assert together["key"].inputs.second.data_ptr() == together["query"].inputs.second.data_ptr()
    assert together["out"].inputs.second.data_ptr() != together["query"].inputs.second.data_ptr()
    for name, one in apart.items():
        torch.testing.assert_close(together[name].inputs.second, one.inputs.second, rtol=0, atol=0)
        torch.testing.assert_close(together[name].gradient, one.gradient, rtol=0, atol=0)


def test_a_tensor_overwritten_between_two_layers_is_not_shared():
    torch.manual_seed(0)
    inputs = torch.randn(40, 5, dtype=torch.float64)
    found = measured(Changing(in_place=True).double(), inputs)
    first, second = (found[name].inputs.second.sum(0)[0] for name in ("first", "second"))
    torch.testing.assert_close(4 * first, second)


def test_a_layer_that_stops_reading_with_another_is_not_measured():
    torch.manual_seed(0)
    inputs = torch.randn(40, 5, dtype=torch.float64)
    moments = measure(
        network(Changing(in_place=False).double()), probe(inputs), device=torch.device("cpu"), dtype=torch.float64,
        batch_size=10, seed=0,
    )  # fmt: skip
    assert [one.layer.name for one in moments.layers] == ["first"]
    assert any("in some passes and its own in others" in one.reason for one in moments.not_audited)


def test_their_spectra_are_computed_once_and_are_the_same(monkeypatch):
    torch.manual_seed(0)
    found = measured(Attention().double(), torch.randn(40, 7, 6, dtype=torch.float64))
    groups = by_input(list(found.values()))
    assert [[one.layer.name for one in some] for some in groups] == [["query", "key", "value"], ["out"], ["head"]]
    alone = [analyse(one, float32=False) for one in groups[0]]
    problems = []
    solve = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda matrix: (problems.append(matrix.shape), solve(matrix))[1])
    together = analyse_together(groups[0], float32=False)
    shared = len(problems)
    [analyse(one, float32=False) for one in groups[0]]
    assert shared < (len(problems) - shared) * 0.8
    assert together == alone


@pytest.mark.parametrize("asked", ["key", "value"])
def test_asking_for_one_of_them_changes_nothing(asked):
    torch.manual_seed(0)
    model, inputs = Attention().double(), torch.randn(40, 7, 6, dtype=torch.float64)
    everything = measured(model, inputs)[asked]
    only = measure(
        network(model), probe(inputs), device=torch.device("cpu"), dtype=torch.float64, batch_size=10, seed=0,
        layers=[asked],
    ).layers[0]  # fmt: skip
    torch.testing.assert_close(only.inputs.second, everything.inputs.second, rtol=0, atol=0)
