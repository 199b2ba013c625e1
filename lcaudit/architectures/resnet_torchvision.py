"""Residual networks under torchvision's names, with the max pooling after the stem; the head's may be another.

A 7×7 stem of stride 2 and 3×3 max pooling is the ImageNet network (ResNet-18 to -152, wide ResNet,
ResNeXt). With a 3×3 stem the same names are used by code that keeps the max pooling
(huyvnphan/PyTorch_CIFAR10) and by code that removes it; no tensor tells, and the outputs differ. The
second kind is ``resnet_cifar``, so that both match and the user has to choose.

Source: He, Zhang, Ren and Sun 2016, table 1; Xie et al. 2017 (groups); stride on the 3×3 convolution of
a bottleneck as in torchvision.
"""

from __future__ import annotations

from lcaudit.architectures._reading import RIVAL, Reader, Shapes, Unlike, of_imagenet, side
from lcaudit.architectures._resnet_reading import depth, from_variant, read_layout, to_variant
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

#: By side of the stem: data set, and what the training code with this stem does to it.
_NORMALISATION = {
    7: (
        "imagenet",
        Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet's statistics, as in torchvision"),
    ),
    3: (
        "cifar10",
        Normalisation(
            (0.4914, 0.4822, 0.4465),
            (0.2471, 0.2435, 0.2616),
            "CIFAR-10's statistics, as in the training code of huyvnphan/PyTorch_CIFAR10",
        ),
    ),
}


def _read(shapes: Shapes) -> Match:
    stem = side(shapes, "conv1.weight", 2, 4)
    if stem not in (3, 7):
        raise Unlike(f"its stem is {stem}×{stem}, expected 7×7 or 3×3", close=1)
    layout = read_layout(shapes, max_pool=True)
    if (len(layout.blocks), layout.shortcut, layout.option) != (4, "downsample", "B") or layout.head == "linear":
        raise Unlike("expected four stages with projection shortcuts named downsample, and fc", close=1)
    imagenet = stem == 7
    rival = Evidence(RIVAL, "timm's anti-aliased ResNets have the same tensors and blur where they subsample")
    stem_says = "7×7 stem of stride 2" if imagenet else "3×3 stem of stride 1"
    dataset, statistics = _NORMALISATION[stem]
    name = "ResNeXt" if layout.groups > 1 else "ResNet"
    return Match(
        variant=to_variant(layout),
        title=f"{name}-{depth(layout)} ({'ImageNet' if imagenet else '3×3'} stem with max pooling)",
        input_shape=(layout.channels, 224, 224) if imagenet else (layout.channels, 32, 32),
        classes=layout.classes,
        evidence=(
            Evidence("keys", f"torchvision's names, {stem_says}, blocks {'-'.join(map(str, layout.blocks))}"),
            *((rival,) if imagenet else ()),
        ),
        assumptions=(
            f"{stem_says}, followed by 3×3 max pooling of stride 2",
            "the first stage has stride 1, every later one 2, at the first 3×3 convolution of its first block",
            "ReLU after every batch norm but a block's last, and after every sum; batch norm's ε is 1e-5",
            "subsampling without a blur, global average pooling",
        ),
        normalisation={dataset: statistics} if layout.channels == 3 else {},
        shaping=of_imagenet(statistics.source) if imagenet and layout.channels == 3 else None,
    )


FAMILY = Family(title="Residual networks under torchvision's names", match=Reader(_read), build=from_variant)
