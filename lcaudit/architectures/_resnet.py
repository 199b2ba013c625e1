"""The residual network of He et al. as public code bases write it, with their attribute names.

Attribute names decide the keys of the state dict, so the names of the head and of the projection
shortcut are arguments: no key is ever renamed.

Source: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", sections 3.3, 4.2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lcaudit.architectures._resnet_reading import Layout


class SubsampleAndPad(nn.Module):
    """Option A: every second row and column, and zero channels, half of them on each side."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.extra // 2
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.extra - before))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions; the first one strides."""

    def __init__(self, inputs: int, width: int, stride: int, layout: Layout) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut_name = layout.shortcut
        self.add_module(layout.shortcut, _shortcut(inputs, width, stride, layout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.get_submodule(self.shortcut_name)(x))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1; the 3×3 convolution strides, as in every public code base with these names."""

    def __init__(self, inputs: int, width: int, stride: int, layout: Layout) -> None:
        super().__init__()
        outputs = width * layout.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=layout.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut_name = layout.shortcut
        self.add_module(layout.shortcut, _shortcut(inputs, outputs, stride, layout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + self.get_submodule(self.shortcut_name)(x))


def _shortcut(inputs: int, outputs: int, stride: int, layout: Layout) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if layout.option == "A":
        return SubsampleAndPad(outputs - inputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Stem, stages (the first of stride 1, the others 2), global average pooling, one linear layer."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        stride = 2 if layout.stem == 7 else 1
        self.conv1 = nn.Conv2d(layout.channels, layout.stem_width, layout.stem, stride, layout.stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(layout.stem_width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if layout.max_pool else nn.Identity()
        block = Bottleneck if layout.bottleneck else BasicBlock
        inputs, stages = layout.stem_width, []
        for stage, (count, width) in enumerate(zip(layout.blocks, layout.widths, strict=True)):
            rows = []
            for index in range(count):
                rows.append(block(inputs, width, 2 if stage and not index else 1, layout))
                inputs = width * layout.expansion
            stages.append(f"layer{stage + 1}")
            self.add_module(stages[-1], nn.Sequential(*rows))
        self.stages, self.head_name = tuple(stages), layout.head
        self.add_module(layout.head, nn.Linear(inputs, layout.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        out = functional.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.get_submodule(self.head_name)(out)
