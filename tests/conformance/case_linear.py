"""Linear layers and embeddings."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.conformance.case_base import SAMPLES, Case, Pooled, floats, itself, not_in_place, padded, real, stack


def linear() -> list[Case]:
    """Rows of the table."""
    tokens = (6, 4)

    def two(bias: bool, activation: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5, bias=bias), activation, nn.Linear(5, 4, bias=bias))

    return [
        Case(
            "Linear", "vectors", lambda bias: stack(floats(5), nn.Linear(5, 6, bias=bias)), floats(5), curvlinops=True
        ),
        Case("Linear", "sequences", lambda bias: Pooled(two(bias, nn.Tanh()), 4), floats(*tokens), curvlinops=True),
        Case("Linear", "images, channels last", lambda bias: Pooled(two(bias, nn.Tanh()), 4), floats(3, 2, 4)),
        Case(
            "Linear", "sequences with padding mask", lambda bias: Pooled(two(bias, nn.Tanh()), 4, masked=True),
            padded(*tokens), mask=real,
        ),
        Case(
            "Linear", "padding mask, padding reaches the loss", lambda bias: Pooled(two(bias, nn.Tanh()), 4),
            padded(*tokens), mask=real,
        ),
        Case(
            "Linear", "activation in place", lambda bias: Pooled(two(bias, nn.LeakyReLU(0.3, inplace=True)), 4),
            floats(*tokens), twin=lambda model: itself(not_in_place(model)),
        ),
    ]  # fmt: skip


def _tokens() -> torch.Tensor:
    return torch.randint(0, 7, (SAMPLES, 5))


def embedding() -> list[Case]:
    """Rows of the table."""

    def body(**options):
        return lambda bias: Pooled(nn.Sequential(nn.Embedding(7, 4, **options), nn.Tanh(), nn.Linear(4, 4)), 4)

    def renormed(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
        twin = copy.deepcopy(model)
        embedding = twin.body[0]
        with torch.no_grad():
            embedding.weight.copy_(torch.renorm(embedding.weight, 2, 0, embedding.max_norm))
        embedding.max_norm = None
        return itself(twin)

    return [
        Case("Embedding", "tokens", body(), _tokens, biases=(True,)),
        Case("Embedding", "padding_idx", body(padding_idx=0), _tokens, biases=(True,)),
        Case("Embedding", "max_norm", body(max_norm=1.5), _tokens, twin=renormed, biases=(True,)),
        Case("Embedding", "padding mask", body(), _tokens, biases=(True,), mask=real),
    ]
