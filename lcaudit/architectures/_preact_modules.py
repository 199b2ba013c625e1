"""The pre-activation residual network that a layout of ``_preact`` stands for."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lcaudit.architectures._preact import NAMINGS, Layout, Naming, numbers


class Block(nn.Module):
    """One residual block; the 3×3 convolution strides, the first one if there are two."""

    def __init__(self, inputs: int, width: int, stride: int, layout: Layout, naming: Naming) -> None:
        super().__init__()
        kernels = (1, 3, 1) if layout.bottleneck else (3, 3)
        outputs = width * layout.expansion
        ends = (inputs, *(width for _ in kernels[1:]), outputs)
        self.parts = len(kernels)
        for i, kernel in enumerate(kernels):
            step = stride if i == len(kernels) - 2 else 1
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(ends[i]))
            self.add_module(f"conv{i + 1}", nn.Conv2d(ends[i], ends[i + 1], kernel, step, kernel // 2, bias=False))
        self.path, self.raw = "", naming.raw
        if stride != 1 or inputs != outputs:
            self.path = naming.shortcut
            _put(self, naming.shortcut, nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x
        for i in range(1, self.parts + 1):
            active = functional.relu(self.get_submodule(f"bn{i}")(out))
            if i == 1:
                entered = active
            out = self.get_submodule(f"conv{i}")(active)
        if not self.path:
            return out + x
        return out + self.get_submodule(self.path)(x if self.raw else entered)


class PreActResNet(nn.Module):
    """3×3 stem, stages (the first of stride 1, the others 2), global average pooling, one linear layer."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        naming = NAMINGS[layout.naming]
        self.conv1 = nn.Conv2d(layout.channels, layout.stem_width, 3, 1, 1, bias=False)
        inputs, paths = layout.stem_width, []
        for stage, (count, width) in enumerate(zip(numbers(layout.blocks), numbers(layout.widths), strict=True)):
            rows = []
            for index in range(count):
                rows.append(Block(inputs, width, 2 if stage and not index else 1, layout, naming))
                inputs = width * layout.expansion
            paths.append(naming.stage.format(stage + 1))
            _put(self, paths[-1], nn.Sequential(*rows))
        self.paths, self.naming = tuple(paths), naming
        if naming.last:
            self.add_module(naming.last, nn.BatchNorm2d(inputs))
        self.add_module(naming.head, nn.Linear(inputs, layout.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(x)
        for path in self.paths:
            out = self.get_submodule(path)(out)
        if self.naming.last:
            out = functional.relu(self.get_submodule(self.naming.last)(out))
        return self.get_submodule(self.naming.head)(functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _put(module: nn.Module, path: str, part: nn.Module) -> None:
    """``module.a.b = part``; the modules between are Sequentials of one."""
    first, _, rest = path.partition(".")
    if rest:
        inner = nn.Sequential()
        _put(inner, rest, part)
        part = inner
    module.add_module(first, part)
