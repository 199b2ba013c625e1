"""From names and shapes to a residual network's layout, and through the flat variant back to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcaudit.architectures._reading import Expected, Shapes, Unlike, fit, indices, side

if TYPE_CHECKING:  # shapes are read without torch
    from lcaudit.architectures._resnet import ResNet

#: What the last layer is called: the code bases' own names, then what those who replace it write.
HEADS = ("linear", "fc", "classifier", "head", "last_linear", "output", "final", "logits")
#: Neither code base goes beyond four stages; a fifth would be another network.
STAGES = (3, 4)


@dataclass(frozen=True, slots=True)
class Layout:
    """What distinguishes one residual network from another.

    Attributes:
        channels: of the input image.
        stem: kernel side of the first convolution; 7 has stride 2, 1 and 3 have stride 1.
        max_pool: whether a 3×3 max pooling of stride 2 follows the stem.
        stem_width: channels after the stem.
        blocks, widths: per stage; widths are those inside the block.
        expansion: output channels / inner width; with ``bottleneck`` the output comes from a third,
            1×1, convolution, otherwise it is 1.
        groups: of the 3×3 convolution in a bottleneck.
        option: ``A`` (no parameters: subsample, pad with zero channels) or ``B`` (1×1 convolution).
        shortcut, head: attribute names.
    """

    channels: int
    stem: int
    max_pool: bool
    stem_width: int
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool
    expansion: int
    groups: int
    option: str
    shortcut: str
    head: str
    classes: int


def read_layout(shapes: Shapes, max_pool: bool) -> Layout:
    """The layout whose tensors are exactly ``shapes``; ``max_pool`` leaves no trace and is given.

    Raises:
        Unlike: what differs.
    """
    stem_width, channels, stem = (side(shapes, "conv1.weight", axis, 4) for axis in (0, 1, 2))
    close = sum(key.startswith(("conv1.", "bn1.", "layer")) for key in shapes)
    try:
        stages = [index for index in indices(shapes, "layer") if index]
        if stages != list(range(1, len(stages) + 1)) or len(stages) not in STAGES:
            raise Unlike(f"it has {len(stages)} stages named layer1, layer2, …, expected 3 or 4")
        blocks = tuple(_consecutive(shapes, f"layer{stage}.") for stage in stages)
        if len(shapes) < 10 * sum(blocks):
            raise Unlike(f"{sum(blocks)} blocks would have at least {10 * sum(blocks)} tensors, not {len(shapes)}")
        widths = tuple(side(shapes, f"layer{stage}.0.conv1.weight", 0, 4) for stage in stages)
        bottleneck = "layer1.0.conv3.weight" in shapes
        outputs = side(shapes, "layer1.0.conv3.weight", 0, 4) if bottleneck else widths[0]
        shortcut = _only(shapes, ("shortcut", "downsample"), "shortcut") or "shortcut"
        projected = any(f".{shortcut}." in key for key in shapes)
        option = "B" if projected else "A"
        head = _only(shapes, HEADS, "last layer")
        if head is None:
            raise Unlike(
                "its last layer is not "
                + ", ".join(f"{name}.weight" for name in HEADS[:-1])
                + f" or {HEADS[-1]}.weight"
            )
        if outputs % widths[0]:
            raise Unlike(f"a block of width {widths[0]} gives {outputs} channels")
        layout = Layout(
            channels=channels,
            stem=stem,
            max_pool=max_pool,
            stem_width=stem_width,
            blocks=blocks,
            widths=widths,
            bottleneck=bottleneck,
            expansion=outputs // widths[0],
            groups=_groups(shapes, widths) if bottleneck else 1,
            option=option,
            shortcut=shortcut,
            head=head,
            classes=side(shapes, f"{head}.weight", 0, 2),
        )
        if option == "A":
            _check_padding(layout)
        fit(_expected(layout), shapes)
    except Unlike as reason:
        raise Unlike(reason.reason, max(reason.close, close)) from None
    return layout


def _expected(layout: Layout) -> Expected:
    """Names and shapes of :class:`lcaudit.architectures._resnet.ResNet`."""
    expected = Expected()
    expected.convolution("conv1", layout.channels, layout.stem_width, layout.stem)
    expected.batch_norm("bn1", layout.stem_width)
    inputs = layout.stem_width
    for stage, (count, width) in enumerate(zip(layout.blocks, layout.widths, strict=True)):
        outputs = width * layout.expansion
        for block in range(count):
            path = f"layer{stage + 1}.{block}"
            parts = [(1, inputs, width), (3, width, width), (1, width, outputs)]
            if not layout.bottleneck:
                parts = [(3, inputs, width), (3, width, outputs)]
            for part, (kernel, ins, outs) in enumerate(parts, 1):
                groups = layout.groups if layout.bottleneck and part == 2 else 1
                expected.convolution(f"{path}.conv{part}", ins, outs, kernel, groups)
                expected.batch_norm(f"{path}.bn{part}", outs)
            if layout.option == "B" and (inputs != outputs or (stage and not block)):
                expected.convolution(f"{path}.{layout.shortcut}.0", inputs, outputs, 1)
                expected.batch_norm(f"{path}.{layout.shortcut}.1", outputs)
            inputs = outputs
    expected.linear(layout.head, inputs, layout.classes)
    return expected


def _consecutive(shapes: Shapes, prefix: str) -> int:
    found = indices(shapes, prefix)
    if found != list(range(len(found))) or not found:
        raise Unlike(f"the blocks {prefix}N are not numbered 0, 1, 2, …")
    return len(found)


def _only(shapes: Shapes, names: tuple[str, ...], what: str) -> str | None:
    found = [name for name in names if any(name in key.split(".") for key in shapes)]
    if len(found) > 1:
        raise Unlike(f"it has two names for the {what}: {' and '.join(found)}")
    return found[0] if found else None


def _groups(shapes: Shapes, widths: tuple[int, ...]) -> int:
    share = side(shapes, "layer1.0.conv2.weight", 1, 4)
    groups = widths[0] // share
    if widths[0] % share or any(width % groups for width in widths):
        raise Unlike(f"layer1.0.conv2.weight reads {share} of {widths[0]} channels")
    return groups


def _check_padding(layout: Layout) -> None:
    """Option A is determined only where each stage adds as many zero channels before as after."""
    if layout.bottleneck:
        raise Unlike("its bottleneck blocks have no projection shortcut")
    before = (layout.stem_width, *layout.widths)
    for inputs, outputs in zip(before, layout.widths, strict=False):
        if outputs < inputs or (outputs - inputs) % 2:
            raise Unlike(f"no shortcut without parameters leads from {inputs} to {outputs} channels")
    if layout.stem_width != layout.widths[0]:
        raise Unlike("the stem and the first stage differ in width and there is no projection shortcut")


def to_variant(layout: Layout) -> dict[str, str | int | bool]:
    """The layout as scalars: stages are joined with ``-``."""
    return {
        "channels": layout.channels,
        "stem": layout.stem,
        "max_pool": layout.max_pool,
        "stem_width": layout.stem_width,
        "blocks": "-".join(map(str, layout.blocks)),
        "widths": "-".join(map(str, layout.widths)),
        "block": "bottleneck" if layout.bottleneck else "basic",
        "expansion": layout.expansion,
        "groups": layout.groups,
        "option": layout.option,
        "shortcut": layout.shortcut,
        "head": layout.head,
        "classes": layout.classes,
    }


def from_variant(variant: Mapping[str, str | int | bool]) -> ResNet:
    """Build the network that :func:`to_variant` described."""
    from lcaudit.architectures._resnet import ResNet

    return ResNet(
        Layout(
            channels=int(variant["channels"]),
            stem=int(variant["stem"]),
            max_pool=bool(variant["max_pool"]),
            stem_width=int(variant["stem_width"]),
            blocks=tuple(map(int, str(variant["blocks"]).split("-"))),
            widths=tuple(map(int, str(variant["widths"]).split("-"))),
            bottleneck=variant["block"] == "bottleneck",
            expansion=int(variant["expansion"]),
            groups=int(variant["groups"]),
            option=str(variant["option"]),
            shortcut=str(variant["shortcut"]),
            head=str(variant["head"]),
            classes=int(variant["classes"]),
        )
    )


def depth(layout: Layout) -> int:
    """Layers counted as the paper does: every convolution on the main path, and the last layer."""
    return (3 if layout.bottleneck else 2) * sum(layout.blocks) + 2
