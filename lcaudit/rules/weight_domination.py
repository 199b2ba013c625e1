"""LC201 weight-domination: weights that a normalisation makes scale-invariant have grown far beyond their start.

What it means
    A normalisation reads this layer's output and nothing else does, so the size of its weight has no
    influence on what the network computes: W and 10 W give the same outputs. The figure is the weight's
    norm divided by the norm that He initialisation gives it in expectation, √(2 d_out).

Why it matters
    The gradient of a scale-invariant weight is proportional to 1/‖W‖, and a step turns its direction by
    an angle proportional to 1/‖W‖²: at 10 times the usual norm the same learning rate moves the layer a
    hundred times less. The layer looks as if it had reached a minimum, its gradient being small, while
    nothing improved. Huang et al. call this weight domination.

How it is measured
    The Frobenius norm of the stored weight. Which layers a normalisation follows is read off one recorded
    forward pass; a layer whose output goes anywhere else as well is left out.

How sure
    The norm is exact, and so is the wiring for this network. What is usual rests on four trained networks:
    the layers of publicly trained CIFAR-10 ResNet-20, ResNet-32 and ResNet-44 lie between 0.6 and 1.6, those
    of the network that ships with lcaudit between 0.4 and 1.1. Wider and much longer trained networks were
    not measured.

False alarms
    An optimiser whose steps do not shrink with the gradient (Adam, LARS) loses less: its steps turn the
    weight by an angle proportional to 1/‖W‖. A network that will not be trained further loses nothing.
    Weights drawn much larger than He's on purpose start where this rule fires.

What to do
    `lcaudit fix` scales weight and batch norm back; the function stays the same and the layer learns again.
    Then find the cause: without weight decay such norms can only grow, the faster the larger the learning
    rate. Weight decay, or weights kept at a fixed norm, holds them.

Source
    Huang, Qin, Liu, Zhu and Shao, ECCV 2020 (arXiv 2002.10801), weight domination; van Laarhoven 2017 (arXiv
    1706.05350), effective learning rate η/‖W‖²; He, Zhang, Ren and Sun, ICCV 2015 (initialisation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.links import Link
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import exact
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import worst

LIMIT = Limit(
    10,
    "×",
    "a step turns the layer a hundred times less than at its He-initialised norm (van Laarhoven 2017); the layers of "
    "public CIFAR-10 ResNet-20/32/44 lie between 0.6 and 1.6, so 10 was chosen well beyond them",
)
CAUSE = "weights-before-normalisation"


def ratio(spectra: LayerSpectra) -> float:
    """‖W‖ / √(2 d_out); each of the d_out rows has an expected squared norm of 2 under He initialisation."""
    return spectra.weight_norm / math.sqrt(2 * spectra.layer.outputs)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """The norm of every layer whose output one normalisation reads alone."""
    norms = {link.layer: link for link in measurements.links if link.normalisation}
    outcomes = [_judge(one, norms.get(one.layer.name)) for one in measurements.layers]
    return outcomes or [Skip("", "no layer was measured")]


def _judge(spectra: LayerSpectra, link: Link | None) -> Outcome:
    name = spectra.layer.name
    if link is None:
        return Skip(name, "no normalisation reads its output alone: its scale is part of the function")
    measured = exact(ratio(spectra), "×")
    if not math.isfinite(measured.value):
        return Undecided(name, measured, "the weight's norm is not finite")
    if measured.value <= LIMIT.value:
        return Pass(name, measured)
    sentence = (
        f"{display_name(name)}: ‖W‖ {figures.number(spectra.weight_norm)}, He initialisation gives "
        f"{figures.number(math.sqrt(2 * spectra.layer.outputs))}; {display_name(link.normalisation)} follows."
    )
    return Fail(name, measured, CAUSE, (sentence,))


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """How large, and what that does to a step."""
    most = worst(fails)
    value = most.measured.value
    return (
        f"{count(len(fails), 'layer')} before a normalisation {'has' if len(fails) == 1 else 'have'} weights that "
        "dominate their own gradients",
        f"The weight of {display_name(most.layer)} is {figures.number(value)} times as long as He initialisation draws "
        f"it, and the normalisation after it hides that: the same learning rate turns it {figures.number(value**2)} "
        "times less. The layer hardly learns, and its small gradient looks like a minimum that it is not.",
    )


def _example(norm: float) -> Measurements:
    layer = specimen.layer("block.conv1", "conv2d", outputs=8)
    return specimen.measurements(
        layers=(replace(layer, weight_norm=norm),),
        links=(Link("block.conv1", normalisation="block.bn1", normalises="batch_norm"),),
    )


RULE = Rule(
    code="LC201",
    name="weight-domination",
    summary="Scale-invariant weights have grown so large that they hardly learn",
    severity="warning",
    kind="defect",
    metric="‖W‖ / its norm under He initialisation",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _example(400.0),
    quiet=lambda: _example(4.0),
    skips=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True),)),
)
