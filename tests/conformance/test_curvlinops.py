"""Factors against curvlinops' K-FAC, a library that shares nothing with this one.

Conventions are matched, not assumed: "expand", labels given (the very ones that are drawn here, as its
"empirical" Fisher, or its type-2 Fisher at the head), loss summed or averaged, bias apart or folded in.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture.labels import draw, uniforms
from tests.cases import SHARED, needs_shared, network, probe
from tests.conformance.conformance_cases import CASES

curvlinops = pytest.importorskip(
    "curvlinops", reason="curvlinops-for-pytorch is not installed: pip install '.[oracle]'"
)

SEED = 3
SUPPORTED = [
    pytest.param(case, bias, id=f"{case}, bias {bias}") for case in CASES if case.curvlinops for bias in (0, 1)
]


def theirs(model, inputs, labels, fisher, reduction="mean", folded=False, only=None):
    """(input, gradient) second moments by layer (of ``only`` these), as curvlinops forms them."""
    model = copy.deepcopy(model).requires_grad_(True)
    names = [name for name, part in model.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    names = only or names
    wanted = [p for name in names for p in model.get_submodule(name).parameters()]
    operator = curvlinops.KFACLinearOperator(
        model,
        nn.CrossEntropyLoss(reduction=reduction),
        wanted,
        [(inputs, labels)],
        fisher_type=fisher,
        check_deterministic=False,
        separate_weight_and_bias=not folded,
    )
    operator.compute_kronecker_factors()
    held = operator.state_dict()
    scale = len(inputs) if reduction == "sum" else 1  # with a sum it averages inputs and sums gradients
    return {name: (held["input_covariances"][name], held["gradient_covariances"][name] / scale) for name in names}


def ours(model, given, dtype):
    """(Σ_x, μ, Σ_g) by layer, and the head's name."""
    moments = measure(
        network(copy.deepcopy(model)), given, device=torch.device("cpu"), dtype=dtype, batch_size=7, seed=SEED
    )
    factors = {}
    for one in moments.layers:
        rows, inputs = int(one.inputs.rows.sum()), one.inputs
        mean = inputs.first.sum(0)[0] / rows
        gradient = one.gradient.sum(0)[0] / int(one.samples.sum())
        factors[one.layer.name] = inputs.second.sum(0)[0] / rows, mean, gradient
    return factors, [one.layer.name for one in moments.layers if one.layer.is_head]


def apart(got, want):
    return float((got - want).norm() / want.norm())


def drawn_labels(logits, keys):
    return draw(logits, uniforms(keys, SEED))


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch speaks of its own copy
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("case", "bias"), SUPPORTED)
def test_small_networks(case, bias, reduction):
    torch.manual_seed(5)
    inputs = case.inputs().double()
    model = case.build(bool(bias)).double().eval()
    labels = drawn_labels(model(inputs).detach(), np.arange(len(inputs)))
    factors, heads = ours(model, probe(inputs), torch.float64)
    given = theirs(model, inputs, labels, "empirical", reduction)
    expected = theirs(model, inputs, labels, "type-2", reduction, only=heads) if heads else {}
    assert set(factors) == set(given)
    for name, (second, _, gradient) in factors.items():
        assert apart(second, given[name][0]) < 1e-10
        assert apart(gradient, (expected if name in heads else given)[name][1]) < 1e-10


def test_bias_folded_into_the_input():
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(75, 3)).double()
    inputs = torch.randn(12, 2, 5, 5, dtype=torch.float64) + 0.5
    factors, _ = ours(model, probe(inputs), torch.float64)
    folded = theirs(model, inputs, torch.zeros(12, dtype=torch.int64), "empirical", folded=True)
    for name, (second, mean, _) in factors.items():
        whole = torch.cat([torch.cat([second, mean[:, None]], 1), torch.cat([mean, torch.ones(1)])[None]])
        assert apart(whole, folded[name][0]) < 1e-12


@needs_shared
def test_every_layer_of_a_trained_resnet20_on_real_images():
    from lcaudit import architectures, checkpoints, probes

    checkpoint = checkpoints.open_checkpoint(SHARED / "checkpoints" / "resnet20-12fca82f.th")
    real = architectures.resolve(checkpoint, None)
    data = str(SHARED / "data" / "cifar10" / "test.npz")
    given = probes.open_probe(data, real, root=None, split=None, samples=100, seed=0, mean=None, std=None)
    model, inputs = copy.deepcopy(real.module).double(), given.batch(0, 100).double()
    labels = drawn_labels(model(inputs).detach(), given.keys)
    factors, heads = ours(real.module, given, torch.float32)
    drawn = theirs(model, inputs, labels, "empirical")
    expected = theirs(model, inputs, labels, "type-2", only=heads)
    assert set(factors) == set(drawn) and len(factors) == 20 and heads == ["linear"]
    for name, (second, _, gradient) in factors.items():
        assert apart(second, drawn[name][0]) < 1e-5, name
        assert apart(gradient, (expected if name in heads else drawn)[name][1]) < 1e-5, name
