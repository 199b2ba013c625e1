"""Plain ``nn.Sequential`` networks: keys ``0.weight``, ``2.weight``, …, also under one common prefix.

Linear layers, convolutions and batch norms are told apart by shape. A gap of one slot is an activation,
a gap of two between linear layers an activation and dropout. Which activation leaves no trace: ReLU is
assumed, and the confidence says so.

A network with convolutions is taken only where it ends in ``ReLU, Flatten, Linear``: the last layer's
inputs then give the image's side. Anything with pooling, strides or larger gaps is not determined by
its tensors and is left to ``--arch file.py:factory``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lcaudit.architectures._chain import ACTIVATION, Slot, expected_chain, write_chain
from lcaudit.architectures._reading import RIVAL, Reader, Shapes, Unlike, fit, indices
from lcaudit.core.measurements import Evidence
from lcaudit.core.text import count
from lcaudit.core.types import Family, Match

if TYPE_CHECKING:  # what is no chain is told without torch
    import torch

_PREFIX = re.compile(r"((?:[A-Za-z_]\w{0,60}\.)*)\d{1,6}\.\w+", re.ASCII)


def _read(shapes: Shapes) -> Match:
    prefixes = {match[1] if (match := _PREFIX.fullmatch(key)) else None for key in shapes}
    if len(prefixes) != 1 or None in prefixes:
        close = sum(_PREFIX.fullmatch(key) is not None for key in shapes) // 2
        raise Unlike("its keys are not one numbered chain such as 0.weight, 2.weight", close)
    (prefix,) = prefixes
    found = indices(shapes, prefix)
    try:
        slots = _fill([(index, _layer(shapes, f"{prefix}{index}.")) for index in found])
        variant: dict[str, str | int | bool] = {"prefix": prefix.removesuffix("."), "layers": write_chain(slots)}
        fit(expected_chain(prefix, slots), shapes)
    except Unlike as reason:
        raise Unlike(reason.reason, max(len(shapes) // 2, reason.close)) from None
    weighted = [slot for slot in slots if slot.kind in ("linear", "conv")]
    names = {"linear": "linear layer", "conv": "convolution"}
    kinds = [count(n, name) for kind, name in names.items() if (n := sum(slot.kind == kind for slot in weighted))]
    return Match(
        variant=variant,
        title=f"{'Convolutional network' if len(kinds) == 2 else 'Multilayer perceptron'} ({', '.join(kinds)})",
        input_shape=_input_shape(slots),
        classes=weighted[-1].outputs,
        evidence=(Evidence("slots", " ".join(slot.kind for slot in slots)), *_rivals(slots)),
        assumptions=_assumptions(slots),
    )


def _layer(shapes: Shapes, prefix: str) -> Slot:
    weight, bias = shapes.get(f"{prefix}weight", ()), f"{prefix}bias" in shapes
    if len(weight) == 2:
        return Slot("linear", weight[1], weight[0], bias=bias)
    if len(weight) == 4 and weight[2] == weight[3] and weight[2] % 2:
        return Slot("conv", weight[1], weight[0], weight[2], bias=bias)
    if len(weight) == 1 and f"{prefix}running_mean" in shapes:
        return Slot("norm", weight[0], weight[0], bias=bias)
    raise Unlike(f"{prefix.removesuffix('.')} is neither linear, nor a square odd convolution, nor a batch norm")


def _fill(layers: list[tuple[int, Slot]]) -> list[Slot]:
    """Put activations, dropout and flattening into the slots that hold no tensors."""
    slots: list[Slot] = []
    image, active = False, True  # whether maps flow here; whether an activation came since the last weight
    first = layers[0][1]
    if layers[-1][1].kind != "linear":
        raise Unlike("its last layer is not linear")
    for index, layer in layers:
        gap, previous = index - len(slots), slots[-1] if slots else None
        if previous is None:
            if gap == 1 and first.kind == "linear":
                slots.append(Slot("flatten"))
            elif gap:
                raise Unlike(f"{gap} slots without tensors come before its first layer")
        elif image and layer.kind == "linear":
            if gap != 2 or active:
                raise Unlike("between its convolutions and linear layers lies more than a ReLU and a flattening")
            slots += [Slot(ACTIVATION), Slot("flatten")]
        elif gap > (1 if image or layer.kind == "norm" else 2) or (gap and active):
            raise Unlike(f"{gap} slots without tensors before {index} can be several things")
        else:
            slots += [Slot(ACTIVATION), Slot("dropout")][:gap]
        active = any(slot.kind == ACTIVATION for slot in slots[-gap:]) if gap else active
        if layer.kind in ("linear", "conv"):
            image, active = layer.kind == "conv", False
        elif previous is None:
            image = any(later.kind == "conv" for _, later in layers[1:2])
        slots.append(
            Slot("norm2d", layer.inputs, layer.outputs, bias=layer.bias) if layer.kind == "norm" and image else layer
        )
    return slots


def _side(slots: list[Slot]) -> int:
    """Side of the image, from the linear layer that reads the last convolution's maps."""
    last = max(i for i, slot in enumerate(slots) if slot.kind == "conv")
    linear = next(slot for slot in slots[last:] if slot.kind == "linear")
    area, rest = divmod(linear.inputs, slots[last].outputs)
    length = round(area**0.5)
    if rest or length * length != area:
        raise Unlike("the linear layer after its convolutions does not read a square map")
    return length


def _input_shape(slots: list[Slot]) -> tuple[int, ...]:
    first = next(slot for slot in slots if slot.inputs)
    if not any(slot.kind == "conv" for slot in slots):
        return (first.inputs,)
    length = _side(slots)
    return (first.inputs, length, length)


def _rivals(slots: list[Slot]) -> tuple[Evidence, ...]:
    rivals = []
    if any(slot.kind == ACTIVATION for slot in slots):
        rivals.append(Evidence(RIVAL, "tanh, GELU and every other activation leave the same tensors as ReLU"))
    if any(slot.kind == "conv" for slot in slots):
        rivals.append(Evidence(RIVAL, "unpadded convolutions of larger images leave the same tensors as padded ones"))
    return tuple(rivals)


def _assumptions(slots: list[Slot]) -> tuple[str, ...]:
    said = []
    kinds = {slot.kind for slot in slots}
    if ACTIVATION in kinds:
        said.append("slots without tensors between layers are ReLU")
    if "dropout" in kinds:
        said.append("a second slot without tensors is dropout, which inference leaves out")
    if "conv" in kinds:
        said.append("convolutions have stride 1 and zeros on every side, so that maps keep their size")
    if kinds & {"norm", "norm2d"}:
        said.append("batch norm's ε is 1e-5")
    return (*said, "nothing but a softmax, which the loss contains, follows the last layer")


def _build(variant: Mapping[str, str | int | bool]) -> torch.nn.Module:
    from lcaudit.architectures._chain_modules import build_chain

    return build_chain(variant)


FAMILY = Family(title="Plain nn.Sequential networks", match=Reader(_read), build=_build)
