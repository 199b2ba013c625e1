"""LC301 ill-conditioned-head: normalising what the last layer reads would make it easier to optimise.

What it means
    The last layer's input varies far more in some directions than in others, and a large part of that
    imbalance would vanish if the input were normalised. The figure is a gain: the condition number
    κ_80 of the layer's input second moment Σ_x = E[x xᵀ] now, divided by κ_80 after a BatchNorm
    (or after subtracting the mean, where that gains more). A gain of 10 means: ten times better conditioned.

Why it matters
    Gradient descent on a layer needs a number of steps proportional to its condition number: a step
    small enough for the steepest direction is too small for the flat ones. With the rest of the network
    fixed, lowering κ brings the layer closer to its optimum in the same number of steps. Measured on the
    heads of publicly trained CIFAR-10 ResNet-20, 32 and 44, trained again on frozen features: after 100
    steps of gradient descent a BatchNorm came 1.9 to 2.3 times nearer to the optimal training loss,
    centring alone 1.8 to 1.9 times, with Adam 3 to 6 times. The test error did not move. Whole networks
    trained from scratch gained in one task and lost in another (docs/does-it-matter.md). So this is a
    chance for faster or further training of the layer, not a sign of a bad model.

How it is measured
    Σ_x and its mean are summed over the probe in the network's eval mode. κ_80 is the largest eigenvalue
    divided by the one at 80 % of the rank. The normalised input's Σ_x follows from the same sums in closed
    form, so both figures come from the same samples and the gain is paired.

How sure
    The closed form agrees with a network that was really changed to 3e-8. The interval is a grouped
    jackknife over samples after removal of the small-sample bias. Fewer than 4 samples per input
    dimension are not judged. Nobody has measured a population of heads, so whether a gain of 5 is usual
    for your kind of network is not known.

False alarms
    A frozen head, or a model that will never be trained again, has nothing to gain. Adaptive optimisers
    undo part of the imbalance along single coordinates (not the mean, which is no coordinate). A bad κ
    alone never raises this finding, because most heads of ordinary networks have one.

What to do
    Before you go on training, put BatchNorm1d in front of the layer and fold it into the weights: outputs
    stay the same to rounding, and `fixes` in the report holds the code. Subtracting the mean alone brings
    most of the gain. RMSNorm brings none: it does not centre.

Source
    Huang, Qin, Liu, Zhu and Shao, ECCV 2020 (arXiv 2002.10801); LeCun, Bottou, Orr and Müller,
    "Efficient BackProp", 1998, on centred inputs. The limit of 5 was chosen; see its own source line.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Rule, Skip
from lcaudit.core.text import display_name
from lcaudit.rules._conditioning import (
    CHANGES,
    METRICS,
    before_after,
    best_change,
    judge_gain,
    kappa_80,
    parts_sentence,
)

LIMIT = Limit(
    5,
    "×",
    "gradient descent on the layer alone needs a number of steps proportional to κ; measured on publicly trained "
    "CIFAR-10 ResNet-20/32/44/56, heads gain 8 to 12×, after which the distance to the optimal training loss after "
    "100 steps was 1.9 to 2.3 times smaller and the test error did not move; no calibration on a population of "
    "networks exists: 5 was chosen",
)
UNMOVED = (
    "In the measured experiment (CIFAR-10 ResNet-20/32/44, head retrained on frozen features) BatchNorm came 1.9 to "
    "2.3 times nearer to the optimal training loss in 100 steps, centring alone 1.8 to 1.9 times; test error did not "
    "move."
)


def is_linear_head(spectra: LayerSpectra) -> bool:
    """Whether this rule, and not LC302, judges the layer."""
    return spectra.layer.is_head and spectra.layer.kind == "linear"


def evidence(spectra: LayerSpectra) -> tuple[str, ...]:
    """κ before and after, the mean's share, and what was seen when it was tried."""
    now = spectra.input.condition_number.get("80")
    return (
        f"{before_after(spectra)} ({figures.interval(now) if now else 'no interval'} now).",
        f"The mean holds {figures.percent(spectra.mean_energy.value)} of the input's energy; centring removes it.",
        *parts_sentence(spectra),
        UNMOVED,
    )


def check(measurements: Measurements) -> Sequence[Outcome]:
    """The gain of every linear head; other layers are LC302's."""
    return [
        judge_gain(spectra, LIMIT.value, "", evidence(spectra))
        if is_linear_head(spectra)
        else Skip(spectra.layer.name, "not a linear head: LC302 judges it")
        for spectra in measurements.layers
    ]


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The gain, and what it buys."""
    (fail,) = fails
    spectra = next(spectra for spectra in measurements.layers if spectra.layer.name == fail.layer)
    best = best_change(spectra)
    assert best is not None, "a failed head has a change"
    return (
        f"The last layer, {display_name(fail.layer)}, would be {figures.figure(fail.measured).value} better "
        f"conditioned with {CHANGES[best.change]}",
        f"The condition number κ_80 of what it reads would fall from {kappa_80(spectra)} to "
        f"{kappa_80(spectra, best.change)}. Gradient descent on this layer needs steps in proportion to κ, so further "
        "training of it would come closer to its optimum in the same number of steps. The model's accuracy is not "
        "in question.",
    )


RULE = Rule(
    code="LC301",
    name="ill-conditioned-head",
    summary="Normalising the last layer's input would make it much better conditioned",
    severity="warning",
    kind="opportunity",
    metric=METRICS["batch_norm"],
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        layers=(
            specimen.layer("body", "conv2d", dimension=27, outputs=16),
            specimen.layer("head", is_head=True, gain=10, condition_number=2960, mean_energy=0.43, depth=1),
        )
    ),
    quiet=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True, gain=3),)),
    skips=lambda: specimen.measurements(layers=(specimen.layer("body", "conv2d", gain=50),)),
)
