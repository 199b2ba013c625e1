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
    never too narrow. Finding it is strong evidence; not finding it is weak. Part of every shift is the
    training's augmentation: stored statistics describe augmented images, a probe holds plain ones.
    Measured with 300 and 846 images on publicly trained CIFAR-10 ResNet-20, ResNet-32 and ResNet-44: training
    images, cropped and flipped at random as in training, give 0.01 or less; the same images as they are
    0.28 to 0.30; test images 0.30 to 0.32; red and blue exchanged 0.31 to 0.32; CIFAR-10's own mean and
    std in place of the ones trained with 0.24 to 0.29; JPEG copies 0.37 to 0.41; mean and std of 0.5
    0.89 to 0.97; no normalisation 1.57 to 1.81. So below the limit this figure cannot tell a slightly
    wrong input from the right one. Only gross errors lie beyond it.

False alarms
    Strong training augmentation (heavy crops, colour changes, mixing of images) moves the stored
    statistics away from those of plain data, and nothing is wrong. So does a probe of few classes.

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

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import BatchNormReplay, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import replay

LIMIT = Limit(
    0.5,
    "1",
    "chosen between 0.41 and 0.89, measured on public CIFAR-10 ResNet-20/32/44 (300 and 846 images): 0.30 to 0.32 on "
    "test images and 0.37 to 0.41 on JPEG copies, mostly because a probe is not augmented as training was (training "
    "images give 0.01 or less once they are); 0.89 to 0.97 with a wrong mean and std of 0.5, 1.57 to 1.81 without any",
)
#: How many of the worst batch norms are named.
NAMED = 5
#: A first batch norm beyond this saw another input: measured as above, 0.48 to 0.55 where the ResNets were fed
#: rightly (want of augmentation alone does that), 2.0 with a mean and std of 0.5, 3.2 to 3.4 without any.
INPUT_DIFFERS = 1.0
#: The others being off by this many times more than the first points to what lies between them.
CLEARLY = 2.0


def shift(layer: BatchNormReplay) -> float:
    """Mean shift plus variance shift of one batch norm."""
    return layer.mean_shift.value + layer.variance_shift.value


def evidence(measurements: Measurements) -> tuple[str, ...]:
    """What was fed, the worst batch norms, and what the first one says about the cause."""
    layers = sorted(measurements.batch_norms, key=lambda layer: layer.depth)
    named = sorted(layers, key=lambda layer: (-shift(layer), layer.depth))[:NAMED]
    sentences = []
    if len(layers) > 1:
        rest = sum(shift(layer) for layer in layers[1:]) / (len(layers) - 1)
        sentences.append(_first(layers[0], shift(layers[0]), rest))
    sentences.append(f"Normalisation of this run: {display_name(measurements.probe.normalisation.source)}.")
    sentences += [
        f"{display_name(layer.name)}: mean off by {figures.number(layer.mean_shift.value)} σ, "
        f"log variance by {figures.number(layer.variance_shift.value)}."
        for layer in named
    ]
    return tuple(sentences)


def _first(layer: BatchNormReplay, first: float, rest: float) -> str:
    told = (
        f"The first batch norm, {display_name(layer.name)}, is off by {figures.number(first)}, the others by "
        f"{figures.number(rest)}"
    )
    if first > INPUT_DIFFERS:
        return f"{told}: the input itself differs, so suspect the preprocessing or the data."
    if first * CLEARLY < rest:
        return f"{told}: the input agrees better than what follows, so suspect stale statistics."
    return f"{told}: this does not tell the causes apart."


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict for the whole network."""
    measured = replay(measurements)
    if measured is None and measurements.fit is None:
        return [Skip("", "the network was not run on a probe")]
    if measured is None:
        return [Skip("", "the network has no batch normalisation")]
    place = measured.against(LIMIT.value)
    if place == "below":
        return [Pass("", measured)]
    if place == "above":
        return [Fail("", measured, "probe-statistics-differ", evidence(measurements))]
    if place == "straddles":
        limit = figures.limit(LIMIT.value, LIMIT.unit)
        reason = f"the limit {limit} lies inside the {figures.judged_interval(measured)}"
    elif math.isnan(measured.value):
        reason = "a shift is not a number"
    else:
        reason = f"a shift has no reliable interval at {count(measured.n, 'sample')}; use more samples"
    return [Undecided("", measured, reason)]


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The shift, and the three causes."""
    (fail,) = fails
    shifted = figures.figure(fail.measured).value
    return (
        "Batch-norm statistics do not match the probe: wrong preprocessing, other data, or stale statistics",
        f"Over {count(len(measurements.batch_norms), 'batch norm')}, mean (in stored σ) and log variance on the probe "
        f"differ from the stored ones by {shifted} together; plain test images gave 0.30 to 0.32 on public CIFAR-10 "
        "ResNets. Until this is clear, every other figure describes the network in a state that nobody trains or uses. "
        "Three causes, the likeliest first: the preprocessing differs from training's (mean, std, channel order, "
        "scale); the data is of another kind; the stored statistics are stale, as after averaging, pruning or "
        "quantising weights.",
    )


RULE = Rule(
    code="LC401",
    name="stale-batch-norm-statistics",
    summary="The batch norms' stored statistics are not those of the probe",
    severity="warning",
    kind="defect",
    metric="average shift of batch-norm statistics",
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
    casts_doubt=True,
)
