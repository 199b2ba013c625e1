"""What a row of the table is, and parts of small networks, with a twin made of plain modules for the oracle.

A twin computes the same function through modules that the oracle can watch: an attention written out, a
network without its checkpoints, a weight in a module of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

SAMPLES = 24
WATCHED = (
    nn.Linear, nn.Embedding,
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


def itself(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network is its own twin."""
    return model, {name: part for name, part in model.named_modules() if isinstance(part, WATCHED)}


@dataclass(frozen=True)
class Case:
    """One row of the table. ``build(bias)``: the network; ``inputs()``: float32 or int64 [n, …];
    ``mask(inputs)``: bool [n, T]; ``curvlinops``: whether that library supports it too."""

    kind: str
    option: str
    build: Callable[[bool], nn.Module]
    inputs: Callable[[], torch.Tensor]
    twin: Callable[[nn.Module], tuple[nn.Module, dict[str, nn.Module]]] = itself
    biases: tuple[bool, ...] = (True, False)
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None
    curvlinops: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.option}"


def floats(*shape: int) -> Callable[[], torch.Tensor]:
    """Inputs with a mean and unequal scales."""
    return lambda: torch.randn(SAMPLES, *shape) * torch.linspace(0.5, 2, shape[-1]) + 0.3


def padded(*shape: int) -> Callable[[], torch.Tensor]:
    """Sequences [T, d] whose last tokens are zero: padding."""

    def make() -> torch.Tensor:
        inputs = floats(*shape)()
        lengths = torch.arange(SAMPLES) % (shape[0] - 1) + 2
        return inputs * (torch.arange(shape[0]) < lengths[:, None]).unsqueeze(-1)

    return make


def real(inputs: torch.Tensor) -> torch.Tensor:
    """Which tokens are not padding."""
    return (inputs != 0).any(-1) if inputs.dim() > 2 else inputs != 0


class Pooled(nn.Module):
    """``body`` on tokens, mean over those that are real, head."""

    def __init__(self, body: nn.Module, width: int, masked: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.masked = body, nn.Linear(width, 3), masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.body(x)
        tokens = tokens.flatten(1, -2)
        if not self.masked:
            return self.head(tokens.mean(1))
        keep = real(x).unsqueeze(-1).to(tokens.dtype)
        return self.head((tokens * keep).sum(1) / keep.sum(1))


class Mixed(nn.Module):
    """Everything at fixed random weights into six features: unlike a mean, gradients differ between positions."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mix", torch.randn(features, 6) / features**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.mix


def stack(inputs: Callable[[], torch.Tensor], *layers: nn.Module) -> nn.Module:
    """Layers with tanh after each, then a head."""
    parts = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    return nn.Sequential(*parts, Mixed(parts(inputs()[:1]).numel()), nn.Linear(6, 3))


def not_in_place(model: nn.Module) -> nn.Module:
    """A copy whose activations leave their input alone."""
    twin = copy.deepcopy(model)
    for part in twin.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return twin


def holding(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """A linear layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


@dataclass(frozen=True)
class Refused:
    """A row that says why something is not audited: the module's name, and the reason in full."""

    kind: str
    option: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], torch.Tensor]
    name: str
    reason: str
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.option}"
