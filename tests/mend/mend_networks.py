"""Factories for ``--arch``, and weights that need a fix or do not; digits are 1×8×8."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def _digits(network: nn.Module) -> nn.Module:
    network.input_shape, network.num_classes = (1, 8, 8), 10
    return network


def mlp() -> nn.Module:
    """A hidden layer and a head."""
    return _digits(nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)))


def normalised_mlp() -> nn.Module:
    """The same with a batch norm before the head."""
    return _digits(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.BatchNorm1d(24, affine=False), nn.Linear(24, 10))
    )


def conv() -> nn.Module:
    """Two padded convolutions without normalisation, pooling, and a head."""
    return _digits(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        )
    )  # fmt: skip


def conv_norm() -> nn.Module:
    """Two convolutions, each with a batch norm."""
    return _digits(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        )
    )  # fmt: skip


def images(split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    """The digits as the networks are fed them."""
    from lcaudit.demo.train import split as read

    return read(split)


@torch.no_grad()
def gathered(network: nn.Module) -> nn.Module:
    """Batch norms with the statistics of the training digits."""
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = None
            part.reset_running_stats()
    network.train()(images("test")[0])
    return network.eval()


def trained(make: Callable[[], nn.Module], epochs: int = 6) -> nn.Module:
    """A few epochs of Adam; the same weights each time."""
    torch.manual_seed(0)
    network = make()
    inputs, labels = images()
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen]).backward()
            optimiser.step()
    return gathered(network)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """At initialisation; the same weights each time."""
    torch.manual_seed(0)
    return gathered(make())


@torch.no_grad()
def uncentred_head() -> nn.Module:
    """Features far from nought: their mean holds nearly all of what the head reads."""
    network = seeded(mlp)
    network[1].bias += 4
    return network


@torch.no_grad()
def uncentred_conv() -> nn.Module:
    """The second convolution, which pads, reads features far from nought."""
    network = seeded(conv)
    network[0].bias += 3
    return network


@torch.no_grad()
def dominated() -> nn.Module:
    """The second convolution's weight is a hundred times as long, which its batch norm hides."""
    network = seeded(conv_norm)
    network[3].weight *= 100
    network[3].bias *= 100
    return gathered(network)


@torch.no_grad()
def imbalanced() -> nn.Module:
    """A factor of 12 moved the wrong way between two layers."""
    network = seeded(mlp)
    network[1].weight *= 12
    network[1].bias *= 12
    network[3].weight /= 12
    return network


@torch.no_grad()
def with_dead_units() -> nn.Module:
    """Five hidden units that no digit wakes."""
    network = seeded(mlp)
    network[1].bias[[0, 3, 4, 10, 23]] = -100
    return network


@torch.no_grad()
def with_dead_channels() -> nn.Module:
    """Two channels that a batch norm keeps below nought."""
    network = seeded(conv_norm)
    network[1].bias[[1, 4]] = -100
    return network


def stale() -> nn.Module:
    """Trained, then with the statistics of a network that training never saw."""
    network = trained(conv_norm).requires_grad_(False)
    for norm in (network[1], network[4]):
        norm.running_mean += 1.5 * norm.running_var.sqrt()
        norm.running_var *= 3
    return network
