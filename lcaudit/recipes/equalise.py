"""One factor moved from a layer to the one that reads it through positively homogeneous functions.

f(s x) = s f(x) for s > 0, so W₂ f(W₁ x) = (W₂ / s) f(s W₁ x): the same function, but λmax of the first layer's
Fisher falls by s² and that of the second grows by it.
"""

from __future__ import annotations

from torch import nn

from lcaudit.core.recipe import Step
from lcaudit.core.types import FactorMoments
from lcaudit.recipes._base import Operation, factor_of, layer_at, refusal, unchanged_names, unchanged_tensors
from lcaudit.recipes.rescale import divide_gradient, multiply_input, scale_layer


def _apply(root: nn.Module, step: Step) -> None:
    layer, reader, factor = layer_at(root, step, "layer"), layer_at(root, step, "reader"), factor_of(step)
    if layer is reader:
        raise refusal(step, "a layer cannot be balanced with itself")
    scale_layer(layer, factor)
    bias = reader.bias  # the reader's bias is added after its weight acted
    kept = None if bias is None else bias.clone()
    scale_layer(reader, 1 / factor)
    if bias is not None and kept is not None:
        bias.copy_(kept)


def _predict(moments: dict[str, FactorMoments], step: Step) -> None:
    factor = factor_of(step)
    divide_gradient(moments, step.modules["layer"], factor)
    multiply_input(moments, step.modules["reader"], factor)


OPERATION = Operation(("layer", "reader"), ("factor",), _apply, unchanged_tensors, unchanged_names, _predict)
