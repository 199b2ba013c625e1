"""LC307 learning-rate-too-large: with the given learning rate, steps along a layer's steepest direction diverge.

What it means
    Plain gradient descent with learning rate η multiplies the error along a direction of curvature λ by
    1 − η λ at every step. Beyond η λ = 2 it grows. The figure is η times λmax of the layer's Fisher block, for
    the learning rate that was passed with --learning-rate; without one nothing is judged.

Why it matters
    Training goes on only because the network moves to where it is flatter (the edge of stability), or it
    diverges. Fine-tuning from this checkpoint with this rate starts with steps that undo what was learned.

How it is measured
    λmax of the layer's own Fisher block over the probe, from gradients of single samples. At a trained network
    that is close to the Gauss-Newton part of the Hessian. The whole network's λmax is never smaller than that
    of a layer's block, so the limit holds for the whole network too.

How sure
    The interval covers the choice of samples. The Hessian's own λmax can differ: `check --exact hessian`
    measures it for single layers.

False alarms
    Momentum β moves the limit to 2 (1 + β); Adam's steps are not proportional to the gradient at all, and a
    schedule that warms up begins below the rate given here. Small batches make steps noisy long before.

What to do
    Start with a learning rate below 2/λmax of the steepest layer, warm it up, or make that layer flatter: the
    other findings say which layers a normalisation would help.

Source
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4 (η < 2/λmax); Cohen et al., ICLR 2021
    (arXiv 2103.00065), edge of stability. The limit of 2 is that of gradient descent on a quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import worst

LIMIT = Limit(2, "1", "gradient descent on a quadratic of curvature λ diverges beyond η λ = 2 (LeCun et al. 1998)")
CAUSE = "beyond-two-over-curvature"


def check(measurements: Measurements) -> Sequence[Outcome]:
    """η λmax of every layer."""
    rate = measurements.settings.learning_rate
    if rate is None:
        return [Skip("", "no --learning-rate was given")]
    return [_judge(one, rate) for one in measurements.layers] or [Skip("", "no layer was measured")]


def _judge(spectra: LayerSpectra, rate: float) -> Outcome:
    name, curvature = spectra.layer.name, spectra.fisher_largest
    if curvature is None:
        return Skip(name, f"λmax of its Fisher block is not known: {spectra.block_reason}")
    measured = _times(curvature, rate)
    place = measured.against(LIMIT.value)
    if place == "below":
        return Pass(name, measured)
    if place == "above":
        most = figures.number(LIMIT.value / curvature.value)
        sentence = f"{display_name(name)}: λmax {figures.number(curvature.value)}, so at most {most}."
        return Fail(name, measured, CAUSE, (sentence,))
    if place == "straddles":
        return Undecided(name, measured, f"the limit 2 lies inside the {figures.judged_interval(measured)}")
    return Undecided(name, measured, "λmax has no reliable interval")


def _times(curvature: Quantity, rate: float) -> Quantity:
    ends = [None if end is None else end * rate for end in (curvature.low, curvature.high)]
    plug_in = None if curvature.plug_in is None else curvature.plug_in * rate
    return replace(curvature, value=curvature.value * rate, unit="1", low=ends[0], high=ends[1], plug_in=plug_in)


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The steepest layer, and the largest rate that it allows."""
    rate = measurements.settings.learning_rate or math.nan
    most = worst(fails)
    return (
        f"A learning rate of {figures.number(rate)} is too large for {count(len(fails), 'layer')}",
        f"At {display_name(most.layer)} steps of gradient descent overshoot from λmax on: η λmax is "
        f"{figures.figure(most.measured).value}, and beyond 2 they diverge. The largest rate that every layer allows "
        f"is {figures.number(rate * LIMIT.value / most.measured.value)}, without momentum.",
    )


def _example(rate: float | None) -> Measurements:
    measured = specimen.measurements()
    return replace(measured, settings=replace(measured.settings, learning_rate=rate))


RULE = Rule(
    code="LC307",
    name="learning-rate-too-large",
    summary="The given learning rate lies beyond what the layer's curvature allows",
    severity="warning",
    kind="defect",
    metric="learning rate × λmax of the layer's Fisher",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _example(1.0),
    quiet=lambda: _example(0.001),
    skips=lambda: _example(None),
)
