"""LC302 ill-conditioned-layer: layers inside the network whose input would gain from normalisation.

What it means
    These layers read inputs that vary far more in some directions than in others, and much of that
    imbalance would vanish if the input were normalised. The figure is a gain: κ_80 of the layer's input
    second moment Σ_x = E[x xᵀ] (for a convolution, over patches) now, divided by κ_80 after a BatchNorm
    directly before the layer. Layers with one cause make one finding that lists them all: the sum of
    residual branches that nothing centres; activations that a ReLU made positive again after
    normalisation; a network input that was not centred.

Why it matters
    A layer's own optimisation problem has, up to the gradient's part, the condition number of its input:
    gradient descent needs steps in proportion. A large common mean is the most frequent reason, and the
    cheapest to mend. What it does to a whole training run depends on all other layers, and is not
    predicted here: small networks trained from scratch with a BatchNorm before the layers that this rule
    named were not reliably faster, nor more accurate (docs/does-it-matter.md).

How it is measured
    Σ_x and the means are summed over all samples and positions of the probe in eval mode. The normalised
    input's Σ_x follows in closed form from the same sums, borders included: zeros that pad the input are put
    there before the normalisation. Both figures come from the same samples, so the gain is paired.

How sure
    The closed form agrees with layers that were really changed to 1e-6. The interval is a grouped
    jackknife over samples, never over patches. Layers with fewer than 4 rows per input dimension are
    undecided. Beyond the head the product Σ_x ⊗ Σ_g is a coarse picture of a convolution's true Fisher
    matrix (its largest eigenvalue is off by up to 60×); the input's own κ is not affected by that.

False alarms
    Healthy, accurate networks raise this: a third of the layers of a public ResNet-20 gain 10× and more.
    It is an opportunity, not a fault. Frozen layers have nothing to gain; adaptive optimisers undo a part.
    A layer with a huge κ that no normalisation lowers, such as one reading natural images, is not accused.

What to do
    For a new training run, normalise where the finding says: for a residual stream, pre-activation blocks
    (BatchNorm, ReLU, convolution) do it. For a trained network, `lcaudit fix` puts a BatchNorm before the
    layer and folds it into the weights, so that the outputs stay the same; where a convolution pads with
    zeros, the padding becomes a step of its own before the norm, which keeps the borders the same too.

Source
    Huang, Qin, Liu, Zhu and Shao, ECCV 2020 (arXiv 2002.10801); He, Zhang, Ren and Sun, "Identity
    mappings in deep residual networks", ECCV 2016. The limit of 10 was chosen; see its own source line.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import LayerRecord, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Rule, Skip
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import worst
from lcaudit.rules._conditioning import METRICS, changes_of, judge_gain, layer_sentence

LIMIT = Limit(
    10,
    "×",
    "measured on publicly trained CIFAR-10 ResNet-20: convolutions after a residual sum gain 9 to 39×, those after "
    "normalisation and ReLU 4 to 20×, the first layer 1×; no calibration on a population of networks exists: 10 "
    "was chosen",
)

#: What a layer reads → the finding's cause.
CAUSES = {
    "sum of branches": "uncentred-residual-stream",
    "normalisation": "uncentred-activations-after-normalisation",
    "network input": "uncentred-input",
}
OTHER = "uncentred-layer-inputs"

#: Cause → what the title says is read, and what is going on.
EXPLANATIONS = {
    "uncentred-residual-stream": (
        "a residual stream that nothing centres",
        "The sum of a block's branches is not normalised, and after a ReLU all of it is positive, so its mean grows "
        "from block to block and becomes one dominant direction of what is read from it.",
    ),
    "uncentred-activations-after-normalisation": (
        "activations that are off centre again",
        "The normalisation centres its output, but the function after it (usually ReLU) keeps the positive part "
        "only, so what is read has a mean again.",
    ),
    "uncentred-input": (
        "a network input that was not centred",
        "The data reaches the network with a mean or with scales that the preprocessing did not remove.",
    ),
    OTHER: (
        "inputs that nothing normalises",
        "No normalisation stands between these layers and the layers that they read from, so means and scales of "
        "their inputs are whatever training left.",
    ),
}

#: Cause → what the title says is read where taking the mean out gains nothing in any layer of the finding.
SCALES = {
    "uncentred-residual-stream": "a residual stream whose channels differ in scale",
    "uncentred-activations-after-normalisation": "activations whose channels differ in scale",
    "uncentred-input": "a network input whose scales differ",
    OTHER: "inputs that nothing normalises",
}
ONLY_SCALES = (
    "Taking the mean out does not help here: what is read differs in scale from channel to channel, and dividing each "
    "by its standard deviation is what helps."
)


def judged(layer: LayerRecord) -> bool:
    """Linear layers and convolutions, less the linear heads that LC301 judges."""
    convolution = layer.kind.startswith("conv")
    return convolution or (layer.kind == "linear" and not layer.is_head)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """The gain of every layer that is not a linear head."""
    outcomes: list[Outcome] = []
    for spectra in measurements.layers:
        layer = spectra.layer
        if judged(layer):
            cause = CAUSES.get(layer.reads, OTHER)
            outcomes.append(judge_gain(spectra, LIMIT.value, cause, (layer_sentence(spectra),)))
        elif layer.kind == "linear":
            outcomes.append(Skip(layer.name, "a linear head: LC301 judges it"))
        else:
            outcomes.append(Skip(layer.name, f"no change of input is computed for kind {display_name(layer.kind)}"))
    return outcomes


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The one cause, the range of gains and the worst layer."""
    most = worst(fails)
    what, why = EXPLANATIONS[fails[0].cause]
    if not _centring_gains(fails, measurements):
        what, why = SCALES[fails[0].cause], ONLY_SCALES
    span = figures.span([fail.measured for fail in fails])
    reads = "reads" if len(fails) == 1 else "read"
    where = "" if len(fails) == 1 else f" Most is gained at {display_name(most.layer)}."
    return (
        f"{count(len(fails), 'layer')} {reads} {what}: {changes_of(fails)} lowers κ_80 by {span}",
        f"{why}{where} Healthy networks show this too: it is a chance for easier training, not a fault.",
    )


def _centring_gains(fails: Sequence[Fail], measurements: Measurements) -> bool:
    """Whether centring improves any of the layers; assumed where it was not computed."""
    names = {fail.layer for fail in fails}
    named = (one.what_if for one in measurements.layers if one.layer.name in names)
    computed = [what_if["centring"] for what_if in named if "centring" in what_if]
    return not computed or any(option.gain.value > 1 for option in computed)


RULE = Rule(
    code="LC302",
    name="ill-conditioned-layer",
    summary="Normalising the input of inner layers would make them much better conditioned",
    severity="warning",
    kind="opportunity",
    metric=METRICS["batch_norm"],
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        layers=(
            specimen.layer("conv1", "conv2d", dimension=27, reads="network input", through="", condition_number=5.5e4),
            specimen.layer("layer1.0.conv1", "conv2d", gain=39, reads="sum of branches", depth=1),
            specimen.layer("layer1.1.conv1", "conv2d", gain=14, reads="sum of branches", depth=2),
            specimen.layer("linear", is_head=True, depth=3),
        )
    ),
    quiet=lambda: specimen.measurements(
        layers=(specimen.layer("conv1", "conv2d", gain=1, condition_number=5.5e4, reads="network input"),)
    ),
    skips=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True, gain=50),)),
)
