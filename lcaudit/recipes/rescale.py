"""The weight and bias of a layer that a normalisation follows, times one factor: the normalisation undoes it.

A batch norm's running statistics follow exactly: mean′ = s·mean, variance′ = s²(variance + ε) − ε, not below 0. Other
normalisations take theirs from the sample, and only their ε sees the factor.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.core.recipe import Step
from lcaudit.core.types import FactorMoments
from lcaudit.recipes._base import (
    Layer,
    Operation,
    batch_norm_at,
    factor_of,
    layer_at,
    module_at,
    refusal,
    unchanged_names,
    unchanged_tensors,
)


def scale_layer(layer: Layer, factor: float) -> None:
    """Weight and bias times ``factor``, rounded once."""
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.copy_(parameter.double() * factor if parameter.device.type != "mps" else parameter * factor)


def _apply(root: nn.Module, step: Step) -> None:
    layer, factor = layer_at(root, step, "layer"), factor_of(step)
    norm = module_at(root, step, "normalisation")
    if isinstance(norm, _BatchNorm):
        norm = batch_norm_at(root, step, "normalisation")
        assert norm.running_mean is not None and norm.running_var is not None, "asked for one with statistics"
        variance = factor**2 * (norm.running_var.double() + norm.eps) - norm.eps
        variance = variance.clamp_min(0)  # of channels that hardly vary: the probe shows whether it matters
        norm.running_mean.copy_(norm.running_mean.double() * factor)
        norm.running_var.copy_(variance)
    elif not isinstance(norm, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
        raise refusal(step, f"a {type(norm).__name__} is no normalisation that undoes a factor")
    scale_layer(layer, factor)


def divide_gradient(moments: dict[str, FactorMoments], name: str, factor: float) -> None:
    """Σ_g / factor² of one layer, if its moments are known."""
    if name in moments:
        moments[name] = replace(moments[name], gradient=moments[name].gradient / factor**2)


def _predict(moments: dict[str, FactorMoments], step: Step) -> None:
    divide_gradient(moments, step.modules["layer"], factor_of(step))


def multiply_input(moments: dict[str, FactorMoments], name: str, factor: float) -> None:
    """Σ_x · factor² and μ · factor of one layer, if its moments are known."""
    if name in moments:
        one: FactorMoments = moments[name]
        scaled: dict[str, torch.Tensor] = {
            "inputs": one.inputs * factor**2, "measured": one.measured * factor**2, "mean": one.mean * factor,
        }  # fmt: skip
        moments[name] = replace(one, **scaled)


OPERATION = Operation(
    ("layer", "normalisation"), ("factor",), _apply, unchanged_tensors, unchanged_names, _predict
)  # fmt: skip
