"""MobileNetV2 for CIFAR under the names of kuangliu/pytorch-cifar: ``layers.N``, ``conv2``, ``bn2``, ``linear``.

Each block expands (1×1), filters every channel by itself (3×3) and projects (1×1). A block of stride 1 adds its input,
through a 1×1 convolution where channels change; a block of stride 2 adds nothing. So a change of channels without a
shortcut's tensors shows a stride of 2. Where channels do not change the stride is taken as 1. torchvision's
MobileNetV2 has other names; chenyaofo/pytorch-cifar-models has torchvision's names and other strides: neither is this.

Source: Sandler, Howard, Zhu, Zhmoginov and Chen 2018, "MobileNetV2", table 2, with the strides of the code base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lcaudit.architectures._reading import Expected, Reader, Shapes, Unlike, fit, indices, side
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

if TYPE_CHECKING:  # shapes are read without torch
    from lcaudit.architectures._mobilenet_v2 import MobileNetV2

Variant = Mapping[str, str | int | bool]
_NORMALISATION = Normalisation(
    (0.4914, 0.4822, 0.4465),
    (0.2023, 0.1994, 0.2010),
    "the CIFAR-10 statistics in common use, as in the training code of kuangliu/pytorch-cifar",
)


def _read(shapes: Shapes) -> Match:
    close = sum(key.startswith("layers.") for key in shapes)
    try:
        return _read_blocks(shapes)
    except Unlike as reason:
        raise Unlike(reason.reason, max(reason.close, close // 2)) from None


def _read_blocks(shapes: Shapes) -> Match:
    found = indices(shapes, "layers.")
    if not found or found != list(range(len(found))):
        raise Unlike("it has no blocks named layers.0, layers.1, …")
    if len(shapes) < 15 * len(found):
        raise Unlike(f"{len(found)} blocks would have at least 15 tensors each, not {len(shapes)} in all")
    width, blocks = side(shapes, "conv1.weight", 0, 4), []
    for index in found:
        inner = side(shapes, f"layers.{index}.conv1.weight", 0, 4)
        outputs = side(shapes, f"layers.{index}.conv3.weight", 0, 4)
        stride = 2 if outputs != width and f"layers.{index}.shortcut.0.weight" not in shapes else 1
        blocks.append(f"{inner}-{outputs}-{stride}")
        width = outputs
    variant: dict[str, str | int | bool] = {
        "channels": side(shapes, "conv1.weight", 1, 4),
        "stem_width": side(shapes, "conv1.weight", 0, 4),
        "blocks": " ".join(blocks),
        "last": side(shapes, "conv2.weight", 0, 4),
        "classes": side(shapes, "linear.weight", 0, 2),
    }
    fit(_expected(variant), shapes)
    halved = sum(block.endswith("-2") for block in blocks)
    return Match(
        variant=variant,
        title=f"MobileNetV2 (CIFAR, {len(blocks)} blocks, {halved} of stride 2)",
        input_shape=(3, 32, 32) if variant["channels"] == 3 else (int(variant["channels"]), 0, 0),
        classes=int(variant["classes"]),
        evidence=(
            Evidence("keys", f"{len(blocks)} blocks; {halved} change channels without a shortcut's tensors: stride 2"),
            Evidence("code base", "kuangliu/pytorch-cifar writes these names"),
        ),
        assumptions=(
            "the stem has stride 1 and no pooling follows it",
            "blocks that keep their channels have stride 1; strides are at the 3×3 convolution",
            "3×3 convolutions are padded with one zero on every side; batch norm's ε is 1e-5",
            "ReLU after every batch norm but a block's last",
            "global average pooling precedes the last layer",
        ),
        normalisation={"cifar10": _NORMALISATION} if variant["channels"] == 3 else {},
    )


def _expected(variant: Variant) -> Expected:
    """Names and shapes of :class:`lcaudit.architectures._mobilenet_v2.MobileNetV2`."""
    expected = Expected()
    width, last = int(variant["stem_width"]), int(variant["last"])
    expected.convolution("conv1", int(variant["channels"]), width, 3)
    expected.batch_norm("bn1", width)
    for index, block in enumerate(str(variant["blocks"]).split()):
        inner, outputs, stride = map(int, block.split("-"))
        path = f"layers.{index}"
        expected.convolution(f"{path}.conv1", width, inner, 1)
        expected.batch_norm(f"{path}.bn1", inner)
        expected.convolution(f"{path}.conv2", inner, inner, 3, groups=inner)
        expected.batch_norm(f"{path}.bn2", inner)
        expected.convolution(f"{path}.conv3", inner, outputs, 1)
        expected.batch_norm(f"{path}.bn3", outputs)
        if stride == 1 and width != outputs:
            expected.convolution(f"{path}.shortcut.0", width, outputs, 1)
            expected.batch_norm(f"{path}.shortcut.1", outputs)
        width = outputs
    expected.convolution("conv2", width, last, 1)
    expected.batch_norm("bn2", last)
    expected.linear("linear", last, int(variant["classes"]))
    return expected


def _build(variant: Variant) -> MobileNetV2:
    from lcaudit.architectures._mobilenet_v2 import MobileNetV2

    return MobileNetV2(variant)


FAMILY = Family(title="MobileNetV2 for CIFAR", match=Reader(_read), build=_build)
