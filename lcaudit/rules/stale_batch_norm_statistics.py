"""LC401 stale-batch-norm-statistics: the batch norms' stored statistics are not those of this probe.

What it means
    Every batch norm stores the mean and variance of its input as training saw them. On the probe the
    network's activations have another mean and variance. The figure is the mean over all batch norms of
    two shifts: of the mean, in stored standard deviations, and of the logarithm of the variance.

Why it matters
    The network then normalises with the wrong numbers: each layer reads inputs off the scale that its
    weights were trained for, accuracy drops, and every figure of this audit describes that state.

How it is measured
    The network runs in eval mode with its stored statistics; at every batch norm the mean and variance
    of each channel are taken over the probe. Shifts are root mean squares over channels, less what
    sampling noise alone would give, so a fitting probe of any size tends to the same figure.

How sure
    The interval covers the choice of samples; the layers' intervals are averaged end by end, which is
    never too narrow. The limit is a convention: see its source line. Probes without the training's
    augmentation always differ a little from statistics that were gathered with it. A pass does not prove
    the preprocessing right: red and blue exchanged gave 0.32 to 0.34, hardly more than the truth.

False alarms
    Strong training augmentation (heavy crops, colour changes, mixing of images) moves the stored
    statistics away from those of clean data, and nothing is wrong. So does a probe of few classes.

What to do
    Three causes look alike; tell them apart in this order. (1) Other preprocessing, such as a wrong mean
    and std, a wrong channel order, or pixels in 0 to 255: the first batch norm is already off. Compare the
    preprocessing in the report with the training code. (2) Other data than the network was trained for:
    run the training data's own test split; if the shift vanishes, it was the data. (3) Stale statistics,
    after averaging weights, pruning, quantising, or fine-tuning with frozen statistics: the first batch
    norm agrees, later ones do not, and the training data itself shows the shift. Then gather the
    statistics again over training data.

Source
    Ioffe and Szegedy, ICML 2015 (batch normalisation); Izmailov et al., UAI 2018 (statistics
    must be gathered again after averaging weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lcaudit.core import specimen
from lcaudit.core.measurements import BatchNormReplay, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import figure, interval, replay

LIMIT = Limit(
    0.5,
    "1",
    "chosen between what was measured on public CIFAR-10 ResNet-20/32/44: 0.28 to 0.31 on clean images, without the "
    "augmentation that their statistics were gathered with; 0.37 to 0.41 on JPEG copies; 0.90 to 0.98 with a wrong "
    "mean and std, 1.6 to 1.8 without any",
)
#: How many of the worst batch norms are named.
NAMED = 5
#: A first batch norm beyond this saw another input: 0.47 to 0.55 where the same ResNets were fed rightly (their
#: augmentation alone does that), 2.0 to 3.4 with a wrong mean and std.
INPUT_DIFFERS = 1.0
#: The others being off by this many times more than the first points to what lies between them.
CLEARLY = 2.0


def shift(layer: BatchNormReplay) -> float:
    """Mean shift plus variance shift of one batch norm."""
    return layer.mean_shift.value + layer.variance_shift.value


def evidence(measurements: Measurements) -> tuple[str, ...]:
    """The worst batch norms, and what the first one says about the cause."""
    layers = sorted(measurements.batch_norms, key=lambda layer: layer.depth)
    named = sorted(layers, key=lambda layer: (-shift(layer), layer.depth))[:NAMED]
    sentences = [
        f"{display_name(layer.name)}: mean shifted by {figure(layer.mean_shift.value)} σ, "
        f"log variance by {figure(layer.variance_shift.value)}."
        for layer in named
    ]
    if len(layers) > 1:
        rest = sum(shift(layer) for layer in layers[1:]) / (len(layers) - 1)
        sentences.append(_first(layers[0], shift(layers[0]), rest))
    return tuple(sentences)


def _first(layer: BatchNormReplay, first: float, rest: float) -> str:
    figures = (
        f"The first batch norm, {display_name(layer.name)}, is off by {figure(first)}, the others by {figure(rest)}"
    )
    if first > INPUT_DIFFERS:
        return f"{figures}: the input itself differs, so suspect the preprocessing or the data."
    if first * CLEARLY < rest:
        return f"{figures}: the input agrees better than what follows, so suspect stale statistics."
    return f"{figures}: this does not tell the causes apart."


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict for the whole network."""
    measured = replay(measurements)
    if measured is None:
        return [Skip("", "the network has no batch normalisation")]
    place = measured.against(LIMIT.value)
    if place == "below":
        return [Pass("", measured)]
    if place == "above":
        return [Fail("", measured, "probe-statistics-differ", evidence(measurements))]
    if place == "straddles":
        reason = f"the limit {figure(LIMIT.value)} lies inside the {interval(measured)}"
    elif math.isnan(measured.value):
        reason = "a shift is not a number"
    else:
        reason = f"a shift has no reliable interval at {count(measured.n, 'sample')}; use more samples"
    return [Undecided("", measured, reason)]


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The shift, and the three causes."""
    (fail,) = fails
    return (
        f"Batch-norm statistics do not match the probe: off by {figure(fail.measured.value)} on average",
        f"Over {count(len(measurements.batch_norms), 'batch norm')}, mean and log variance on the probe differ from "
        f"the stored ones by {figure(fail.measured.value)} in all ({interval(fail.measured)}); clean data gave about "
        "0.3 on public CIFAR-10 ResNets. Three causes: the preprocessing differs from training's (mean, std, channel "
        "order, scale); the data is of another kind; or the stored statistics are stale, as after averaging, pruning "
        "or quantising weights. The evidence says where to look first, and lcaudit explain LC401 how to tell them "
        "apart.",
    )


RULE = Rule(
    code="LC401",
    name="stale-batch-norm-statistics",
    summary="The batch norms' stored statistics are not those of the probe",
    severity="warning",
    kind="defect",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        batch_norms=(
            specimen.batch_norm("bn1", 0.1),
            specimen.batch_norm("layer1.0.bn1", 0.6, depth=1),
            specimen.batch_norm("layer1.0.bn2", 0.9, depth=2),
        )
    ),
    quiet=specimen.measurements,
    skips=lambda: specimen.measurements(batch_norms=()),
)
