"""Moments against the literal oracle, in float64, for every geometry."""

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture.labels import draw, uniforms
from lcaudit.spectra.second_moment import GroupedMoments
from tests.cases import Residual, mlp, network, probe
from tests.oracles import literal

CPU = torch.device("cpu")


def run(module, inputs, **options):
    arguments = {"device": CPU, "dtype": torch.float64, "batch_size": 5, "seed": 3} | options
    return measure(network(module), probe(inputs), **arguments)


def expected_labels(module, inputs, seed):
    """The label each sample draws, from the published rule: seed and index alone."""
    uniform = uniforms(np.arange(len(inputs)), seed)
    return [[(1.0, int(label))] for label in draw(module.double().eval()(inputs).detach(), uniform)]


def check(module, inputs, seed=3, head=None):
    module = module.double().eval()
    oracle = literal.factors(module, inputs, expected_labels(module, inputs, seed))
    if head:
        probabilities = module(inputs).detach().softmax(-1)
        every = [[(float(p), c) for c, p in enumerate(row)] for row in probabilities]
        oracle[head]["g"] = literal.factors(module, inputs, every)[head]["g"]
    moments = run(module, inputs, seed=seed)
    assert {m.layer.name for m in moments.layers} == set(oracle)
    for layer in moments.layers:
        want = oracle[layer.layer.name]
        got = GroupedMoments(layer.inputs).whole()
        gradient = layer.gradient.sum(0).numpy() / int(layer.samples.sum())
        np.testing.assert_allclose(got.uncentred(), want["x"], rtol=1e-10, atol=1e-13, err_msg=layer.layer.name)
        np.testing.assert_allclose(got.mean, want["mu"], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(gradient, want["g"], rtol=1e-9, atol=1e-15)
    return moments


CONVOLUTIONS = {
    "plain": {},
    "stride": {"stride": 2, "padding": 1},
    "oblong": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 0)},
    "dilated": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1, "stride": 2},
    "same": {"padding": "same", "kernel_size": (4, 3)},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "circular": {"padding": 2, "padding_mode": "circular", "dilation": 2},
    "pointwise": {"kernel_size": 1, "bias": False},
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch speaks of its own copy
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name):
    torch.manual_seed(0)
    options = {"kernel_size": 3} | CONVOLUTIONS[name]
    first, second = (nn.Conv2d(4, 4, **options) for _ in range(2))
    model = nn.Sequential(first, nn.Tanh(), second, nn.Flatten(), nn.LazyLinear(3))
    inputs = torch.randn(7, 4, 9, 9, dtype=torch.float64)
    model.double()(inputs)
    moments = check(model, inputs, head="4")
    assert moments.layers[0].layer.reads == "network input"
    assert moments.layers[1].layer.reads == "layer" and moments.layers[1].layer.through == "tanh"


def test_residual_network_with_inplace_activations():
    torch.manual_seed(1)
    model = Residual(inplace=True)
    model.bn.running_mean.uniform_(-1, 1)
    moments = check(model, torch.randn(6, 2, 8, 8, dtype=torch.float64), head="head")
    wiring = {m.layer.name: (m.layer.reads, m.layer.through) for m in moments.layers}
    assert wiring["a"] == ("normalisation", "ReLU") and wiring["head"] == ("sum of branches", "ReLU, average pooling")
    assert [m.layer.is_head for m in moments.layers] == [False, False, False, True]
    assert moments.layers[-1].gradient_label == "expected, closed form"


def test_linear_on_vectors_and_on_sequences():
    torch.manual_seed(2)
    check(mlp(5, 7, 4, 3), torch.randn(9, 5, dtype=torch.float64), head="4")

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, x):
            return self.second(self.first(x).relu()).mean(1)

    moments = check(Tokens(), torch.randn(6, 8, 3, dtype=torch.float64))
    assert moments.layers[0].layer.positions == 8
    assert not any(m.layer.is_head for m in moments.layers), "a mean over tokens follows: no layer gives the logits"


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batch_size_moves_nothing(batch_size):
    torch.manual_seed(3)
    model, inputs = Residual(), torch.randn(23, 2, 6, 6, dtype=torch.float64)
    one, other = run(model, inputs, batch_size=7), run(model, inputs, batch_size=batch_size)
    for a, b in zip(one.layers, other.layers, strict=True):
        torch.testing.assert_close(a.inputs.second, b.inputs.second, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(a.gradient, b.gradient, rtol=1e-10, atol=1e-14)
    assert one.fit.entropy.value == pytest.approx(other.fit.entropy.value, rel=1e-12)


def test_float32_products_agree_with_float64():
    torch.manual_seed(4)
    model, inputs = Residual(channels=8), torch.randn(200, 2, 8, 8)
    exact = run(model, inputs, dtype=torch.float64)
    fast = run(model, inputs, dtype=torch.float32)
    errors = [
        float((a.inputs.second - b.inputs.second).norm() / a.inputs.second.norm())
        for a, b in zip(exact.layers, fast.layers, strict=True)
    ]
    assert max(errors) < 1e-6
    assert errors[0] == 0 and min(errors[1:]) > 0, "images of few channels are multiplied in float64"


def test_the_model_comes_back_as_it_was():
    model = Residual()
    model.train()
    model.bn.eval()
    model.a.weight.requires_grad_(False)
    modes = [part.training for part in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    net = network(Residual())
    object.__setattr__(net, "module", model)
    measure(net, probe(torch.randn(12, 2, 6, 6)), device=CPU, dtype=torch.float32, batch_size=4, seed=0)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model.a.weight.requires_grad and model.b.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_what_is_not_measured_is_named_and_what_is_shared_is_measured_once():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)
            self.tied, self.partner = nn.Linear(4, 4), nn.Linear(4, 4)
            self.partner.weight = self.tied.weight
            self.norm, self.free = nn.LayerNorm(4), nn.Parameter(torch.ones(4))
            self.aside, self.head = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            x = self.norm(self.twice(self.twice(x))) * self.free
            self.aside(x)
            return self.head(self.partner(self.tied(x)))

    moments = run(Odd(), torch.randn(20, 4, dtype=torch.float64))
    layers = {m.layer.name: m.layer for m in moments.layers}
    assert list(layers) == ["twice", "tied", "head"]
    assert (layers["twice"].geometry, layers["twice"].positions) == ("used 2 times", 2)
    assert layers["tied"].geometry == "used 2 times, shared with partner"
    assert layers["tied"].parameters == 16 + 4 + 4, "one weight, two biases"
    reasons = {n.name: n.reason for n in moments.not_audited}
    assert set(reasons) == {"", "idle", "norm", "aside"}
    assert "did not run" in reasons["idle"] and "does not reach the loss" in reasons["aside"]
    audited = sum(m.layer.parameters for m in moments.layers)
    assert audited + sum(n.parameters for n in moments.not_audited) == sum(p.numel() for p in Odd().parameters())


def test_a_layer_with_infinite_activations_is_left_out():
    model = mlp(3, 4, 2).double()
    with torch.no_grad():
        model[0].weight[0, 0] = 1e308
    moments = run(model, torch.full((20, 3), 1e10, dtype=torch.float64))
    assert {n.name for n in moments.not_audited} == {"0", "2"}
    assert "not finite" in moments.not_audited[1].reason


def test_draws_depend_on_seed_and_index_alone():
    keys = np.array([5, 900, 17])
    assert torch.equal(uniforms(keys, 1)[[2, 0]], uniforms(keys[[2, 0]], 1))
    assert not torch.equal(uniforms(keys, 1), uniforms(keys, 2))
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]])).expand(20000, 3)
    share = torch.bincount(draw(logits, uniforms(np.arange(20000), 0))) / 20000
    torch.testing.assert_close(share, torch.tensor([0.2, 0.3, 0.5]), atol=0.015, rtol=0)
