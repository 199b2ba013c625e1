"""The code of the fixes, executed on small networks: it does what the fix says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lcaudit.core import plugins

REMEDY_CODE = {name: plugins.load("lcaudit.fixes", name, "CODE") for name in ("batch_norm_before", "centre_input")}


class Network(nn.Module):
    """A residual sum, a convolution with or without padding, a head on positive features."""

    def __init__(self, padding: int = 0, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(nn.Conv2d(8, 12, 3, padding=padding, groups=groups, bias=bias), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(12, 5, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(torch.relu(self.stem(x)) + 0.5)
        return self.head(self.dropout(x.mean((2, 3))))


@pytest.fixture
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(50, 3, 8, 8, generator=generator) + 0.3 for _ in range(4)]


def network(**options) -> Network:
    torch.manual_seed(0)
    return Network(**options).eval()


def paste(code: str, model: nn.Module, batches: list[torch.Tensor], names: list[str]) -> None:
    exec(code.replace("{names}", repr(names)), {"model": model, "batches": batches})


def condition_number(rows: torch.Tensor) -> float:
    values = torch.linalg.eigvalsh(rows.double().T @ rows.double() / len(rows)).flip(0)
    return float(values[0] / values[round(0.8 * len(values)) - 1])


def inputs_of(model: nn.Module, name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    seen = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    hook.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("name", sorted(REMEDY_CODE))
@pytest.mark.parametrize("bias", [True, False])
def test_head_keeps_its_logits_and_is_better_conditioned(name: str, bias: bool, batches) -> None:
    model = network(bias=bias)
    before = model(batches[0]).detach()
    features = inputs_of(model, "head", batches)
    kappa = condition_number(features)
    weight = model.head.weight.detach().clone()
    paste(REMEDY_CODE[name], model, batches, ["head"])
    after = model(batches[0]).detach()
    assert (after - before).abs().max() < 1e-5 * before.abs().max()
    inner = {"batch_norm_before": "head.1", "centre_input": "head.layer"}[name]
    seen = inputs_of(model, inner, batches)
    assert seen.mean(0).abs().max() < 1e-4
    assert condition_number(seen) < kappa / 3
    if name == "batch_norm_before":
        assert not torch.allclose(model.get_submodule(inner).weight, weight)
        variance = features.var(0, unbiased=False)
        torch.testing.assert_close(seen.var(0, unbiased=False), variance / (variance + 1e-5), rtol=1e-3, atol=0)
        norm = model.head[0]
        assert bool((norm.weight == 1).all()) and bool((norm.bias == 0).all()) and not norm.training


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_without_padding_is_folded_exactly(groups: int, bias: bool, batches) -> None:
    model = network(groups=groups, bias=bias)
    before = model(batches[0]).detach()
    paste(REMEDY_CODE["batch_norm_before"], model, batches, ["blocks.0", "head"])
    assert isinstance(model.blocks[0], nn.Sequential) and isinstance(model.head, nn.Sequential)
    assert (model(batches[0]) - before).abs().max() < 1e-5 * before.abs().max()


@pytest.mark.parametrize("padding", [1, "same", (2, 0)])
@pytest.mark.parametrize("groups", [1, 2])
def test_zero_padding_goes_before_the_norm_so_that_borders_stay(padding, groups: int, batches) -> None:
    model = network(padding=padding, groups=groups)
    convolved = inputs_of(model, "blocks.1", batches)
    paste(REMEDY_CODE["batch_norm_before"], model, batches, ["blocks.0"])
    assert [type(part).__name__ for part in model.blocks[0]] == ["ZeroPad2d", "BatchNorm2d", "Conv2d"]
    changed = inputs_of(model, "blocks.1", batches)
    assert (changed - convolved).abs().max() < 1e-5 * convolved.abs().max()
    seen = inputs_of(model, "blocks.0.2", batches).transpose(0, 1).flatten(1)
    assert seen.mean(1).abs().max() < 1e-4 and (seen.var(1) - 1).abs().max() < 0.01


def test_dead_features_stay_harmless(batches) -> None:
    model = network()
    with torch.no_grad():
        model.blocks[0].weight[0] = 0
        model.blocks[0].bias[0] = -1
    before = model(batches[0]).detach()
    paste(REMEDY_CODE["batch_norm_before"], model, batches, ["head"])
    assert (model(batches[0]) - before).abs().max() < 1e-5 * before.abs().max()


def test_recalibration_finds_the_data_statistics_and_leaves_modes(batches) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3)).eval()
    model[1].running_mean.fill_(9.0)
    exec(plugins.load("lcaudit.fixes", "recalibrate_batch_norm", "CODE"), {"model": model, "batches": batches})
    everything = torch.cat(batches)
    torch.testing.assert_close(model[1].running_mean, everything.mean((0, 2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(model[1].running_var, everything.var((0, 2, 3)), rtol=0.01, atol=0)
    assert model[1].momentum == 0.3 and not any(module.training for module in model.modules())
    assert model[1].num_batches_tracked == len(batches)
