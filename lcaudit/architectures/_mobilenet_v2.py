"""The MobileNetV2 that a variant of ``mobilenet_v2_cifar`` stands for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


class _Block(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module | None = None
        if stride == 1:
            self.shortcut = nn.Identity()
            if inputs != outputs:
                self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out if self.shortcut is None else out + self.shortcut(x)


class MobileNetV2(nn.Module):
    """3×3 stem, inverted bottlenecks, a 1×1 convolution, global average pooling, one linear layer."""

    def __init__(self, variant: Mapping[str, str | int | bool]) -> None:
        super().__init__()
        width = int(variant["stem_width"])
        self.conv1, self.bn1 = nn.Conv2d(int(variant["channels"]), width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        rows = []
        for block in str(variant["blocks"]).split():
            inner, outputs, stride = map(int, block.split("-"))
            rows.append(_Block(width, inner, outputs, stride))
            width = outputs
        self.layers = nn.Sequential(*rows)
        last = int(variant["last"])
        self.conv2, self.bn2 = nn.Conv2d(width, last, 1, bias=False), nn.BatchNorm2d(last)
        self.linear = nn.Linear(last, int(variant["classes"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(functional.relu(self.bn1(self.conv1(x))))
        out = functional.relu(self.bn2(self.conv2(out)))
        return self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))
