"""The mean of what a layer reads subtracted before it and folded into its bias: the same function."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
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
    without_padding,
    zero_padding,
)


class Centred(nn.Module):
    """A layer that reads x − mean; the mean is stored with the weights and not learned.

    Attributes:
        around: zeros that are put around x first, so that borders are centred with the rest.
    """

    mean: torch.Tensor

    def __init__(self, layer: Layer, mean: torch.Tensor, around: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.layer, self.around = layer, around
        self.register_buffer("mean", mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer on the centred input."""
        if isinstance(self.layer, nn.Linear):
            return self.layer(x - self.mean)
        x = F.pad(x, self.around) if self.around else x
        return self.layer(x - self.mean.view(-1, *[1] * len(self.layer.kernel_size)))


def _apply(root: nn.Module, step: Step) -> None:
    layer = layer_at(root, step, "layer")
    mean = numbers_of(step, "mean", channels(layer)).to(layer.weight)
    if float(numbers_of(step, "new_bias", 1)[0]) != float(layer.bias is None):
        raise refusal(step, "the layer's bias is not what the recipe says")
    around = zero_padding(layer)
    fold_shift(layer, mean.double().cpu(), torch.ones(len(mean), dtype=torch.float64))
    if around:
        without_padding(layer)
    put(root, step.modules["layer"], step, Centred(layer, mean, around).train(layer.training))


def _renamed(step: Step) -> Mapping[str, str]:
    return {step.modules["layer"]: f"{step.modules['layer']}.layer"}


def _separate(tensors: dict[str, torch.Tensor], step: Step) -> None:
    path = step.modules["layer"]
    tensors.pop(f"{path}.mean", None)
    separate_layer(tensors, step, f"{path}.layer")


def _predict(moments: dict[str, FactorMoments], step: Step) -> None:
    path = step.modules["layer"]
    if path in moments:
        mean = numbers_of(step, "mean", len(step.numbers["mean"]))
        moments[path] = shifted(moments[path], mean, torch.ones_like(mean))


OPERATION = Operation(("layer",), ("mean", "new_bias"), _apply, _separate, _renamed, _predict)
