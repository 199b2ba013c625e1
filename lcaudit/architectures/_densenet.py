"""The densely connected network that a variant of ``densenet_cifar`` stands for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from lcaudit.architectures.densenet_cifar import NAMINGS


class _Layer(nn.Module):
    """Normalise, rectify, convolve once or twice; stack the result on the input."""

    def __init__(self, inputs: int, inner: int, growth: int, new_first: bool) -> None:
        super().__init__()
        self.new_first, self.twice = new_first, bool(inner)
        self.bn1 = nn.BatchNorm2d(inputs)
        if inner:
            self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, growth, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(functional.relu(self.bn1(x)))
        if self.twice:
            out = self.conv2(functional.relu(self.bn2(out)))
        return torch.cat((out, x) if self.new_first else (x, out), 1)


class _Transition(nn.Module):
    """Normalise, rectify, 1×1 convolution, 2×2 average pooling."""

    def __init__(self, inputs: int, outputs: int, norm: str, conv: str) -> None:
        super().__init__()
        self.names = norm, conv
        self.add_module(norm, nn.BatchNorm2d(inputs))
        self.add_module(conv, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm, conv = map(self.get_submodule, self.names)
        return functional.avg_pool2d(conv(functional.relu(norm(x))), 2)


class DenseNet(nn.Module):
    """3×3 stem, dense blocks with transitions between them, batch norm, global average pooling, a linear layer."""

    def __init__(self, variant: Mapping[str, str | int | bool]) -> None:
        super().__init__()
        head, growth, width = str(variant["head"]), int(variant["growth"]), int(variant["stem_width"])
        norm, conv, _ = NAMINGS[head]
        blocks = [int(number) for number in str(variant["blocks"]).split("-")]
        reduced = [int(number) for number in str(variant["transitions"]).split("-")]
        self.conv1 = nn.Conv2d(int(variant["channels"]), width, 3, 1, 1, bias=False)
        self.path: list[str] = []
        for stage, count in enumerate(blocks, 1):
            rows = []
            for _ in range(count):
                rows.append(_Layer(width, int(variant["inner"]), growth, head == "linear"))
                width += growth
            self.path.append(f"dense{stage}")
            self.add_module(self.path[-1], nn.Sequential(*rows))
            if stage < len(blocks):
                self.path.append(f"trans{stage}")
                self.add_module(self.path[-1], _Transition(width, reduced[stage - 1], norm, conv))
                width = reduced[stage - 1]
        self.bn, self.head = nn.BatchNorm2d(width), head
        self.add_module(head, nn.Linear(width, int(variant["classes"])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(x)
        for name in self.path:
            out = self.get_submodule(name)(out)
        out = functional.relu(self.bn(out))
        return self.get_submodule(self.head)(functional.adaptive_avg_pool2d(out, 1).flatten(1))
