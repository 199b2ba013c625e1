"""LC305 curvature-imbalance: of two consecutive layers one is far steeper than the other, for no reason.

What it means
    Between these two layers lie only functions that pass a positive factor on (ReLU, pooling, reshaping),
    so a factor can be moved from one weight to the other without changing what the network computes. The
    figure is the larger λmax of the two layers' Fisher blocks divided by the smaller one.

Why it matters
    One learning rate serves both layers, and the steeper one limits it to about 2/λmax. The other layer
    then takes steps that are too small by the ratio. Moving a factor so that both are equally steep costs
    nothing and changes no output.

How it is measured
    λmax of each layer's own Fisher block, from gradients of single samples (no Kronecker form). Which
    functions lie between is read off one recorded forward pass; pairs with anything else between them, or
    with another reader, are left out.

How sure
    The interval takes the two layers' intervals crosswise, which is too wide rather than too narrow. What is
    usual is known from small networks only; see the source of the limit. Only pairs of layers with nothing
    but such functions between are looked at: in networks with normalisation there are none.

False alarms
    Adaptive optimisers give each weight a step of its own and undo most of the imbalance. Layer-wise learning
    rates may have been chosen to match it. A network that is not trained further loses nothing.

What to do
    `lcaudit fix` moves the factor that makes both equally steep. The usual cause is an input of another
    scale than the first layer was initialised for: normalise the data instead.

Source
    Neyshabur, Salakhutdinov and Srebro, NeurIPS 2015 (path-SGD, rescaling between ReLU layers); Nagel, van
    Baalen, Blankevoort and Welling, ICCV 2019 (cross-layer equalisation, by weight ranges).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.links import Link
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import ratio
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import worst

LIMIT = Limit(
    100,
    "×",
    "gradient descent needs steps in proportion to the ratio; measured on multilayer perceptrons and convolutional "
    "networks without normalisation on digits: 1 to 8 trained (SGD, Adam), up to 50 at initialisation; 100 was chosen",
)
CAUSE = "unequal-neighbours"


def check(measurements: Measurements) -> Sequence[Outcome]:
    """Every layer whose output exactly one other layer reads, through homogeneous functions."""
    by_name = {one.layer.name: one for one in measurements.layers}
    pairs = {
        link.layer: link.readers[0]
        for link in measurements.links
        if link.homogeneous and len(link.readers) == 1 and link.readers[0] in by_name
    }
    outcomes = [_judge(by_name[name], by_name[reader]) for name, reader in pairs.items() if name in by_name]
    return outcomes or [Skip("", "no layer is read by one other alone, through functions that pass a factor on")]


def _judge(first: LayerSpectra, second: LayerSpectra) -> Outcome:
    name, one, other = first.layer.name, first.fisher_largest, second.fisher_largest
    if one is None or other is None:
        lacking = first if one is None else second
        return Skip(name, f"λmax of {display_name(lacking.layer.name)} is not known: {lacking.block_reason}")
    measured = ratio(*((one, other) if one.value >= other.value else (other, one)))
    place = measured.against(LIMIT.value)
    if place == "below":
        return Pass(name, measured)
    if place == "above":
        sentence = (
            f"{display_name(name)} → {display_name(second.layer.name)}: λmax {figures.number(one.value)} and "
            f"{figures.number(other.value)} nat."
        )
        return Fail(name, measured, CAUSE, (sentence,))
    if place == "straddles":
        limit = figures.limit(LIMIT.value, LIMIT.unit)
        return Undecided(name, measured, f"the limit {limit} lies inside the {figures.judged_interval(measured)}")
    return Undecided(name, measured, "λmax of one of the two layers has no reliable interval")


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """Which pair, and what it costs."""
    most = worst(fails)
    times = figures.figure(most.measured).value
    return (
        f"{count(len(fails), 'pair')} of consecutive layers {'is' if len(fails) == 1 else 'are'} unequally steep",
        f"The Fisher of {display_name(most.layer)} and that of the layer it feeds differ in λmax by {times}, although "
        "a factor can be moved between their weights freely. One learning rate serves both: the steeper one limits it, "
        "and the other moves that much too little.",
    )


def _example(times: float) -> Measurements:
    first, second = specimen.layer("0"), specimen.layer("2", depth=1)
    return specimen.measurements(
        layers=(replace(first, fisher_largest=specimen.quantity(times, unit="nat")), second),
        links=(Link("0", functions=("relu",), readers=("2",), homogeneous=True),),
    )


RULE = Rule(
    code="LC305",
    name="curvature-imbalance",
    summary="Consecutive layers between which a factor can be moved are unequally steep",
    severity="warning",
    kind="opportunity",
    metric="λmax of the pair, larger / smaller",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _example(3e4),
    quiet=lambda: _example(3.0),
    skips=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True),)),
)
