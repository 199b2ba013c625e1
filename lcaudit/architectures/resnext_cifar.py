"""ResNeXt for CIFAR under the names of kuangliu/pytorch-cifar: a 1×1 stem, three stages of grouped bottlenecks.

``conv1 bn1 layer1…layer3`` with ``shortcut`` and ``linear``; groups, widths, depth and classes follow from the
shapes. Others write the same networks with a 3×3 stem or other names: these are other families.

Source: Xie, Girshick, Dollár, Tu and He 2017, "Aggregated residual transformations", section 5.2.
"""

from __future__ import annotations

from lcaudit.architectures._reading import Reader, Shapes, Unlike, side
from lcaudit.architectures._resnet_reading import depth, from_variant, read_layout, to_variant
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

_NORMALISATION = Normalisation(
    (0.4914, 0.4822, 0.4465),
    (0.2023, 0.1994, 0.2010),
    "the CIFAR-10 statistics in common use, as in the training code of kuangliu/pytorch-cifar",
)


def _read(shapes: Shapes) -> Match:
    stem = side(shapes, "conv1.weight", 2, 4)
    if stem != 1:
        raise Unlike(f"its stem is {stem}×{stem}, expected 1×1", close=1)
    layout = read_layout(shapes, max_pool=False)
    if (layout.bottleneck, layout.shortcut, layout.head, layout.option) != (True, "shortcut", "linear", "B"):
        raise Unlike("expected bottleneck blocks with projection shortcuts named shortcut, and linear", close=1)
    width = layout.widths[0] // layout.groups
    return Match(
        variant=to_variant(layout),
        title=f"ResNeXt-{depth(layout)} ({layout.groups}×{width}d, CIFAR, 1×1 stem)",
        input_shape=(3, 32, 32) if layout.channels == 3 else (layout.channels, 0, 0),
        classes=layout.classes,
        evidence=(
            Evidence("keys", f"1×1 stem, blocks {'-'.join(map(str, layout.blocks))}, {layout.groups} groups"),
            Evidence("code base", "kuangliu/pytorch-cifar writes these names"),
        ),
        assumptions=(
            "the stem has stride 1 and no pooling follows it",
            "the first stage has stride 1, every later one 2, at the 3×3 convolution of its first block",
            "ReLU after every batch norm but a block's last, and after every sum; batch norm's ε is 1e-5",
            "global average pooling precedes the last layer",
        ),
        normalisation={"cifar10": _NORMALISATION} if layout.channels == 3 else {},
    )


FAMILY = Family(title="ResNeXt for CIFAR with a 1×1 stem", match=Reader(_read), build=from_variant)
