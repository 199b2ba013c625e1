"""LC402 contradicted-preprocessing: training's statistics speak for another preprocessing than the declared one.

What it means
    The batch norms store what training's inputs looked like inside the network. Fed as declared, the probe
    does not reproduce it; fed in another usual way (another mean and std, value range, channel order, or
    rows and columns exchanged) it does. The figure is how many times further off the declared way is.

Why it matters
    A slightly wrong normalisation costs hardly any accuracy and changes curvature: on a public ResNet-20 it
    left training accuracy above 99 % and multiplied the largest Hessian eigenvalue by 1.4 to 1.7. All
    figures of the report then describe a network that nobody trained.

How it is measured
    Batch-norm replay: a few hundred samples of the probe are augmented as training usually does (random crop and
    flip, flip, nothing, random resized crop) and run in evaluation mode. At every batch norm the shift of the mean
    (in stored standard deviations) and of the log variance are squared and averaged over channels and layers, less
    sampling noise; the figure is the root. The report lists the readings that were compared.

How sure
    It fires only where another reading fits (at most 0.1, and at least 2 times better than the declared one) and the
    difference exceeds chance at 99 % on the same samples. On public CIFAR-10 ResNets the right reading gave 0.02 or
    less, wrong ones 0.066 and more.

False alarms
    A preprocessing that is right but not among those compared, on a network trained with an augmentation that is not
    among those compared either. A network whose statistics were gathered on other data than the probe.

What to do
    Compare with the training code. If the other reading is right, run again with its --mean and --std, or save the
    images with their channels in the order that training used. If the declared one is right, ignore this rule.

Source
    docs/identification.md, measured on public CIFAR-10 ResNet-20/32/44 and on networks trained for the purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from lcaudit.core import figures, specimen
from lcaudit.core.identification import HypothesisScore, Identification
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import display_name

LIMIT = Limit(
    2.0,
    "×",
    "chosen below 3.3, the smallest ratio measured on public CIFAR-10 ResNet-20/32/44 between a wrong reading and the "
    "right one, whose distance counts as 0.02 where it is less",
)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict for the whole network."""
    found = measurements.identification
    if found is None:
        return [Skip("", "there was nothing to compare the preprocessing by")]
    if found.decision == "not tested" or not found.scores:
        return [Skip("", display_name(found.reason, 400))]
    if found.decision == "ambiguous":
        return [Undecided("", None, display_name(found.reason, 400))]
    used = next((one for one in found.scores if one.used), None)
    if used is None or math.isnan(used.score.value):
        return [Undecided("", None, "no distance is known of the reading that was used")]
    if found.decision == "contradicted":
        return [Fail("", _times(used), "preprocessing", _compared(found))]
    return [Pass("", _times(used), display_name(found.reason, 400))]


def _times(used: HypothesisScore) -> Quantity:
    """The used reading's distance as a multiple of the best one's."""
    score = used.score
    unit = score.value / used.ratio if used.ratio and score.value else 0.0
    low, high = (end / unit if unit and end is not None else None for end in (score.low, score.high))
    return replace(score, value=used.ratio, unit="×", low=low, high=high)


def _compared(found: Identification) -> tuple[str, ...]:
    return tuple(
        f"{display_name(one.preprocessing)} ({display_name(one.network, 80)}, {display_name(one.augmentation, 60)}): "
        f"off by {figures.spoken(one.score)}{', used' if one.used else ''}."
        for one in found.scores
    )


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """What fits instead."""
    (fail,) = fails
    found = measurements.identification
    assert found is not None, "a fail has a comparison"
    best = found.scores[0]
    return (
        "Training's statistics contradict the declared preprocessing",
        f"Fed as declared, the network is {figures.figure(fail.measured).value} as far from the statistics that "
        f"training stored as with {display_name(best.preprocessing)}. The audit measured what was declared. Accuracy "
        "hardly shows such an error, curvature does: compare with the training code before reading other figures.",
    )


def _example(decision: Literal["agrees", "contradicted"], ratio: float) -> Measurements:
    def score(words: str, times: float, used: bool) -> HypothesisScore:
        value = specimen.quantity(0.02 * times, n=300)
        return HypothesisScore("ResNet-8", words, "random flip", value, times, times > 1, used)

    scores = (score("values 0 to 1", 1.0, decision == "agrees"),)
    if decision == "contradicted":
        scores += (score("mean 0.5, std 0.5", ratio, True),)
    found = Identification("batch-norm replay", decision, (), "As measured.", scores, 2.0, 300, 3000)
    return specimen.measurements(identification=found)


RULE = Rule(
    code="LC402",
    name="contradicted-preprocessing",
    summary="Training's statistics speak for another preprocessing than the declared one",
    severity="warning",
    kind="defect",
    metric="distance from training's statistics, as a multiple of the best reading's",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _example("contradicted", 7.0),
    quiet=lambda: _example("agrees", 1.0),
    skips=specimen.measurements,
    casts_doubt=True,
)
