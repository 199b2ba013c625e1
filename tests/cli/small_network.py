"""A network of three layers that learns the digits in a second, as it is trained, and made worse without changing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch.nn import functional

from lcaudit.demo import train

NETWORK = """
import torch


def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(96, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 10),
    )


make.input_shape = (1, 8, 8)
"""
#: The last layer.
HEAD = "5"


def trained(steps: int) -> Iterator[Mapping[str, torch.Tensor]]:
    """The network's weights before each of the steps, and after the last."""
    found: dict = {}
    exec(NETWORK, found)
    images, labels = train.split("train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = found["make"]()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        yield network.state_dict()
        chosen = torch.arange(50 * step, 50 * step + 50) % len(images)
        optimiser.zero_grad()
        functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimiser.step()
    yield network.state_dict()


def made_worse(state: Mapping[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """The same function, a third of the head's inputs being smaller by ``factor`` and their weights larger."""
    changed = {key: value.clone() for key, value in state.items()}
    changed["3.weight"][:8] /= factor
    changed["3.bias"][:8] /= factor
    changed[f"{HEAD}.weight"][:, :8] *= factor
    return changed


def options(folder: Path, samples: int = 400) -> tuple[str, ...]:
    """How it is measured; ``folder`` holds its ``network.py``."""
    network = f"{folder / 'network.py'}:make"
    return ("--data", "digits", "--arch", network, "--samples", str(samples), "--batch-size", "200")
