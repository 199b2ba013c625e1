"""A network comes back exactly as it was given, whatever happened in between."""

import gc
import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import _get_current_function_mode_stack as active_modes

from lcaudit.capture import measure
from lcaudit.capture._layer import LayerSums
from lcaudit.core.errors import AuditError, UnknownArchitecture
from tests.cases import Residual, network, probe

CPU = torch.device("cpu")


class Fragile(nn.Module):
    """Something of everything that a run touches; fails at its ``fails_at``-th call."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")
        self.bn = nn.BatchNorm2d(4)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.table = nn.Embedding(5, 4, max_norm=0.1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("scale", torch.rand(4))
        self.fails_at, self.calls = fails_at, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.bn(self.conv(x)).relu().mean((2, 3))
        if self.calls == self.fails_at:
            raise ArithmeticError("the network's own")
        x = self.normed(self.drop(x)) + self.table(torch.zeros(len(x), dtype=torch.int64)) * self.scale
        return self.head(x)


def fingerprint(model):
    """Everything about a module that someone could notice, objects' identities included."""
    parts = []
    for name, part in model.named_modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        parts.append((name, part.training, *map(len, hooks)))
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        for one in (value, value.grad):
            if one is not None:
                digest = hashlib.sha256(one.detach().contiguous().reshape(-1).view(torch.uint8).numpy()).hexdigest()
                place = (id(one), one.data_ptr(), one.stride())
                parts.append((name, digest, one.dtype, one.device, one.requires_grad, *place))
    return parts


def given_network(dtype, seed, fails_at=0):
    torch.manual_seed(seed)
    model = Fragile(fails_at).to(dtype)
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        if index % 2:
            parameter.grad = torch.randn_like(parameter)
    for index, part in enumerate(model.modules()):
        part.training = index % 2 == 0
    handed = network(nn.Identity())
    object.__setattr__(handed, "module", model)  # ``network`` itself would set eval mode
    return model, handed


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from([torch.float16, torch.float32, torch.float64]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 100),
    st.integers(0, 4),
)
def test_handed_back(stored, measured_in, seed, fails_at):
    model, handed = given_network(stored, seed, fails_at)
    data = probe(torch.randn(9, 2, 4, 4))
    before, random = fingerprint(model), torch.get_rng_state()
    arguments = {"device": CPU, "dtype": measured_in, "batch_size": 4, "seed": 0}
    if fails_at:
        with pytest.raises(UnknownArchitecture, match="the network's own"):
            measure(handed, data, **arguments)
    else:
        assert {one.layer.name for one in measure(handed, data, **arguments).layers} >= {"conv", "normed", "head"}
    assert fingerprint(model) == before
    assert torch.equal(torch.get_rng_state(), random) and not active_modes()


@pytest.mark.parametrize(
    ("output", "says"), [("none", "expected one tensor of outputs"), ("matrices", "leave open which axis")]
)
def test_handed_back_when_its_output_is_not_understood(output, says):
    model, handed = given_network(torch.float32, 0)
    model.head = nn.Unflatten(1, (2, 2)) if output == "matrices" else nn.Identity()
    model.forward = (lambda x: None) if output == "none" else model.forward
    before = fingerprint(model)
    with pytest.raises(AuditError, match=says):
        measure(handed, probe(torch.randn(9, 2, 4, 4)), device=CPU, dtype=torch.float64, batch_size=4, seed=0)
    assert fingerprint(model) == before and not active_modes()


def test_handed_back_when_the_user_interrupts():
    model, handed = given_network(torch.float64, 1)
    before = fingerprint(model)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data = probe(torch.randn(9, 2, 4, 4))
        measure(handed, data, device=CPU, dtype=torch.float32, batch_size=4, seed=0, progress=stop)
    assert fingerprint(model) == before and not active_modes()


def test_the_probe_is_left_alone():
    inputs = torch.randn(8, 2, 4, 4)
    _, handed = given_network(torch.float32, 2)
    copy = inputs.clone()
    measure(handed, probe(inputs), device=CPU, dtype=torch.float32, batch_size=4, seed=0)
    assert torch.equal(inputs, copy) and not inputs.requires_grad and inputs.grad is None


def test_nothing_is_held_once_a_run_is_over():
    """Hooks on a graph hold what they call; together with the graph that is a cycle which is never collected."""
    torch.manual_seed(0)
    model, inputs = Residual(channels=4), torch.randn(30, 2, 6, 6)
    before = {id(one) for one in gc.get_objects() if type(one) is LayerSums}
    measured = measure(network(model), probe(inputs), device=CPU, dtype=torch.float32, batch_size=10, seed=0)
    assert measured.layers
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is LayerSums and id(one) not in before]
