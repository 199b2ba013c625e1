"""The ``nn.Sequential`` that the text of a chain stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lcaudit.architectures._chain import Slot, read_slot
from lcaudit.core.errors import MalformedInput


class Chain(nn.Sequential):
    """A Sequential whose first layer is linear reads samples of any shape, flattened."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1) if isinstance(self[0], nn.Linear | nn.BatchNorm1d) else x)


def build_chain(variant: Mapping[str, str | int | bool]) -> nn.Module:
    """The chain of ``variant["layers"]`` under the attribute path ``variant["prefix"]``.

    Raises:
        MalformedInput: the prefix is a name that a module cannot have.
    """
    module: nn.Module = Chain(*_modules([read_slot(text) for text in str(variant["layers"]).split()]))
    for name in reversed(str(variant["prefix"]).split(".")):
        if name:
            outer = nn.Sequential()
            if hasattr(outer, name):
                raise MalformedInput(f"{name} is not a name for a part of a network", "rename the keys and save again")
            outer.add_module(name, module)
            module = outer
    return module


def _modules(slots: Sequence[Slot]) -> list[nn.Module]:
    modules: list[nn.Module] = []
    width = 0
    for slot in slots:
        match slot.kind:
            case "linear":
                modules.append(nn.Linear(slot.inputs, slot.outputs, bias=slot.bias))
            case "conv":
                inputs = width or slot.inputs
                groups = inputs // slot.inputs
                padding = slot.kernel // 2
                modules.append(nn.Conv2d(inputs, slot.outputs, slot.kernel, 1, padding, groups=groups, bias=slot.bias))
            case "norm":
                modules.append(nn.BatchNorm1d(slot.inputs))
            case "norm2d":
                modules.append(nn.BatchNorm2d(slot.inputs))
            case "relu":
                modules.append(nn.ReLU())
            case "dropout":
                modules.append(nn.Dropout())
            case kind:
                assert kind == "flatten", kind
                modules.append(nn.Flatten())
        width = slot.outputs or width
    return modules
