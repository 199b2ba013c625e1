"""Gram matrices of single samples' gradients, through the measuring run, against one-at-a-time autograd in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import cross_check, fisher_block, gram, measure
from lcaudit.core.types import SampleGram
from lcaudit.spectra import analyse
from tests.cases import Residual, mlp, network, probe

CPU = torch.device("cpu")
OPTIONS = {"device": CPU, "dtype": torch.float64, "seed": 0}


class Sum(nn.Module):
    """The mean over all positions, in front of three logits."""

    def __init__(self, layer, classes=3):
        super().__init__()
        self.layer = layer
        self.head = nn.LazyLinear(classes)

    def forward(self, x):
        x = torch.tanh(self.layer(x))
        return self.head(x.flatten(2).mean(2) if x.dim() > 3 or isinstance(self.layer, nn.Conv1d) else x.flatten(1))


CASES = {
    "linear": (lambda: nn.Linear(5, 4), (9, 5)),
    "tokens": (lambda: nn.Linear(5, 4, bias=False), (9, 7, 5)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (9, 4, 7, 6)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (9, 2, 5, 5)),
    "same": (lambda: nn.Conv2d(2, 3, (3, 2), padding="same", dilation=2), (9, 2, 5, 5)),
    "one position": (lambda: nn.Conv2d(3, 4, 4), (9, 3, 4, 4)),
    "one dimension": (lambda: nn.Conv1d(2, 3, 3), (9, 2, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2, output_padding=1), (9, 2, 4, 4)),
}


def literal(model, weight, inputs):
    """Σ_i Σ_c p_ic G_ic G_icᵀ / n, one class of one sample at a time, and the gradients."""
    rows = []
    for x in inputs:
        logits = model(x[None])[0]
        p = logits.softmax(-1).detach()
        for c, chance in enumerate(p):
            (one,) = torch.autograd.grad(-logits.log_softmax(-1)[c], weight, retain_graph=True)
            rows.append(chance.sqrt() * one.flatten())
    rows = torch.stack(rows)
    return rows.T @ rows / len(inputs)


@pytest.fixture
def every_pair(monkeypatch):
    """All pairs of sample and label are drawn, each with certainty."""
    monkeypatch.setattr(fisher_block, "WANTED", 10**6)
    monkeypatch.setattr(fisher_block, "FOR_EACH", 10**6)


@pytest.mark.parametrize("formed", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_gram_has_the_fishers_eigenvalues(name, formed, every_pair, monkeypatch):
    torch.manual_seed(0)
    make, shape = CASES[name]
    inputs = torch.randn(shape, dtype=torch.float64)
    model = Sum(make()).double().eval()
    model(inputs)
    keep = gram.Gradients.__init__

    def one_form(self, *arguments):
        keep(self, *arguments)
        self.formed = formed  # both ways of keeping them

    monkeypatch.setattr(gram.Gradients, "__init__", one_form)
    monkeypatch.setattr(gram, "_SLICE", 300)
    monkeypatch.setattr(gram, "_UNFOLDED_SLICE", 300)
    measured = measure(network(model), probe(inputs), batch_size=4, **OPTIONS)
    for one, weight in zip(measured.layers, (model.layer.weight, model.head.weight), strict=True):
        assert isinstance(one.block, SampleGram), one.block
        want = torch.linalg.eigvalsh(literal(model, weight, inputs))[-1]
        got = torch.linalg.eigvalsh(one.block.gram)[-1] / 9
        assert got == pytest.approx(float(want), rel=1e-9)
        assert analyse(one, float32=False).fisher_largest.raw == pytest.approx(float(want), rel=1e-9)


@pytest.mark.parametrize("inplace", [True, False])
def test_the_gauss_newton_matrix_is_the_expected_fisher(inplace, every_pair):
    torch.manual_seed(0)
    model, inputs = Residual(inplace=inplace).double().eval(), torch.randn(30, 2, 6, 6, dtype=torch.float64)
    measured = measure(network(model), probe(inputs), batch_size=7, **OPTIONS)
    names = tuple(one.layer.name for one in measured.layers)
    checks = cross_check(network(model), probe(inputs), names, "ggn", batch_size=7, **OPTIONS)
    for one, check in zip(measured.layers, checks, strict=True):
        own = float(torch.linalg.eigvalsh(one.block.gram)[-1]) / 30
        assert check.converged and check.layer == one.layer.name
        assert own == pytest.approx(check.largest.value, rel=2e-3)


def test_an_input_that_is_overwritten_later_is_copied_first(every_pair):
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            h = torch.sin(self.a(x))
            out = self.b(h)
            h.zero_()  # nobody needs it any more, but for b's weight gradient
            return out

    torch.manual_seed(0)
    model, inputs = Overwrites().double(), torch.randn(8, 4, dtype=torch.float64)
    (_, head) = measure(network(model), probe(inputs), batch_size=4, **OPTIONS).layers
    want = torch.linalg.eigvalsh(literal(_kept(model), model.b.weight, inputs))[-1]
    assert torch.linalg.eigvalsh(head.block.gram)[-1] / 8 == pytest.approx(float(want), rel=1e-9)


def _kept(model):
    return lambda x: model.b(torch.sin(model.a(x)))


def test_fewer_pairs_are_unbiased_and_spread_over_the_probe():
    torch.manual_seed(0)
    model, inputs = mlp(6, 5, 4).double(), torch.randn(400, 6, dtype=torch.float64)
    exact = literal(model, model[0].weight, inputs)
    traces = []
    for seed in range(12):
        measured = measure(network(model), probe(inputs), batch_size=50, **(OPTIONS | {"seed": seed}))
        block = measured.layers[0].block
        assert 90 < len(block.gram) < 170 and block.counts.tolist() == [40] * 10
        assert torch.bincount(block.group, minlength=10).min() >= 3
        traces.append(float(block.gram.trace()) / 400)
    assert np.mean(traces) == pytest.approx(float(exact.trace()), rel=0.05)


def test_batch_size_does_not_choose_the_pairs():
    torch.manual_seed(0)
    model, inputs = mlp(6, 5, 4).double(), torch.randn(200, 6, dtype=torch.float64)
    one, two = (measure(network(model), probe(inputs), batch_size=size, **OPTIONS).layers[0].block for size in (7, 100))
    torch.testing.assert_close(one.gram, two.gram, rtol=1e-9, atol=1e-12)


def test_chances_are_in_proportion_and_add_up():
    sizes = np.r_[np.full(3, 100.0), np.random.default_rng(0).random(1000), np.zeros(50)]
    got = fisher_block.chances(sizes, 40)
    assert got.sum() == pytest.approx(40) and (got[:3] == 1).all() and (got[-50:] == 0).all()
    np.testing.assert_allclose(got[3:-50] / sizes[3:-50], got[3] / sizes[3])
    assert fisher_block.chances(sizes, 2000).sum() == 1003


def test_memory_is_shared_and_layers_too_large_for_it_are_left_out(monkeypatch):
    monkeypatch.setattr(fisher_block, "MOST_BYTES", 1000_000)
    got = fisher_block.affordable({"small": 10, "middle": 5_000, "wide": 40_000}, fisher_block.WANTED)
    assert got["small"] == fisher_block.WANTED and fisher_block.FEWEST <= got["middle"] < fisher_block.WANTED
    assert "wide" not in got


def test_few_samples_are_worth_fewer_gradients():
    assert [fisher_block.most_of(n) for n in (2, 16, 40, 64, 5000)] == [32, 32, 80, 128, 128]
    model, inputs = mlp(6, 5, 200), torch.randn(4, 6, dtype=torch.float64)
    (block, *_) = (one.block for one in measure(network(model.double()), probe(inputs), batch_size=4, **OPTIONS).layers)
    assert 10 < len(block.gram) < 64, "about 32 of 800 pairs"


def test_layers_without_single_gradients_say_why():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.words, self.head = nn.Linear(4, 4), nn.Embedding(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.a(self.a(self.words(x)).tanh()).mean(1))

    torch.manual_seed(0)
    tokens = torch.randint(0, 5, (40, 6))
    measured = measure(network(Twice().double()), probe(tokens), batch_size=10, **OPTIONS)
    blocks = {one.layer.name: one.block for one in measured.layers}
    assert blocks["words"] == fisher_block.NO_ROWS and blocks["a"] == fisher_block.NO_MODULE
    assert isinstance(blocks["head"], SampleGram)
    found = analyse(measured.layers[0], float32=False)
    assert found.fisher_largest is None and "not measured: gradients of single samples" in found.trust
