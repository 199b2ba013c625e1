"""LC306 growing-residual-stream: the sum of a residual network's branches grows faster than its depth.

What it means
    Every residual block adds its branch to a stream. The figure compares how much energy per entry, E[x²],
    the stream has gained since it was first read with what adding branches of equal size gives: (energy now /
    energy first) / (1 + blocks between), at the block where that is largest.

Why it matters
    With normalised branches each block adds about as much as the one before, and the energy grows in
    proportion to depth. Where it grows faster, later blocks dominate the stream: what earlier blocks wrote
    is lost in it, gradients of early layers differ from those of late ones by the same ratio, and in half
    precision the stream can overflow.

How it is measured
    From Σ_x of the layers that read a sum of branches directly: its trace over the number of entries. Layers
    that read a pooled stream are left out, and so is a stream that only normalisations read.

How sure
    The interval takes the two layers' intervals crosswise. What is usual rests on four trained networks; see
    the source of the limit. Where a stage changes the number of channels the energy per entry may fall, never
    rise, by that alone (zeros are padded in, or a normalised projection starts the stream anew).

False alarms
    A network whose input is tiny beside its branches starts from almost nothing, and grows fast once.

What to do
    Put a normalisation last in each branch (or at its start, and check that its scale is not learned away),
    start the branch's last scale at zero, or multiply branches by 1/√depth. This changes the function: train
    again.

Source
    De and Smith, NeurIPS 2020 (arXiv 2002.10444): with batch norm in the branches the stream's variance grows
    in proportion to depth, without any normalisation it doubles with each block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity, ratio
from lcaudit.core.text import count, display_name

LIMIT = Limit(
    10,
    "×",
    "growth in proportion to depth gives at most 1 (De and Smith 2020); measured on the streams of public CIFAR-10 "
    "ResNet-20/32/44 and of the network that ships with lcaudit: 0.7 to 1.3; eight blocks that double give 28: 10 was "
    "chosen",
)
CAUSE = "stream-outgrows-depth"


def streams(measurements: Measurements) -> list[LayerSpectra]:
    """The layers that read a sum of branches as it is, in order of execution."""
    layers = [one for one in measurements.layers if one.layer.reads == "sum of branches"]
    return sorted((one for one in layers if "pooling" not in one.layer.through), key=lambda one: one.layer.depth)


def energy(spectra: LayerSpectra) -> float:
    """E[x²] per entry."""
    return spectra.input.trace.value / max(1, spectra.layer.inputs)


def growth(first: LayerSpectra, later: LayerSpectra, blocks: int) -> Quantity:
    """Energy of ``later`` over that of ``first``, by (1 + blocks between)."""
    entries = max(1, first.layer.inputs) / max(1, later.layer.inputs)
    return ratio(later.input.trace, first.input.trace, entries / (1 + blocks))


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict for the whole network."""
    found = streams(measurements)
    if len(found) < 2:
        return [Skip("", "fewer than two layers read a sum of branches directly")]
    grown = [growth(found[0], one, i) for i, one in enumerate(found[1:], 1)]
    if any(math.isnan(one.value) for one in grown):
        return [Undecided("", next(one for one in grown if math.isnan(one.value)), "an energy is not a number")]
    most = max(range(len(grown)), key=lambda i: grown[i].value)
    measured, place = grown[most], grown[most].against(LIMIT.value)
    if place == "below":
        return [Pass("", measured)]
    if place == "above":
        return [Fail("", measured, CAUSE, _evidence(found, most + 1))]
    reason = "an energy has no reliable interval"
    if place == "straddles":
        limit = figures.limit(LIMIT.value, LIMIT.unit)
        reason = f"the limit {limit} lies inside the {figures.judged_interval(measured)}"
    return [Undecided("", measured, reason)]


def _evidence(found: list[LayerSpectra], most: int) -> tuple[str, ...]:
    places = sorted({0, most // 2, most})
    return tuple(
        f"{display_name(found[i].layer.name)} reads a stream of energy {figures.number(energy(found[i]))} per entry."
        for i in places
    )


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """From where to where, and by how much more than depth explains."""
    (fail,) = fails
    found = streams(measurements)
    times = figures.figure(fail.measured).value
    return (
        f"The residual stream grows {times} faster than its depth explains",
        f"Over {count(len(found), 'layer')} that read it, the energy per entry goes from "
        f"{figures.number(energy(found[0]))} to {figures.number(max(map(energy, found)))}. Branches of equal size "
        "would let it grow in proportion to the number of blocks; here later blocks drown what earlier ones wrote, and "
        "gradients of early and late layers differ as much.",
    )


def _example(factor: float) -> Measurements:
    layers = []
    for i in range(6):
        layer = specimen.layer(f"block{i}.conv1", "conv2d", reads="sum of branches", depth=i)
        trace = specimen.quantity(factor**i)
        layers.append(replace(layer, input=replace(layer.input, trace=trace)))
    return specimen.measurements(layers=tuple(layers))


RULE = Rule(
    code="LC306",
    name="growing-residual-stream",
    summary="The residual stream grows faster than its depth explains",
    severity="warning",
    kind="defect",
    metric="growth of the stream's energy / growth in proportion to depth",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _example(4.0),
    quiet=lambda: _example(1.2),
    skips=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True),)),
)
