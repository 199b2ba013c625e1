"""CIFAR-style residual networks: a 3×3 stem, three or four stages, global average pooling.

Recognised by the names ``conv1 bn1 layer1…layer4`` and ``linear``, ``fc`` or another usual name, any number of
blocks, width, input channels and classes. Names and shapes of the public code bases tell the rest apart:

- ``shortcut`` and ``linear``, or no shortcut tensors and ``linear``: akamaster/pytorch_resnet_cifar10
  (three stages, option A: every second pixel, half of the new zero channels on each side) and
  kuangliu/pytorch-cifar (four stages, option B);
- ``downsample`` and ``fc`` with three stages: bearpaw/pytorch-classification and
  chenyaofo/pytorch-cifar-models.

A 7×7 stem is the ImageNet network, another family. Four stages with ``downsample`` and ``fc`` exist with
and without a max pooling after the stem, under the same names: see ``resnet_torchvision``.

Source: He, Zhang, Ren and Sun 2016, section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lcaudit.architectures._reading import RIVAL, Reader, Shapes, Unlike, side
from lcaudit.architectures._resnet_reading import depth, from_variant, read_layout, to_variant
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

if TYPE_CHECKING:
    from lcaudit.architectures._resnet_reading import Layout

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
#: (stages, option, shortcut, head) → who writes it, and (mean, std) of its CIFAR-10 training code.
#: Option A has no shortcut tensors, so their name is the default.
_CODE_BASES = {
    (3, "A", "shortcut", "linear"): ("akamaster/pytorch_resnet_cifar10", _IMAGENET),
    (4, "B", "shortcut", "linear"): ("kuangliu/pytorch-cifar", _CIFAR),
    (3, "B", "downsample", "fc"): ("bearpaw/pytorch-classification", _CIFAR),
}


def _read(shapes: Shapes) -> Match:
    stem = side(shapes, "conv1.weight", 2, 4)
    if stem != 3:
        raise Unlike(f"its stem is {stem}×{stem}, expected 3×3", close=1)
    layout = read_layout(shapes, max_pool=False)
    code_base, statistics = _CODE_BASES.get(
        (len(layout.blocks), layout.option, layout.shortcut, layout.head), ("", None)
    )
    return Match(
        variant=to_variant(layout),
        title=_title(layout),
        input_shape=(3, 32, 32) if layout.channels == 3 else (layout.channels, 0, 0),
        classes=layout.classes,
        evidence=(
            Evidence("keys", f"stages of {_joined(layout.blocks)} blocks, widths {_joined(layout.widths)}"),
            *_provenance(layout, code_base),
        ),
        assumptions=_assumptions(layout),
        normalisation=_normalisation(layout, code_base, statistics),
    )


def _title(layout: Layout) -> str:
    shortcut = f"option {layout.option} shortcuts"
    return f"ResNet-{depth(layout)} (CIFAR, {shortcut}, width {layout.widths[0]})"


def _joined(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _provenance(layout: Layout, code_base: str) -> tuple[Evidence, ...]:
    if code_base:
        return (Evidence("code base", f"{code_base} writes these names; public code with them computes one function"),)
    if (len(layout.blocks), layout.shortcut, layout.head) == (4, "downsample", "fc"):
        return (Evidence("code base", "torchvision's names with a 3×3 stem, taken without max pooling"),)
    says = "no known code base writes these names together"
    if layout.option == "A":
        says += "; others put all zero channels of the shortcut last, or average instead of subsampling"
    return (Evidence(RIVAL, says),)


def _assumptions(layout: Layout) -> tuple[str, ...]:
    shortcut = (
        "shortcuts without parameters take every second pixel and put half of the zero channels on each side"
        if layout.option == "A"
        else "projection shortcuts stride like their block"
    )
    strided = "3×3 convolution" if layout.bottleneck else "first convolution"
    return (
        "the stem has stride 1 and no pooling follows it",
        f"the first stage has stride 1, every later one 2, at the {strided} of its first block",
        "3×3 convolutions are padded with one zero on every side",
        shortcut,
        "ReLU after every batch norm but a block's last, and after every sum; batch norm's ε is 1e-5",
        "global average pooling precedes the last layer",
    )


def _normalisation(
    layout: Layout, code_base: str, statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> dict[str, Normalisation]:
    if statistics is None or layout.channels != 3:
        return {}
    mean, std = statistics
    kind = "ImageNet's statistics" if statistics is _IMAGENET else "the CIFAR-10 statistics in common use"
    return {"cifar10": Normalisation(mean, std, f"{kind}, as in the training code of {code_base}")}


FAMILY = Family(title="CIFAR-style residual networks", match=Reader(_read), build=from_variant)
