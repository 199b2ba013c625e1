"""A batch norm before a layer, folded into its weights, so that the function stays the same.

γ = 1, β = 0, running statistics given. A convolution that pads with zeros gets a padding module of its own
before the norm: the borders are then normalised with everything else, and the function is the same there too.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from lcaudit.core.recipe import Step
from lcaudit.core.types import FactorMoments
from lcaudit.recipes._base import (
    Layer,
    Operation,
    channels,
    fold_shift,
    layer_at,
    numbers_of,
    put,
    refusal,
    separate_layer,
    shifted,
    variance_of,
    without_padding,
    zero_padding,
)

#: Of torch's batch norms.
EPS = 1e-5
_NORMS = {
    nn.Linear: nn.BatchNorm1d, nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d,
}  # fmt: skip
_PADS = {nn.Conv1d: nn.ZeroPad1d, nn.Conv2d: nn.ZeroPad2d, nn.Conv3d: nn.ZeroPad3d}
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def _apply(root: nn.Module, step: Step) -> None:
    layer = layer_at(root, step, "layer")
    number = channels(layer)
    mean, variance = numbers_of(step, "mean", number), variance_of(step, number)
    norm = _NORMS[type(layer)](number, eps=EPS, device=layer.weight.device, dtype=layer.weight.dtype)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.train(layer.training).requires_grad_(layer.weight.requires_grad)
    around = zero_padding(layer)
    _check_flags(step, layer, bool(around))
    # folded with the statistics as the norm holds them, rounding included
    fold_shift(layer, norm.running_mean.double().cpu(), (norm.running_var.double().cpu() + EPS).sqrt())
    parts: list[nn.Module] = [norm, layer]
    if around:
        pad = _PADS[type(layer)](around)
        without_padding(layer)
        parts.insert(0, pad)
    put(root, step.modules["layer"], step, nn.Sequential(*parts).train(layer.training))


def _check_flags(step: Step, layer: Layer, padded: bool) -> None:
    flags = (float(padded), float(layer.bias is None))
    if (float(numbers_of(step, "padded", 1)[0]), float(numbers_of(step, "new_bias", 1)[0])) != flags:
        raise refusal(step, "the layer's padding or bias is not what the recipe says")


def _places(step: Step) -> tuple[str, str]:
    """Paths of the norm and of the layer after the step."""
    path, padded = step.modules["layer"], bool(step.numbers["padded"] and step.numbers["padded"][0])
    return f"{path}.{int(padded)}", f"{path}.{1 + int(padded)}"


def _renamed(step: Step) -> Mapping[str, str]:
    return {step.modules["layer"]: _places(step)[1]}


def _separate(tensors: dict[str, torch.Tensor], step: Step) -> None:
    norm, layer = _places(step)
    for name in (*_NORM_TENSORS, "num_batches_tracked"):
        tensors.pop(f"{norm}.{name}", None)
    separate_layer(tensors, step, layer)


def _predict(moments: dict[str, FactorMoments], step: Step) -> None:
    path = step.modules["layer"]
    if path in moments:
        number = len(step.numbers["mean"])
        mean, variance = numbers_of(step, "mean", number), variance_of(step, number)
        moments[path] = shifted(moments[path], mean, (variance + EPS).sqrt())


OPERATION = Operation(("layer",), ("mean", "variance", "padded", "new_bias"), _apply, _separate, _renamed, _predict)
