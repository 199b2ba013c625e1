"""Passes side by side give what passes one after another give, and fail as they do."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import _lanes, measure
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.types import KeptRows
from tests.capture.test_shared_inputs import Attention
from tests.cases import network, probe

SAMPLES = 96


class Convolutions(nn.Module):
    """Correlated and unfolded patches, a batch norm, groups of channels."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.third = nn.Conv2d(8, 8, 3, 2, 1, groups=2), nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.head(self.third(self.second(x).relu()).mean((2, 3)))


class Words(nn.Module):
    """An embedding whose index 0 is padding, and layers that read one tensor."""

    def __init__(self):
        super().__init__()
        self.embed, self.body = nn.Embedding(11, 6, padding_idx=0), Attention()

    def forward(self, tokens):
        return self.body(self.embed(tokens))


def words():
    tokens = torch.randint(1, 11, (SAMPLES, 7))
    tokens[:, 5:] = 0
    mask = tokens != 0
    return replace(probe(tokens), mask=lambda start, stop: mask[start:stop])


CASES = {
    "convolutions": lambda: (Convolutions(), probe(torch.randn(SAMPLES, 3, 8, 8, dtype=torch.float64))),
    "tokens, padded": lambda: (Words(), words()),
    "one tensor read thrice": lambda: (Attention(), probe(torch.randn(SAMPLES, 5, 6, dtype=torch.float64))),
    "kept rows": lambda: (
        nn.Sequential(nn.Linear(1100, 40), nn.ReLU(), nn.Linear(40, 3)),
        probe(torch.randn(SAMPLES, 1100, dtype=torch.float64)),
    ),
}


@pytest.fixture
def threads():
    """Sets how many threads there are; as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def measured(model, data, progress=lambda done, total: None, batch_size=48, **options):
    arguments = {"device": torch.device("cpu"), "dtype": torch.float64, "batch_size": batch_size, "seed": 0}
    return measure(network(model), data, progress=progress, **arguments | options)


def flat(value, path=""):
    """Every number and text, by where it stands."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        yield path, np.asarray(value)
    elif isinstance(value, Mapping):  # behind norms: each lane's is a group of its own
        for name, one in value.items():
            for path_in, numbers in flat(one, f"{path}[{name}]"):
                yield path_in, numbers if path_in.endswith("channel") else numbers.sum(0)
    elif is_dataclass(value):
        for field in fields(value):
            yield from flat(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, (tuple, list)):
        for i, one in enumerate(value):
            yield from flat(one, f"{path}[{i}]")
    else:
        yield path, value


def same(one, other):
    left, right = dict(flat(one)), dict(flat(other))
    assert left.keys() == right.keys()
    for path, value in left.items():
        if isinstance(value, (np.ndarray, float)):
            scale = max(1e-300, float(np.abs(value).max())) if np.size(value) else 1.0
            np.testing.assert_allclose(right[path], value, rtol=1e-10, atol=1e-12 * scale, err_msg=path)
        else:
            assert right[path] == value, path


@pytest.mark.parametrize("lanes", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_lanes_change_no_number(threads, monkeypatch, name, lanes):
    torch.manual_seed(0)
    model, data = CASES[name]()
    model = model.double()
    threads(1)
    alone = measured(model, data)
    threads(lanes)
    used = []
    run = _lanes.run
    monkeypatch.setattr(_lanes, "run", lambda some: (used.append(len(some)), run(some))[1])
    told = []
    beside = measured(model, data, lambda done, total: told.append((done, total)))
    assert used and set(used) == {lanes}, "the run and the gradients of single samples"
    assert told[-1] == (SAMPLES, SAMPLES) and [done for done, _ in told] == sorted(done for done, _ in told)
    same(alone, beside)
    assert any(isinstance(layer.inputs.second, KeptRows) for layer in beside.layers) == (name == "kept rows")
    assert torch.get_num_threads() == lanes


class Moody(nn.Module):
    """Fails on one sample."""

    def __init__(self, bad):
        super().__init__()
        self.head, self.bad, self.seen = nn.Linear(4, 3), bad, []

    def forward(self, x):
        if bool((x[:, 0] == self.bad).any()):
            raise ValueError("this sample")
        return self.head(x)


@pytest.mark.parametrize("bad", [10.0, 90.0])
def test_what_one_lane_raises_ends_all(threads, bad):
    inputs = torch.randn(SAMPLES, 4, dtype=torch.float64)
    inputs[:, 0] = torch.arange(SAMPLES)
    model = Moody(-1.0).double()
    threads(2)
    measured(model, probe(inputs), batch_size=32)
    model.bad = bad
    with pytest.raises(UnknownArchitecture, match="this sample"):
        measured(model, probe(inputs), batch_size=32)
    assert torch.get_num_threads() == 2
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_an_interruption_ends_all(threads):
    threads(2)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(Convolutions().double(), CASES["convolutions"]()[1], stop)


class Single(nn.Module):
    """Cannot be copied."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x)

    def __deepcopy__(self, memo):
        raise TypeError("there is one of me")


def test_one_lane_where_copies_would_not_do(threads):
    threads(2)
    plain = nn.Sequential(nn.Linear(4, 3))
    copies = _lanes.copies(plain, 2)
    assert len(copies) == 2 and copies[0] is plain and copies[1][0].weight is plain[0].weight
    assert len(_lanes.copies(Single(), 2)) == 1
    plain[0].register_forward_hook(lambda module, inputs, output: None)
    assert len(_lanes.copies(plain, 2)) == 1
    inputs = torch.randn(SAMPLES, 4, dtype=torch.float64)
    assert measured(Single().double(), probe(inputs)).layers[0].layer.name == "head"


def test_no_more_lanes_than_threads_and_full_passes(threads):
    cpu = torch.device("cpu")
    threads(2)
    assert _lanes.number(cpu, 50, 10) == 2 and _lanes.number(cpu, 31, 10) == 1
    assert _lanes.number(torch.device("cuda"), 512, 10) == 1
    threads(1)
    assert _lanes.number(cpu, 50, 10) == 1


@pytest.mark.parametrize(("weights", "lanes"), [([1] * 10, 3), ([5, 1, 1, 1], 2), ([1], 4), ([3, 3], 4)])
def test_shares_are_in_order_and_nearly_even(weights, lanes):
    items = list(enumerate(weights))
    parts = _lanes.split(items, lanes, lambda item: item[1])
    assert [item for part in parts for item in part] == items and all(parts) and len(parts) <= lanes
    most = max(sum(weight for _, weight in part) for part in parts)
    assert most <= sum(weights) / lanes + max(weights)
