"""Residual networks with normalisation and ReLU before each convolution, in the key namings of public code bases.

A block adds to its input, or to a 1×1 convolution of it, what two or three convolutions make of it. Code bases differ
in names, in whether the shortcut's convolution reads the raw or the normalised input, and in whether a batch
norm and a ReLU follow the last block.

Source: He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks", figure 1b; Zagoruyko and Komodakis
2016, "Wide residual networks", table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lcaudit.architectures._reading import Expected, Shapes, Unlike, fit, indices, side

if TYPE_CHECKING:  # shapes are read without torch
    from lcaudit.architectures._preact_modules import PreActResNet


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of one code base. ``stage``: with a place for its number; ``last``: of the batch norm after the last block,
    ``""`` for none. ``raw``: whether the shortcut's convolution reads the block's input as it is."""

    stage: str
    shortcut: str
    last: str
    head: str
    raw: bool


NAMINGS = {
    "kuangliu": Naming("layer{}", "shortcut.0", "", "linear", raw=False),
    "kuangliu with last norm": Naming("layer{}", "shortcut.0", "bn", "linear", raw=False),
    "bearpaw": Naming("layer{}", "downsample.0", "bn", "fc", raw=True),
    "wide": Naming("block{}.layer", "convShortcut", "bn1", "fc", raw=False),
}
_STAGES = (3, 4)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is read off the shapes; stages are joined with ``-``, as in a variant."""

    naming: str
    channels: int
    stem_width: int
    blocks: str
    widths: str
    bottleneck: bool
    expansion: int
    classes: int


def numbers(joined: str) -> list[int]:
    """``"2-2-2"`` → 2, 2, 2."""
    return [int(number) for number in joined.split("-")]


def read_layout(shapes: Shapes, names: tuple[str, ...]) -> Layout:
    """The layout, in one of the namings, whose tensors are exactly ``shapes``.

    Raises:
        Unlike: what keeps them from being the likeliest naming's.
    """
    naming = max(names, key=lambda name: _likeness(shapes, NAMINGS[name]))
    known = NAMINGS[naming]
    close = sum(key.startswith(("conv1.", known.stage.partition("{")[0])) for key in shapes)
    try:
        return _read(shapes, naming, known)
    except Unlike as reason:
        raise Unlike(reason.reason, max(reason.close, close // 2)) from None


def _likeness(shapes: Shapes, naming: Naming) -> int:
    wanted = (f"{naming.head}.weight", f"{naming.last}.weight" if naming.last else "")
    others = {f"{one.last}.weight" for one in NAMINGS.values() if one.last} - set(wanted)
    return sum(key in shapes for key in wanted if key) - sum(key in shapes for key in others)


def _read(shapes: Shapes, naming: str, known: Naming) -> Layout:
    if side(shapes, "conv1.weight", 2, 4) != 3:
        raise Unlike("its stem is not 3×3", close=1)
    stages = [stage for stage in range(1, 6) if f"{known.stage.format(stage)}.0.bn1.weight" in shapes]
    if stages != list(range(1, len(stages) + 1)) or len(stages) not in _STAGES:
        raise Unlike(f"it has {len(stages)} stages named {known.stage.format(1)}, …, expected 3 or 4")
    prefixes = [known.stage.format(stage) for stage in stages]
    blocks = [indices(shapes, f"{prefix}.") for prefix in prefixes]
    if any(found != list(range(len(found))) for found in blocks):
        raise Unlike("its blocks are not numbered 0, 1, 2, …")
    if len(shapes) < 10 * sum(map(len, blocks)):
        raise Unlike(f"{sum(map(len, blocks))} blocks would have at least 10 tensors each, not {len(shapes)} in all")
    widths = [side(shapes, f"{prefix}.0.conv1.weight", 0, 4) for prefix in prefixes]
    bottleneck = f"{prefixes[0]}.0.conv3.weight" in shapes
    outputs = side(shapes, f"{prefixes[0]}.0.conv3.weight", 0, 4) if bottleneck else widths[0]
    if outputs % widths[0]:
        raise Unlike(f"a block of width {widths[0]} gives {outputs} channels")
    layout = Layout(
        naming=naming,
        channels=side(shapes, "conv1.weight", 1, 4),
        stem_width=side(shapes, "conv1.weight", 0, 4),
        blocks="-".join(str(len(found)) for found in blocks),
        widths="-".join(map(str, widths)),
        bottleneck=bottleneck,
        expansion=outputs // widths[0],
        classes=side(shapes, f"{known.head}.weight", 0, 2),
    )
    fit(_expected(layout), shapes)
    return layout


def _expected(layout: Layout) -> Expected:
    """Names and shapes of :class:`lcaudit.architectures._preact_modules.PreActResNet`."""
    naming, expected = NAMINGS[layout.naming], Expected()
    expected.convolution("conv1", layout.channels, layout.stem_width, 3)
    inputs = layout.stem_width
    kernels = (1, 3, 1) if layout.bottleneck else (3, 3)
    for stage, (count, width) in enumerate(zip(numbers(layout.blocks), numbers(layout.widths), strict=True)):
        outputs = width * layout.expansion
        for block in range(count):
            path = f"{naming.stage.format(stage + 1)}.{block}"
            ends = (inputs, *(width for _ in kernels[1:]), outputs)
            for part, kernel in enumerate(kernels):
                expected.batch_norm(f"{path}.bn{part + 1}", ends[part])
                expected.convolution(f"{path}.conv{part + 1}", ends[part], ends[part + 1], kernel)
            if inputs != outputs or (stage and not block):
                expected.convolution(f"{path}.{naming.shortcut}", inputs, outputs, 1)
            inputs = outputs
    if naming.last:
        expected.batch_norm(naming.last, inputs)
    expected.linear(naming.head, inputs, layout.classes)
    return expected


def depth(layout: Layout, stem: int) -> int:
    """Convolutions on the main path and the last layer; ``stem``: how many the paper counts beside the blocks."""
    return (3 if layout.bottleneck else 2) * sum(numbers(layout.blocks)) + stem


def to_variant(layout: Layout) -> dict[str, str | int | bool]:
    """The layout as scalars."""
    return asdict(layout)


def build(variant: Mapping[str, str | int | bool]) -> PreActResNet:
    """The network that :func:`to_variant` described."""
    from lcaudit.architectures._preact_modules import PreActResNet

    return PreActResNet(Layout(**variant))  # type: ignore[arg-type]  # what to_variant wrote


def assumptions(layout: Layout) -> tuple[str, ...]:
    """What no tensor shows."""
    naming = NAMINGS[layout.naming]
    return (
        "the stem has stride 1 and no pooling follows it",
        "the first stage has stride 1, every later one 2, at the "
        + ("3×3" if layout.bottleneck else "first")
        + " convolution of its first block and at its shortcut",
        f"a shortcut's convolution reads the block's {'raw' if naming.raw else 'normalised and rectified'} input",
        "3×3 convolutions are padded with one zero on every side; batch norm's ε is 1e-5",
        "ReLU after every batch norm; global average pooling precedes the last layer",
    )
