"""Densely connected networks for CIFAR: a 3×3 stem, ``dense1``, ``trans1``, ``dense2``, …, a last ``bn``.

Two code bases write these blocks, and stack a layer's new channels on different sides of the old ones, which no shape
shows; the names of the transitions and of the last layer do:

- ``trans1.bn trans1.conv`` and ``linear``: kuangliu/pytorch-cifar, new channels first;
- ``trans1.bn1 trans1.conv1`` and ``fc``: bearpaw/pytorch-classification, new channels last.

A layer has one 3×3 convolution, or a 1×1 and a 3×3 one; depth, growth, reduction and classes follow from shapes.

Source: Huang, Liu, van der Maaten and Weinberger 2017, "Densely connected convolutional networks", section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lcaudit.architectures._reading import Expected, Reader, Shapes, Unlike, fit, indices, side
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

if TYPE_CHECKING:  # shapes are read without torch
    from lcaudit.architectures._densenet import DenseNet

Variant = Mapping[str, str | int | bool]
#: Last layer's name → names of a transition's batch norm and convolution, and who writes them.
NAMINGS = {
    "linear": ("bn", "conv", "kuangliu/pytorch-cifar"),
    "fc": ("bn1", "conv1", "bearpaw/pytorch-classification"),
}
_STAGES = (3, 4)


def _read(shapes: Shapes) -> Match:
    close = sum(key.startswith(("dense", "trans")) for key in shapes)
    try:
        return _read_blocks(shapes)
    except Unlike as reason:
        raise Unlike(reason.reason, max(reason.close, close)) from None


def _read_blocks(shapes: Shapes) -> Match:
    heads = [head for head in NAMINGS if f"{head}.weight" in shapes]
    stages = [stage for stage in range(1, 6) if f"dense{stage}.0.bn1.weight" in shapes]
    if stages != list(range(1, len(stages) + 1)) or len(stages) not in _STAGES:
        raise Unlike(f"it has {len(stages)} blocks named dense1, dense2, …, expected 3 or 4")
    if len(heads) != 1:
        raise Unlike("its last layer is named neither linear nor fc, or there are both")
    norm, conv, code_base = NAMINGS[heads[0]]
    layers = [indices(shapes, f"dense{stage}.") for stage in stages]
    if any(found != list(range(len(found))) for found in layers):
        raise Unlike("its layers are not numbered 0, 1, 2, …")
    if len(shapes) < 5 * sum(map(len, layers)):
        raise Unlike(f"{sum(map(len, layers))} layers would have at least 5 tensors each, not {len(shapes)} in all")
    twice = "dense1.0.conv2.weight" in shapes
    variant: dict[str, str | int | bool] = {
        "channels": side(shapes, "conv1.weight", 1, 4),
        "stem_width": side(shapes, "conv1.weight", 0, 4),
        "blocks": "-".join(str(len(found)) for found in layers),
        "growth": side(shapes, f"dense1.0.conv{2 if twice else 1}.weight", 0, 4),
        "inner": side(shapes, "dense1.0.conv1.weight", 0, 4) if twice else 0,
        "transitions": "-".join(str(side(shapes, f"trans{stage}.{conv}.weight", 0, 4)) for stage in stages[:-1]),
        "head": heads[0],
        "classes": side(shapes, f"{heads[0]}.weight", 0, 2),
    }
    fit(_expected(variant), shapes)
    depth = (2 if twice else 1) * sum(map(len, layers)) + len(stages) + 1
    source = f"the CIFAR-10 statistics in common use, as in the training code of {code_base}"
    normalisation = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), source)
    return Match(
        variant=variant,
        title=f"DenseNet-{depth} (CIFAR, growth {variant['growth']})",
        input_shape=(3, 32, 32) if variant["channels"] == 3 else (int(variant["channels"]), 0, 0),
        classes=int(variant["classes"]),
        evidence=(
            Evidence("keys", f"blocks of {variant['blocks']} layers, growth {variant['growth']}"),
            Evidence("code base", f"{code_base} writes the names {norm}, {conv} in transitions, and {heads[0]}"),
        ),
        assumptions=(
            "the stem has stride 1 and no pooling follows it",
            f"a layer's new channels come {'before' if heads[0] == 'linear' else 'after'} the old ones",
            "3×3 convolutions are padded with one zero on every side; batch norm's ε is 1e-5",
            "ReLU after every batch norm, 2×2 average pooling after every transition",
            "global average pooling precedes the last layer",
        ),
        normalisation={"cifar10": normalisation} if variant["channels"] == 3 else {},
    )


def _expected(variant: Variant) -> Expected:
    """Names and shapes of :class:`lcaudit.architectures._densenet.DenseNet`."""
    expected = Expected()
    width, growth, inner = int(variant["stem_width"]), int(variant["growth"]), int(variant["inner"])
    norm, conv, _ = NAMINGS[str(variant["head"])]
    reduced = [int(number) for number in str(variant["transitions"]).split("-")]
    expected.convolution("conv1", int(variant["channels"]), width, 3)
    for stage, count in enumerate(map(int, str(variant["blocks"]).split("-")), 1):
        for layer in range(count):
            path = f"dense{stage}.{layer}"
            expected.batch_norm(f"{path}.bn1", width)
            if inner:
                expected.convolution(f"{path}.conv1", width, inner, 1)
                expected.batch_norm(f"{path}.bn2", inner)
                expected.convolution(f"{path}.conv2", inner, growth, 3)
            else:
                expected.convolution(f"{path}.conv1", width, growth, 3)
            width += growth
        if stage <= len(reduced):
            expected.batch_norm(f"trans{stage}.{norm}", width)
            expected.convolution(f"trans{stage}.{conv}", width, reduced[stage - 1], 1)
            width = reduced[stage - 1]
    expected.batch_norm("bn", width)
    expected.linear(str(variant["head"]), width, int(variant["classes"]))
    return expected


def _build(variant: Variant) -> DenseNet:
    from lcaudit.architectures._densenet import DenseNet

    return DenseNet(variant)


FAMILY = Family(title="Densely connected networks for CIFAR", match=Reader(_read), build=_build)
