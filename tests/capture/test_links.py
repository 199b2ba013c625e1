"""Where layers' outputs go: what is told, and everything that must not be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lcaudit.capture import links
from lcaudit.core.links import Link
from tests.cases import Residual, network, probe


def read(module: nn.Module, *shape: int) -> dict[str, Link]:
    torch.manual_seed(0)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    found = links(network(module), probe(torch.randn(4, *shape)), device=torch.device("cpu"), dtype=torch.float32)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    return {link.layer: link for link in found}


def test_a_chain_is_followed_through_what_passes_a_factor_on() -> None:
    found = read(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Conv2d(4, 5, 3),
            nn.BatchNorm2d(5), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 8), nn.LayerNorm(8),
            nn.ReLU(), nn.Linear(8, 2),
        ),
        2, 8, 8,
    )  # fmt: skip
    assert found["0"] == Link("0", functions=("relu", "max_pool2d"), readers=("4",), homogeneous=True, channelwise=True)
    assert (found["4"].normalisation, found["4"].readers, found["4"].homogeneous) == ("5", ("9",), False)
    assert found["4"].channelwise
    assert found["9"].normalisation == "10" and not found["9"].channelwise, "layer norm mixes channels"
    assert found["12"].readers == () and "output" in found["12"].ends


def test_a_sum_and_two_readers() -> None:
    found = read(Residual(), 2, 8, 8)
    assert found["stem"].normalisation == "bn" and set(found["stem"].readers) == {"a", "b"}
    assert found["a"].readers == () == found["b"].readers and "add" in found["a"].ends


def test_flattened_positions_mix_channels_with_pixels() -> None:
    found = read(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2)), 1, 8, 8)
    assert found["0"].homogeneous and found["0"].readers == ("3",) and not found["0"].channelwise


class Odd(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(6, 6), nn.Linear(6, 3), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(x)))


class Apart(torch.autograd.Function):
    """Not a torch function: nothing inside or out of it is recorded."""

    @staticmethod
    def forward(context, x):
        return x * 1

    @staticmethod
    def backward(context, gradient):
        return gradient


def to_numpy(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.detach().numpy().copy())


def changed_view(x: torch.Tensor) -> torch.Tensor:
    y = x.view(-1, 2, 3)
    y.relu_()
    return x


def remembered(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x) + x


def read_by_python(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x) if float(x.sum()) > -1e9 else x


UNKNOWN = (
    torch.sigmoid, F.gelu, F.relu6, lambda x: F.softmax(x, 1), lambda x: x + 1, lambda x: x * 2, remembered, to_numpy,
    changed_view, read_by_python, Apart.apply, lambda x: torch.cat([x, x])[: len(x)],
)  # fmt: skip
HOMOGENEOUS = (F.relu, F.leaky_relu, lambda x: F.relu(x, inplace=True), lambda x: x.clone().relu_())


@pytest.mark.parametrize("between", UNKNOWN)
def test_whatever_is_not_known_ends_the_chain(between) -> None:
    assert not read(Odd(between), 6)["first"].homogeneous


@pytest.mark.parametrize("between", HOMOGENEOUS)
def test_homogeneous_functions_are_known_in_every_spelling(between) -> None:
    found = read(Odd(between), 6)["first"]
    assert found.homogeneous and found.readers == ("second",)


def test_a_shared_or_reused_weight_is_no_link() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    assert read(tied, 4) == {}

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(F.relu(self.one(F.relu(self.one(x)))))

    assert set(read(Twice(), 4)) == {"two"}


def test_an_output_that_is_also_the_networks_is_not_only_read_inside() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = F.relu(self.one(x))
            self.two(hidden)
            return hidden

    found = read(Both(), 4)["one"]
    assert found.readers == () and "output" in found.ends


def test_a_network_that_cannot_be_recorded_has_no_links() -> None:
    class NeedsGradients(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert torch.is_grad_enabled(), "it differentiates inside"
            return self.one(x)

    assert read(NeedsGradients(), 4) == {}
