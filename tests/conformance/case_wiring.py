"""How a weight may be used, whatever its kind."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.conformance.case_base import Case, floats, holding, itself, not_in_place, stack


class Shared(nn.Module):
    """One convolution at two sizes, one linear layer twice in a row."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=bias)
        self.linear = nn.Linear(3, 3, bias=bias)
        self.head = nn.Linear(3, 3)
        with torch.no_grad():  # features far enough from constant for float32 to tell their directions
            self.conv.weight.mul_(3)
            self.linear.weight.mul_(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.avg_pool2d(self.conv(x).tanh(), 2)
        x = self.conv(x).tanh().mean((2, 3))
        return self.head(self.linear(self.linear(x).tanh()).tanh())


class Tied(nn.Module):
    """Two modules that own one weight, each with a bias of its own; one module where ``plain``."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4, bias=bias), nn.Linear(4, 4, bias=bias)
        self.right.weight = self.left.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.right(self.left(x).tanh()).tanh())


class Untied(nn.Module):
    """Twin of :class:`Tied`: the shared weight in one module, the biases apart."""

    def __init__(self, model: Tied) -> None:
        super().__init__()
        self.model, self.shared = model, holding(model.left.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in (self.model.left, self.model.right):
            x = self.shared(x) + (0 if module.bias is None else module.bias)
            x = x.tanh()
        return self.model.head(x)


def _untie(model: Tied) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = Untied(copy.deepcopy(model))
    return twin, {"left": twin.shared, "head": twin.model.head}


class Checkpointed(nn.Module):
    """A body that is recomputed in the backward pass, from the first layer on or after a stem."""

    def __init__(self, bias: bool, reentrant: bool, stem: bool) -> None:
        super().__init__()
        self.reentrant, self.checkpointed = reentrant, True
        self.stem = nn.Conv2d(2, 3, 1, bias=bias) if stem else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(3 if stem else 2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.Conv2d(4, 3, 3, bias=bias), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = checkpoint(self.body, x, use_reentrant=self.reentrant) if self.checkpointed else self.body(x)
        return self.head(x.mean((2, 3)))


def _without_checkpoint(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = not_in_place(model)
    twin.checkpointed = False
    return itself(twin)


class Functional(nn.Module):
    """Weights without a module: ``F.linear``, ``x @ W``, ``torch.addmm``, ``F.conv2d``."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 2, 3, 3) / 4)
        self.first = nn.Parameter(torch.randn(4, 3))
        self.bias = nn.Parameter(torch.randn(4)) if bias else None
        self.second = nn.Parameter(torch.randn(4, 5) / 2)
        self.third = nn.Parameter(torch.randn(5, 3) / 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.conv2d(x, self.kernel, stride=2).tanh().mean((2, 3))
        x = nn.functional.linear(x, self.first, self.bias).tanh()
        return torch.addmm(torch.zeros(3).to(x), (x @ self.second).tanh(), self.third)


def _in_modules(model: Functional) -> tuple[nn.Module, dict[str, nn.Module]]:
    kernel = nn.Conv2d(2, 3, 3, stride=2, bias=False).to(model.kernel)
    with torch.no_grad():
        kernel.weight.copy_(model.kernel)
    layers = {
        "kernel": kernel,
        "first": holding(model.first, model.bias),
        "second": holding(model.second.T),
        "third": holding(model.third.T),
    }
    pooling = nn.Sequential(nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    twin = nn.Sequential(kernel, pooling, layers["first"], nn.Tanh(), layers["second"], nn.Tanh(), layers["third"])
    return twin, layers


def _normed(bias: bool) -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6, bias=bias))
    return stack(floats(5), layer)


def _plain_weights(model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = nn.Sequential(holding(model[0].weight, model[0].bias), *copy.deepcopy(model[1:]))
    return itself(twin)


def wiring() -> list[Case]:
    """Rows of the table."""
    image = floats(2, 5, 5)
    cases = [
        Case("any", "module used several times", Shared, floats(3, 6, 6)),
        Case("any", "weight shared by modules", Tied, floats(4), twin=_untie),
        Case("any", "weight without a module", Functional, image, twin=_in_modules),
        Case("any", "weight computed by its module (weight norm)", _normed, floats(5), twin=_plain_weights),
    ]
    for reentrant in (True, False):
        for stem in (True, False):
            option = f"in torch.utils.checkpoint, use_reentrant={reentrant}{'' if stem else ', first layer on'}"
            build = lambda bias, reentrant=reentrant, stem=stem: Checkpointed(bias, reentrant, stem)  # noqa: E731
            cases.append(Case("any", option, build, image, twin=_without_checkpoint))
    return cases
