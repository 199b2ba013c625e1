"""Layers too wide for sums, audited within a small memory: whole runs on random networks."""

import copy
import resource

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import budget, measure
from lcaudit.capture.plan import plan_run
from lcaudit.capture.run import EXPECTED
from lcaudit.core.errors import LimitExceeded
from lcaudit.core.types import Counts, KeptRows, Sketch
from lcaudit.spectra import analyse
from tests.cases import mlp, network, probe
from tests.wide.test_sketch import ends

MiB = 2**20


def run(model, inputs, most, **options):
    arguments = {"device": torch.device("cpu"), "dtype": torch.float32, "batch_size": 50, "seed": 0} | options
    return measure(network(model), probe(inputs), max_memory=most, **arguments)


def taken(moments):
    return sum(one.inputs.second.nbytes + one.gradient.nbytes for one in moments.layers)


def test_a_classifier_of_20_000_inputs_from_its_rows():
    torch.manual_seed(0)
    model, inputs = mlp(20_000, 12, 5), torch.rand(150, 20_000)
    most = 64 * MiB
    moments = run(model, inputs, most)
    wide = moments.layers[0]
    assert isinstance(wide.inputs.second, KeptRows) and taken(moments) <= most < 8 * 20_000**2
    assert "150 rows kept, fewer than the 20000 entries of each" in wide.form
    assert not moments.layers[1].form
    found = analyse(wide, float32=True)
    # the same figures from the samples themselves
    for change, rows in (("input", inputs.double()), ("centred", inputs.double() - inputs.double().mean(0))):
        values = torch.linalg.eigvalsh(rows @ rows.T / 150).flip(0).numpy()
        got = found.input if change == "input" else found.centred
        assert got.largest.raw == pytest.approx(values[0], rel=1e-6)
        for p in (50, 80):
            want = values[0] / values[int(np.ceil(p / 100 * got.rank)) - 1]
            assert got.condition_number[str(p)].raw == pytest.approx(want, rel=1e-5)
    assert found.input.rank == 150 and found.centred.rank == 149
    assert found.least_samples == 80_000 and not found.what_if["batch_norm"].gain.reliable


def test_a_classifier_of_20_000_inputs_from_a_sketch():
    torch.manual_seed(1)
    factors = torch.randn(12, 20_000) * torch.logspace(0, -2, 12)[:, None]
    inputs = torch.randn(900, 12) @ factors + 0.01 * torch.randn(900, 20_000)
    moments = run(mlp(20_000, 8, 5), inputs, 60 * MiB)
    wide = moments.layers[0]
    assert isinstance(wide.inputs.second, Sketch) and taken(moments) <= 60 * MiB
    assert "a sketch of 128 dimensions" in wide.form and "--max-memory allows 60 MiB" in wide.form
    found = analyse(wide, float32=True)
    values = torch.linalg.eigvalsh((inputs @ inputs.T).double() / 900).flip(0).numpy()
    low, high = ends(found.input.largest)
    assert low * (1 - 1e-6) <= values[0] <= high * (1 + 1e-6) and high < 1.01 * low
    assert found.input.rank <= 900 <= found.input.rank_at_most
    low, high = ends(found.input.condition_number["80"])
    assert 1 < low <= values[0] / values[719] and high == np.inf
    assert not found.input.condition_number["80"].reliable


def test_a_head_of_50_000_words():
    torch.manual_seed(2)
    model, inputs = mlp(10, 16, 50_000), 3 * torch.randn(120, 10)
    most = 64 * MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    moments = run(model, inputs, most)
    head = moments.layers[-1]
    assert head.gradient_label == "expected, closed form"
    assert isinstance(head.gradient, KeptRows) and taken(moments) <= most
    found = analyse(head, float32=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 * 2**20, "in KiB: far from 50 000² numbers"
    p = model(inputs).detach().double().softmax(1)
    assert found.gradient.trace.value == pytest.approx(float((p - p * p).sum() / 120), rel=1e-5)
    low, high = ends(found.gradient.largest)
    vector = torch.zeros(50_000, 1).double()
    vector[p.mean(0).argmax()] = 1
    for _ in range(40):  # by power iteration
        vector = p.mean(0)[:, None] * vector - p.T @ (p @ vector) / 120
        size = float(vector.norm())
        vector /= size
    assert low * (1 - 1e-2) <= size <= high * (1 + 1e-6) and high < 1.01 * low
    low, high = ends(found.gradient.condition_number["50"])
    assert 1 < low <= high < 1.5 * low
    assert 45_000 < found.gradient.rank <= 50_000
    assert not found.gradient.condition_number["80"].reliable
    assert found.input.condition_number["50"].low, "the head's input is as narrow as ever, and judged as ever"


def test_a_head_over_tokens_from_a_sketch():
    torch.manual_seed(3)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 1500, bias=False)

        def forward(self, x):
            return self.head(self.body(x).tanh())

    model, inputs = Tokens(), 3 * torch.randn(100, 12, 6)
    moments = measure(
        network(copy.deepcopy(model), classes=1500), probe(inputs), device=torch.device("cpu"), dtype=torch.float32,
        batch_size=10, seed=0, max_memory=4 * MiB,
    )  # fmt: skip
    head = moments.layers[-1]
    assert isinstance(head.gradient, Sketch) and head.gradient_label == "expected, closed form"
    p = model(inputs).detach().double().softmax(-1).flatten(0, 1)
    values = np.linalg.eigvalsh((torch.diag(p.sum(0)) - p.T @ p).numpy() / 100)[::-1]
    found = analyse(head, float32=True).gradient
    assert found.trace.value == pytest.approx(values.sum(), rel=1e-5)
    low, high = ends(found.largest)
    assert low <= values[0] * (1 + 1e-6) <= high * (1 + 1e-5) and high < 1.5 * low
    for p in ("50", "80"):
        low, high = ends(found.condition_number[p])
        assert low <= values[0] / values[int(np.ceil(int(p) / 100 * 1499)) - 1] <= high


def test_rows_whose_eigenvalues_would_take_too_long_are_sketched(monkeypatch):
    torch.manual_seed(5)
    model, inputs = mlp(2000, 8, 3), torch.rand(300, 2000)
    monkeypatch.setattr(budget, "MOST_WORK", 300**2 * 2000)
    assert isinstance(run(model, inputs, 2**30).layers[0].inputs.second, KeptRows)
    monkeypatch.setattr(budget, "MOST_WORK", 300**2 * 2000 - 1)
    wide = run(model, inputs, 2**30).layers[0]
    assert isinstance(wide.inputs.second, Sketch)
    assert "Σ_x: a sketch of 128 dimensions, since eigenvalues from its 300 rows of 2000 entries would" in wide.form
    low, high = ends(analyse(wide, float32=True).input.largest)
    rows = inputs.double()
    assert low <= float(torch.linalg.eigvalsh(rows @ rows.T / 300)[-1]) * (1 + 1e-6) <= high * (1 + 1e-5)


def test_counts_take_what_the_plan_says():
    torch.manual_seed(6)
    model, tokens = (
        nn.Sequential(nn.Embedding(3000, 4), nn.Flatten(), nn.Linear(12, 2)),
        torch.randint(0, 3000, (50, 3)),
    )
    counts = run(model, tokens, 2**30).layers[0].inputs.second
    assert isinstance(counts, Counts) and counts.nbytes == 8 * 10 * 3000
    inputs = plan(model, tokens).moments[0]
    assert (inputs.form, inputs.nbytes, inputs.operations) == ("counts", counts.nbytes, 0)


def plan(model, inputs):
    layers, _ = plan_run(
        network(model), probe(inputs), device=torch.device("cpu"), dtype=torch.float32, batch_size=50, task="auto",
        ignore_index=-100, fisher=EXPECTED, convention="kfac", layers=(), max_memory=2**30,
    )  # fmt: skip
    return layers[0]


def test_a_smaller_memory_takes_fewer_groups_then_other_forms_then_refuses():
    torch.manual_seed(4)
    model, inputs = mlp(300, 40, 3), torch.rand(500, 300)
    seen = []
    for most in (2**30, 6 * MiB, 2 * MiB, 2 * MiB // 3):
        moments = run(model, inputs, most)
        assert taken(moments) <= most
        wide = moments.layers[0]
        groups = wide.inputs.second.shape[0] if isinstance(wide.inputs.second, torch.Tensor) else 0
        seen.append((groups, bool(wide.form)))
    assert seen == [(10, False), (4, True), (2, True), (0, True)]
    with pytest.raises(LimitExceeded, match=r"take at least \d+ KiB, expected at most 10 KiB"):
        run(model, inputs, 10 * 1024)
