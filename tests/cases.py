"""Small named networks, and ways to put them before the measuring stages."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.core.measurements import NetworkRecord, Normalisation, ProbeRecord
from lcaudit.core.types import Network, Probe

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(
    not (SHARED / "checkpoints").is_dir(), reason="the real checkpoints and images lie beside the project, not in it"
)


def network(module: nn.Module, shape: tuple[int, ...] = (), classes: int = 0) -> Network:
    """A module as the resolver would hand it over."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    record = NetworkRecord("user", type(module).__name__, {}, "declared", (), (), parameters, shape, classes, "float32")
    return Network(record, module.eval(), {})


def probe(inputs: torch.Tensor, labels: np.ndarray | None = None) -> Probe:
    """A tensor as the probes stage would hand it over."""
    n = len(inputs)
    record = ProbeRecord(
        "tensor", "test", "tensor", "0" * 64, n, n, f"0-{n - 1}", 0, labels is not None, (), tuple(inputs.shape[1:]),
        Normalisation((0.0,), (1.0,), "none"),
    )  # fmt: skip
    return Probe(record, lambda start, stop: inputs[start:stop], labels, np.arange(n))


class Residual(nn.Module):
    """Two blocks with a shortcut, in-place activations, pooling and a head."""

    def __init__(self, channels: int = 4, classes: int = 3, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.a = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.b = nn.Conv2d(channels, channels, 1, stride=2)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn(self.stem(x)))
        x = self.act(self.a(x) + self.b(x))
        return self.head(x.mean((2, 3)))


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    """Linear and ReLU in turn."""
    layers: list[nn.Module] = []
    for left, right in pairwise(widths):
        layers += [nn.Linear(left, right, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
