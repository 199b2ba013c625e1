"""The contract of an operation, and what the operations share: finding modules, putting others in their place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.core.errors import MalformedInput
from lcaudit.core.recipe import Step
from lcaudit.core.text import display_name
from lcaudit.core.types import FactorMoments

_PATH = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_LONGEST_PATH = 200
_AGAIN = "the recipe belongs to another network; make it again with lcaudit fix"
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: A layer that operations may change.
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True, slots=True)
class Operation:
    """A file's constant ``OPERATION``.

    Attributes:
        modules: roles that a step must name; one that ends in ``*`` stands for any number of them.
        numbers: names of the numbers that a step must have.
        apply: changes the module in place; raises MalformedInput where the step does not fit.
        separate: gives a state dict the names and shapes that it had before the step. Its values need not
            be right; none is made from a number in the step alone.
        renamed: names of layers before → after the step.
        predict: changes the moments of the layers that the step touches, under their names before it;
            ``None`` where the function changes.
    """

    modules: tuple[str, ...]
    numbers: tuple[str, ...]
    apply: Callable[[nn.Module, Step], None]
    separate: Callable[[dict[str, torch.Tensor], Step], None]
    renamed: Callable[[Step], Mapping[str, str]]
    predict: Callable[[dict[str, FactorMoments], Step], None] | None


def check_step(step: Step, operation: Operation) -> None:
    """Roles, paths and numbers of a step, as far as they can be checked without a network.

    Raises:
        MalformedInput: what does not fit.
    """
    open_roles = tuple(role.removesuffix("*") for role in operation.modules if role.endswith("*"))
    roles = [role for role in step.modules if not (open_roles and role.startswith(open_roles))]
    if set(roles) != {role for role in operation.modules if not role.endswith("*")}:
        raise refusal(step, f"expected the modules {', '.join(operation.modules)}")
    if set(step.numbers) != set(operation.numbers):
        raise refusal(step, f"expected the numbers {', '.join(operation.numbers)}")
    for path in step.modules.values():
        if not plain_path(path):
            raise refusal(step, f"{display_name(path, 60)!r} is no path of a module")
    if not all(math.isfinite(number) for numbers in step.numbers.values() for number in numbers):
        raise refusal(step, "a number is not finite")


def plain_path(path: str) -> bool:
    """Whether ``path`` is letters, digits and underscores between single dots."""
    return bool(_PATH.fullmatch(path)) and len(path) <= _LONGEST_PATH


def refusal(step: Step, what: str) -> MalformedInput:
    """The error that a step does not fit."""
    return MalformedInput(f"step {display_name(step.operation, 40)} of the recipe: {what}", _AGAIN)


def module_at(root: nn.Module, step: Step, role: str) -> nn.Module:
    """The module that the step names, found among the network's modules and nowhere else."""
    path = step.modules[role]
    found = dict(root.named_modules(remove_duplicate=False)).get(path)
    if found is None or not path:
        raise refusal(step, f"the network has no module {display_name(path, 80)!r}")
    return found


def layer_at(root: nn.Module, step: Step, role: str) -> Layer:
    """A linear layer or convolution of torch's own; a subclass may compute something else."""
    found = module_at(root, step, role)
    if type(found) not in LAYERS:
        raise refusal(step, f"{display_name(step.modules[role], 80)} is a {type(found).__name__}, no plain layer")
    assert isinstance(found, LAYERS)
    return found


def batch_norm_at(root: nn.Module, step: Step, role: str) -> _BatchNorm:
    """A batch norm with running statistics."""
    found = module_at(root, step, role)
    if not isinstance(found, _BatchNorm) or found.running_mean is None:
        kind = type(found).__name__
        raise refusal(step, f"{display_name(step.modules[role], 80)} is a {kind}, no batch norm with statistics")
    return found


def put(root: nn.Module, path: str, step: Step, new: nn.Module) -> None:
    """``new`` in the place of the module at ``path``, which must be the only place that holds it."""
    old = module_at(root, step, "layer")
    places = [(parent, child) for parent in root.modules() for child, part in parent._modules.items() if part is old]
    if len(places) != 1:
        raise refusal(step, f"{display_name(path, 80)} is used in {len(places)} places of the network")
    parent, child = places[0]
    parent._modules[child] = new


def numbers_of(step: Step, name: str, count: int) -> torch.Tensor:
    """The step's numbers as float64 [count].

    Raises:
        MalformedInput: there are more or fewer.
    """
    values = step.numbers[name]
    if len(values) != count:
        raise refusal(step, f"{len(values)} numbers {name}, expected {count}")
    return torch.tensor(values, dtype=torch.float64)


def variance_of(step: Step, count: int) -> torch.Tensor:
    """The numbers ``variance``, none of them negative."""
    variance = numbers_of(step, "variance", count)
    if bool((variance < 0).any()):
        raise refusal(step, "a variance is negative")
    return variance


def factor_of(step: Step) -> float:
    """The one positive number ``factor``."""
    factor = float(numbers_of(step, "factor", 1)[0])
    if not factor > 0:
        raise refusal(step, "its factor is not positive")
    return factor


def channels(layer: Layer) -> int:
    """Channels, or features, that the layer reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def zero_padding(layer: Layer) -> tuple[int, ...]:
    """Zeros that a convolution puts around its input, as ``torch.nn.functional.pad`` takes them; ``()`` for none."""
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return ()
    around = tuple(layer._reversed_padding_repeated_twice)
    return around if any(around) else ()


def without_padding(layer: Layer) -> None:
    """Take a convolution's own padding away."""
    assert not isinstance(layer, nn.Linear)
    layer.padding = (0,) * len(layer.kernel_size)  # type: ignore[assignment]  # typed for each dimension apart
    layer._reversed_padding_repeated_twice = [0] * (2 * len(layer.kernel_size))


def fold_shift(layer: Layer, mean: torch.Tensor, scale: torch.Tensor) -> None:
    """W′ = W·diag(scale), b′ = b + W·mean, so that the layer computes the same from (x − mean) / scale.

    Args:
        mean, scale: float64, one for each channel.
    """
    weight = layer.weight.double().cpu()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    outputs, inputs = weight.shape[:2]
    taps = weight.reshape(groups, outputs // groups, inputs, -1)
    centre, spread = mean.view(groups, 1, inputs), scale.view(groups, 1, inputs, 1)
    offset = (taps.sum(3) * centre).sum(2).flatten()
    layer.weight.copy_((taps * spread).reshape(weight.shape))
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(outputs).to(layer.weight), requires_grad=layer.weight.requires_grad)
    layer.bias.copy_(layer.bias.double().cpu() + offset)


def shifted(moments: FactorMoments, mean: torch.Tensor, scale: torch.Tensor) -> FactorMoments:
    """The moments once the layer reads (x − mean) / scale, padding included; Σ_g is the same.

    Σ′ = D (Σ − m μᵀ − μ mᵀ + m mᵀ) D with m the channels' means at every entry, D = diag(1 / scale).
    """
    groups = len(moments.mean)
    m = mean.view(groups, -1)[:, moments.channel]
    d = 1 / scale.view(groups, -1)[:, moments.channel]
    cross = m[:, :, None] * moments.mean[:, None, :]
    inputs = moments.inputs - cross - cross.mT + m[:, :, None] * m[:, None, :]
    return FactorMoments(
        inputs * d[:, :, None] * d[:, None, :],
        (moments.mean - m) * d,
        moments.measured * d.square(),
        moments.channel,
        moments.gradient,
    )


def unchanged_names(step: Step) -> Mapping[str, str]:
    """For operations that insert nothing."""
    return {}


def unchanged_tensors(tensors: dict[str, torch.Tensor], step: Step) -> None:
    """For operations that keep every name and shape."""


def move(tensors: dict[str, torch.Tensor], step: Step, old: str, new: str) -> None:
    """Give the tensor ``old`` the name ``new``.

    Raises:
        MalformedInput: there is none.
    """
    if old not in tensors:
        raise refusal(step, f"the file has no tensor {display_name(old, 80)!r}")
    if new in tensors:
        raise refusal(step, f"the file has a tensor {display_name(new, 80)!r}, which the step should have renamed")
    tensors[new] = tensors.pop(old)


def separate_layer(tensors: dict[str, torch.Tensor], step: Step, wrapped: str) -> None:
    """Give the tensors of the layer at ``wrapped`` the names that they had; a bias that the step made goes."""
    path = step.modules["layer"]
    move(tensors, step, f"{wrapped}.weight", f"{path}.weight")
    if step.numbers["new_bias"] and step.numbers["new_bias"][0]:
        tensors.pop(f"{wrapped}.bias", None)
    else:
        move(tensors, step, f"{wrapped}.bias", f"{path}.bias")
