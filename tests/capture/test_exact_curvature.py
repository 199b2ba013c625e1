"""Lanczos against whole matrices from autograd, float64."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from lcaudit.capture.exact import lanczos, largest_curvature
from lcaudit.core.errors import ProbeUnavailable, UsageError
from tests.cases import Residual, mlp, network, probe

OPTIONS = {"device": torch.device("cpu"), "dtype": torch.float64, "batch_size": 7, "seed": 0}


def case():
    torch.manual_seed(0)
    inputs = torch.randn(30, 2, 6, 6, dtype=torch.float64)
    return Residual().double().eval(), inputs, np.random.default_rng(0).integers(0, 3, 30)


def loss(model, name, value, inputs, labels):
    return torch.nn.functional.cross_entropy(functional_call(model, {name: value}, (inputs,)), torch.from_numpy(labels))


@pytest.mark.parametrize("layer", ["stem", "a", "b", "head"])
def test_hessian_and_ggn_equal_the_whole_matrices(layer):
    model, inputs, labels = case()
    name = f"{layer}.weight"
    weight = dict(model.named_parameters())[name].detach()
    whole = torch.autograd.functional.hessian(lambda w: loss(model, name, w, inputs, labels), weight)
    size = weight.numel()
    want = torch.linalg.eigvalsh(whole.reshape(size, size))[-1]
    got = largest_curvature(network(model), probe(inputs, labels), layer, "hessian", **OPTIONS)
    assert got.low <= want <= got.high and got.value == pytest.approx(float(want), rel=2e-3)

    jacobian = torch.autograd.functional.jacobian(lambda w: functional_call(model, {name: w}, (inputs,)), weight)
    jacobian = jacobian.reshape(30, 3, size)
    p = model(inputs).softmax(-1).detach()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    ggn = torch.einsum("ncp,ncd,ndq->pq", jacobian, middle, jacobian) / 30
    want = torch.linalg.eigvalsh(ggn)[-1]
    got = largest_curvature(network(model), probe(inputs), layer, "ggn", **OPTIONS)
    assert got.value == pytest.approx(float(want), rel=2e-3)


def test_lanczos_finds_the_largest_of_an_indefinite_spectrum():
    values = torch.tensor([-9.0, 5.0, 4.9, 0.1] + [0.0] * 40, dtype=torch.float64)
    found, residual, steps = lanczos(lambda v: values * v, torch.ones(44, dtype=torch.float64))
    assert found == pytest.approx(5.0, abs=1e-2) and residual < 1e-2 and steps <= 5


def test_asking_twice_gives_the_same_number():
    model, inputs, _ = case()
    once, again = (largest_curvature(network(model), probe(inputs), "a", "ggn", **OPTIONS) for _ in range(2))
    assert once == again


def test_refusals_name_what_is_missing():
    model, inputs, _ = case()
    with pytest.raises(UsageError, match="no layer 'nowhere'"):
        largest_curvature(network(model), probe(inputs), "nowhere", "ggn", **OPTIONS)
    with pytest.raises(ProbeUnavailable, match="needs labels"):
        largest_curvature(network(model), probe(inputs), "a", "hessian", **OPTIONS)


def test_a_linear_model_has_the_kronecker_value():
    torch.manual_seed(1)
    model, inputs = mlp(4, 3).double(), torch.ones(5, 4, dtype=torch.float64)
    p = model(inputs[:1]).softmax(-1)[0].detach()
    want = 4 * torch.linalg.eigvalsh(torch.diag(p) - p[:, None] * p)[-1]
    got = largest_curvature(network(model), probe(inputs), "0", "ggn", **OPTIONS)
    assert got.value == pytest.approx(float(want), rel=1e-6)
