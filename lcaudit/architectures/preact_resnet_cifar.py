"""CIFAR-style residual networks with pre-activation: batch norm and ReLU come before each convolution.

Recognised by blocks whose first batch norm reads the block's input, under two namings:

- ``shortcut`` and ``linear`` without a batch norm at the end: kuangliu/pytorch-cifar, whose shortcuts read the
  normalised input;
- ``downsample``, ``fc`` and a last batch norm ``bn``: bearpaw/pytorch-classification, whose shortcuts read the raw one.

``shortcut``, ``linear`` and a last ``bn`` are used by code derived from the first; that its shortcuts do as there is
assumed.

Source: He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks".
"""

from __future__ import annotations

from lcaudit.architectures._preact import assumptions, build, depth, read_layout, to_variant
from lcaudit.architectures._reading import RIVAL, Reader, Shapes
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

_CODE_BASES = {"kuangliu": "kuangliu/pytorch-cifar", "bearpaw": "bearpaw/pytorch-classification"}
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def _read(shapes: Shapes) -> Match:
    layout = read_layout(shapes, ("kuangliu", "kuangliu with last norm", "bearpaw"))
    code_base = _CODE_BASES.get(layout.naming, "")
    if code_base:
        provenance = Evidence("code base", f"{code_base} writes these names")
    else:
        provenance = Evidence(RIVAL, "several code bases write these names; shortcuts may read the raw input")
    source = f"the CIFAR-10 statistics in common use, as in the training code of {code_base}"
    return Match(
        variant=to_variant(layout),
        title=f"Pre-activation ResNet-{depth(layout, 2)} (CIFAR, width {layout.widths.partition('-')[0]})",
        input_shape=(3, 32, 32) if layout.channels == 3 else (layout.channels, 0, 0),
        classes=layout.classes,
        evidence=(Evidence("keys", f"stages of {layout.blocks} blocks, widths {layout.widths}"), provenance),
        assumptions=assumptions(layout),
        normalisation={"cifar10": Normalisation(*_CIFAR, source)} if code_base and layout.channels == 3 else {},
    )


FAMILY = Family(title="CIFAR-style residual networks with pre-activation", match=Reader(_read), build=build)
