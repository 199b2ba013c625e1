"""Linear layers and embeddings."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.conformance.case_base import (
    SAMPLES,
    Case,
    Pooled,
    floats,
    holding,
    itself,
    not_in_place,
    padded,
    real,
    stack,
)


class Flattened(nn.Module):
    """As transformers' ``Conv1D``: the matrix stored as inputs × outputs, all tokens of a batch in one ``addmm``."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, shift = x.view(-1, x.shape[-1]), x.new_zeros(()) if self.bias is None else self.bias
        return torch.addmm(shift, rows, self.weight).view(*x.shape[:-1], -1)


def _unflattened(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = copy.deepcopy(model)
    for name, part in model.named_modules():
        if isinstance(part, Flattened):
            twin.set_submodule(name, holding(part.weight.T, part.bias))
    return itself(twin)


def linear() -> list[Case]:
    """Rows of the table."""
    tokens = (6, 4)

    def flattened(bias: bool) -> nn.Module:
        return nn.Sequential(Flattened(4, 5, bias), nn.Tanh(), Flattened(5, 4, bias))

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
        Case(
            "Linear", "inputs × outputs, addmm over all tokens (Conv1D of transformers)",
            lambda bias: Pooled(flattened(bias), 4), floats(*tokens), twin=_unflattened,
        ),
        Case(
            "Linear", "the same with padding mask", lambda bias: Pooled(flattened(bias), 4, masked=True),
            padded(*tokens), twin=_unflattened, mask=real,
        ),
    ]  # fmt: skip


def _tokens() -> torch.Tensor:
    return torch.randint(0, 7, (SAMPLES, 5))


class LanguageModel(nn.Module):
    """Token embedding and output layer with one weight."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=bias)
        self.head.weight = self.tokens.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(x).tanh().mean(1))


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

    def apart(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
        twin = copy.deepcopy(model)
        twin.head.weight = nn.Parameter(twin.head.weight.detach().clone())
        return itself(twin)

    return [
        Case("Embedding", "weight shared with the output layer, each by itself", LanguageModel, _tokens, apart),
        Case("Embedding", "tokens", body(), _tokens, biases=(True,)),
        Case("Embedding", "padding_idx", body(padding_idx=0), _tokens, biases=(True,)),
        Case("Embedding", "max_norm", body(max_norm=1.5), _tokens, twin=renormed, biases=(True,)),
        Case("Embedding", "padding mask", body(), _tokens, biases=(True,), mask=real),
    ]
