"""The convention of Huang et al. 2020 against a literal transcript of what their hooks compute."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import Fisher, measure
from lcaudit.core.errors import UsageError
from lcaudit.spectra.second_moment import GroupedMoments
from tests.cases import Residual, mlp, network, probe

CPU = torch.device("cpu")
SAMPLES = 40  # ten groups of four, so batches of four


def run(module, inputs, labels, **options):
    arguments = {"device": CPU, "dtype": torch.float64, "batch_size": 4, "seed": 0, "fisher": Fisher("empirical")}
    return measure(network(module), probe(inputs, labels), convention="huang2020", **(arguments | options))


def rows(value):
    """Their ``input_temp``: one row of channels for each pixel of each sample."""
    return value.movedim(1, -1).flatten(0, -2)


def theirs(model, inputs, labels, batch):
    """Mean over mini-batches of (1/N) XᵀX and N GᵀG, N rows, g of the mean loss; a twin in training mode."""
    twin = copy.deepcopy(model).train()
    layers = {name: part for name, part in twin.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}
    seen, total = {}, {name: [0.0, 0.0] for name in layers}
    for name, part in layers.items():
        part.register_forward_hook(lambda module, args, output, n=name: seen.__setitem__(n, (args[0].detach(), output)))
    for start in range(0, len(inputs), batch):
        outputs = twin(inputs[start : start + batch])
        loss = nn.functional.cross_entropy(outputs, torch.from_numpy(labels[start : start + batch]))
        gradients = torch.autograd.grad(loss, [output for _, output in seen.values()])
        for (name, (given, _)), gradient in zip(seen.items(), gradients, strict=True):
            x, g = rows(given), rows(gradient)
            total[name][0] = total[name][0] + x.T @ x / len(x) * batch / len(inputs)
            total[name][1] = total[name][1] + len(g) * g.T @ g * batch / len(inputs)
    return total


@pytest.mark.parametrize("make", [Residual, lambda: mlp(5, 6, 3)])
def test_moments_are_those_of_their_hooks(make):
    torch.manual_seed(0)
    model = make().double().eval()
    inputs = torch.randn(SAMPLES, *((5,) if isinstance(model, nn.Sequential) else (2, 6, 6)), dtype=torch.float64)
    labels = np.arange(SAMPLES) % 3
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [(part.training, getattr(part, "track_running_stats", None)) for part in model.modules()]
    found = run(model, inputs, labels)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "running statistics too"
    assert [(part.training, getattr(part, "track_running_stats", None)) for part in model.modules()] == modes
    wanted = theirs(model, inputs, labels, 4)
    assert {one.layer.name for one in found.layers} == set(wanted)
    for one in found.layers:
        x, g = wanted[one.layer.name]
        got = torch.from_numpy(GroupedMoments(one.inputs).whole().uncentred())[0]
        torch.testing.assert_close(got, x, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(one.gradient.sum(0)[0] / SAMPLES, g, rtol=1e-9, atol=1e-14)
        assert one.layer.inputs == len(x) and one.gradient_label == "empirical, given labels"


def test_dropout_stays_off_and_the_batch_size_matters():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    inputs, labels = torch.randn(SAMPLES, 4, dtype=torch.float64), np.arange(SAMPLES) % 3
    one, again, other = (run(model, inputs, labels, batch_size=size) for size in (4, 4, 2))
    for a, b, c in zip(one.layers, again.layers, other.layers, strict=True):
        assert torch.equal(a.gradient, b.gradient)
        assert not torch.allclose(a.gradient, c.gradient, rtol=1e-3)


def test_groups_and_transposed_convolutions_have_channels_only():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.Tanh(), nn.ConvTranspose2d(6, 4, 3, groups=2), nn.Flatten(), nn.Linear(100, 3)
    )
    model, inputs = model.double(), torch.randn(SAMPLES, 4, 5, 5, dtype=torch.float64)
    found = run(model, inputs, np.arange(SAMPLES) % 3)
    shapes = [(one.inputs.second.shape[1:], one.gradient.shape[1:]) for one in found.layers]
    assert shapes[:2] == [((2, 2, 2), (2, 3, 3)), ((2, 3, 3), (2, 2, 2))]
    x = torch.stack([rows(part) for part in inputs.chunk(2, 1)])
    want = x.transpose(1, 2) @ x
    torch.testing.assert_close(found.layers[0].inputs.second.sum(0), want, rtol=1e-10, atol=1e-12)


def test_a_batch_of_one_has_no_statistics():
    inputs = torch.randn(12, 2, 6, 6)
    with pytest.raises(UsageError, match="a batch would hold one sample"):
        run(Residual(), inputs, np.arange(12) % 3, dtype=torch.float32)
    run(mlp(3, 4, 2), torch.randn(12, 3), np.arange(12) % 2, dtype=torch.float32)  # no batch norm, no matter
