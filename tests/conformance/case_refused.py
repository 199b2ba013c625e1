"""What is not audited, and the reason that a report gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.conformance.case_base import SAMPLES, Refused, floats, padded, real, stack

RECURRENT = "a recurrent layer runs its steps in one operation: their inputs and gradients cannot be seen"
NORMALISATION = "scale and shift of a normalisation: they have no Kronecker form"
UNEVEN = "its rows do not grow with the batch, so that gradients of single samples cannot be told apart"


class Applied(nn.Module):
    """Parts by name, then ``rule(self, x)``, then a head."""

    def __init__(self, rule: Callable[..., torch.Tensor], width: int, **parts) -> None:
        super().__init__()
        self.rule = rule
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rule(self, x).tanh())


class Positions(nn.Module):
    """A learned embedding of positions, looked up once for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.head = nn.Embedding(6, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x + self.positions(torch.arange(x.shape[1]))).tanh().mean(1))


def _recurrent(module: type[nn.Module]) -> Refused:
    build = lambda: Applied(lambda m, x: m.steps(x)[0][:, -1], 5, steps=module(4, 5, batch_first=True))  # noqa: E731
    return Refused(module.__name__, "any", build, floats(6, 4), "steps", RECURRENT)


def _cell() -> nn.Module:
    return Applied(lambda m, x: m.cell(x)[0], 5, cell=nn.LSTMCell(4, 5))


def _normalisation(kind: str, norm: Callable[[], nn.Module], *shape: int) -> Refused:
    def build() -> nn.Module:
        return stack(floats(*shape), nn.Identity(), norm())

    return Refused(kind, "scale and shift", build, floats(*shape), "2", NORMALISATION)


def _tokens(vocabulary: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randint(0, vocabulary, (SAMPLES, 5))


def _square(rule: Callable[..., torch.Tensor]) -> Callable[[], nn.Module]:
    return lambda: Applied(rule, 4, layer=nn.Linear(4, 4, bias=False))


REFUSED = (
    _recurrent(nn.RNN),
    _recurrent(nn.LSTM),
    _recurrent(nn.GRU),
    Refused("LSTMCell", "any", _cell, floats(4), "cell", RECURRENT),
    _normalisation("BatchNorm2d", lambda: nn.BatchNorm2d(3), 3, 4, 4),
    _normalisation("InstanceNorm2d", lambda: nn.InstanceNorm2d(3, affine=True), 3, 4, 4),
    _normalisation("GroupNorm", lambda: nn.GroupNorm(2, 4), 4, 4, 4),
    _normalisation("LayerNorm", lambda: nn.LayerNorm(5), 5),
    _normalisation("RMSNorm", lambda: nn.RMSNorm(5), 5),
    Refused("Embedding", "looked up once for the whole batch", Positions, floats(6, 4), "positions", UNEVEN),
    Refused(
        "EmbeddingBag", "any", lambda: Applied(lambda m, x: m.bag(x), 4, bag=nn.EmbeddingBag(7, 4)), _tokens(7), "bag",
        "its weight is used by 'embedding_bag', which is not measured",
    ),
    Refused(
        "Bilinear", "any", lambda: Applied(lambda m, x: m.form(x, x), 5, form=nn.Bilinear(4, 4, 5)), floats(4), "form",
        "its weight is used by 'bilinear', which is not measured",
    ),
    Refused(
        "Conv1d", "padding mask",
        lambda: Applied(lambda m, x: m.conv(x.mT).mean(2), 4, conv=nn.Conv1d(4, 4, 3, padding=1)), padded(6, 4), "conv",
        "padding cannot be left out of a conv1d layer", mask=real,
    ),
    Refused(
        "Linear", "rows that a padding mask does not fit",
        lambda: Applied(lambda m, x: m.layer(x[:, 1:]).mean(1), 4, layer=nn.Linear(4, 4)), padded(6, 4), "layer",
        "its rows do not line up with the padding mask", mask=real,
    ),
    Refused(
        "any", "weight used transposed as well",
        _square(lambda m, x: nn.functional.linear(m.layer(x).tanh(), m.layer.weight.T)), floats(4), "layer",
        "its weight is used in two ways: as it is and transposed",
    ),
    Refused(
        "any", "weight used whole and in part",
        _square(lambda m, x: m.layer(x) + nn.functional.linear(x, m.layer.weight[:2]).repeat(1, 2)), floats(4), "layer",
        "its weight is used both whole and in part",
    ),
    Refused(
        "any", "weight also used by another operation",
        _square(lambda m, x: m.layer(x) + torch.einsum("bi,oi->bo", x, m.layer.weight)), floats(4), "layer",
        "its weight is also used by 'einsum', which is not measured",
    ),
    Refused(
        "any", "weight changed before use",
        _square(lambda m, x: nn.functional.linear(x, m.layer.weight - m.layer.weight.mean())), floats(4), "layer",
        "its weight is used by 'mean', which is not measured",
    ),
    Refused(
        "any", "output without effect on the loss", _square(lambda m, x: x + 0 * m.layer(x).detach()), floats(4),
        "layer", "its output does not reach the loss",
    ),
    Refused("any", "never run", _square(lambda m, x: x), floats(4), "layer", "it did not run in the forward pass"),
)  # fmt: skip
