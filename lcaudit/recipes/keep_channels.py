"""Channels taken out that are never active: in the layer that makes them, its batch norm, and every reader."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import nn

from lcaudit.core.errors import LimitExceeded
from lcaudit.core.recipe import Step
from lcaudit.core.text import display_name
from lcaudit.core.types import FactorMoments
from lcaudit.recipes._base import Operation, batch_norm_at, channels, layer_at, numbers_of, refusal, unchanged_names

#: Channels of any layer, and how many times larger a tensor may become by putting them back.
_MOST_CHANNELS, _MOST_GROWTH = 2**20, 1000
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def _kept(step: Step) -> tuple[torch.Tensor, int]:
    """Kept channels, int64 ascending, and how many there were."""
    of = float(numbers_of(step, "of", 1)[0])
    kept = step.numbers["kept"]
    whole = all(number == int(number) for number in (*kept, of)) and 0 < of <= _MOST_CHANNELS
    ordered = all(a < b for a, b in pairwise(kept))
    if not whole or not ordered or not kept or kept[0] < 0 or kept[-1] >= of:
        raise refusal(step, "the kept channels are not ascending whole numbers below the number of channels")
    return torch.tensor([int(number) for number in kept]), int(of)


def _readers(step: Step) -> list[str]:
    return [role for role in sorted(step.modules) if role.startswith("reader")]


def _apply(root: nn.Module, step: Step) -> None:
    kept, of = _kept(step)
    layer = layer_at(root, step, "layer")
    readers = [layer_at(root, step, role) for role in _readers(step)]
    norms = [batch_norm_at(root, step, "normalisation")] if "normalisation" in step.modules else []
    ungrouped = all(isinstance(one, nn.Linear) or one.groups == 1 for one in (layer, *readers))
    fits = len(layer.weight) == of and all(channels(one) == of for one in readers)
    if not ungrouped or not fits or any(norm.num_features != of for norm in norms) or not readers:
        raise refusal(step, f"its layers do not share {of} channels without groups")
    _narrow(layer, "weight", kept, 0)
    _narrow(layer, "bias", kept, 0)
    setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(kept))
    for norm in norms:
        for key in _NORM_TENSORS:
            _narrow(norm, key, kept, 0)
        norm.num_features = len(kept)
    for reader in readers:
        _narrow(reader, "weight", kept, 1)
        setattr(reader, "in_features" if isinstance(reader, nn.Linear) else "in_channels", len(kept))


def _narrow(module: nn.Module, key: str, kept: torch.Tensor, axis: int) -> None:
    parameter, buffer = module._parameters.get(key), module._buffers.get(key)
    if parameter is not None:
        smaller = parameter.detach().index_select(axis, kept.to(parameter.device))
        module._parameters[key] = nn.Parameter(smaller, requires_grad=parameter.requires_grad)
    elif buffer is not None:
        module._buffers[key] = buffer.index_select(axis, kept.to(buffer.device))


def _separate(tensors: dict[str, torch.Tensor], step: Step) -> None:
    kept, of = _kept(step)
    if of > _MOST_GROWTH * len(kept):
        raise LimitExceeded(f"the recipe says that {len(kept)} of {of:,} channels were kept")
    layer, norm = step.modules["layer"], step.modules.get("normalisation")
    needed = {f"{layer}.weight": 0} | {f"{step.modules[role]}.weight": 1 for role in _readers(step)}
    others = [f"{layer}.bias"] + [f"{norm}.{key}" for key in _NORM_TENSORS if norm]
    for key, axis in (needed | dict.fromkeys(others, 0)).items():
        if key not in tensors and key not in needed:
            continue
        if key not in tensors:
            raise refusal(step, f"the file has no tensor {display_name(key, 80)!r}")
        small = tensors[key]
        if small.dim() <= axis or small.shape[axis] != len(kept):
            raise refusal(step, f"{display_name(key, 80)} does not have {len(kept)} channels")
        shape = list(small.shape)
        shape[axis] = of
        if torch.Size(shape).numel() > max(2**24, _MOST_GROWTH * small.numel()):
            raise LimitExceeded(f"the recipe asks for {display_name(key, 80)} with {of:,} channels")
        tensors[key] = small.new_zeros(shape).index_copy(axis, kept, small)


def _predict(moments: dict[str, FactorMoments], step: Step) -> None:
    kept, of = _kept(step)
    layer = step.modules["layer"]
    if layer in moments:
        one = moments[layer]
        moments[layer] = replace(one, gradient=one.gradient[:, kept][:, :, kept])
    place = torch.full((of,), -1)
    place[kept] = torch.arange(len(kept))
    for role in _readers(step):
        name = step.modules[role]
        if name in moments:
            one = moments[name]
            entries = torch.nonzero(place[one.channel] >= 0).flatten()
            moments[name] = FactorMoments(
                one.inputs[:, entries][:, :, entries],
                one.mean[:, entries],
                one.measured[:, entries],
                place[one.channel[entries]],
                one.gradient,
            )


OPERATION = Operation(
    ("layer", "normalisation*", "reader*"), ("kept", "of"), _apply, _separate, unchanged_names, _predict
)
