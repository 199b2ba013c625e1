"""Wide residual networks for CIFAR: ``block1…block3`` with ``convShortcut``, a last ``bn1`` and ``fc``.

The naming of xternalz/WideResNet-pytorch, bearpaw/pytorch-classification and much code derived from them. A shortcut's
convolution reads the block's normalised input. Dropout inside the blocks leaves no trace and evaluation leaves it out.
The code bases normalise differently, so none of theirs is taken for granted.

Source: Zagoruyko and Komodakis 2016, "Wide residual networks", table 1: depth 6n + 4, width 16, 32k and 64k.
"""

from __future__ import annotations

from lcaudit.architectures._preact import assumptions, build, depth, read_layout, to_variant
from lcaudit.architectures._reading import Reader, Shapes
from lcaudit.core.measurements import Evidence
from lcaudit.core.types import Family, Match


def _read(shapes: Shapes) -> Match:
    layout = read_layout(shapes, ("wide",))
    first = int(layout.widths.partition("-")[0])
    factor = first // layout.stem_width if first % layout.stem_width == 0 else 0
    wide = f"WRN-{depth(layout, 4)}-{factor}" if factor else f"Wide ResNet-{depth(layout, 4)}"
    return Match(
        variant=to_variant(layout),
        title=f"{wide} (CIFAR, widths {layout.widths})",
        input_shape=(3, 32, 32) if layout.channels == 3 else (layout.channels, 0, 0),
        classes=layout.classes,
        evidence=(
            Evidence("keys", f"stages of {layout.blocks} blocks, widths {layout.widths}"),
            Evidence("code base", "xternalz/WideResNet-pytorch and bearpaw/pytorch-classification write these names"),
        ),
        assumptions=assumptions(layout),
    )


FAMILY = Family(title="Wide residual networks for CIFAR", match=Reader(_read), build=build)
