"""LC304 rank-collapse: a layer's input has lost directions that the layer needs.

What it means
    The input varies in fewer independent directions than it should. For the head of a classifier of C
    classes that is fewer than C − 1, the number an arbitrary softmax needs, or than its width where that is
    smaller, less one behind a normalisation (LayerNorm takes each sample's mean out). For other layers it is half,
    or less, of the features that are alive. The figure is the number of directions that are missing.

Why it matters
    What is not in the input cannot be read from it: with too few directions some classes can only be
    told apart along lines that serve other classes already. It also makes the layer's own optimisation
    problem singular: along the missing directions no gradient arrives, so training does not bring them back.

How it is measured
    The rank is the number of eigenvalues of the centred covariance C = Σ_x − μμᵀ above the numerical
    floor: those that rounding could not have made. Dead features are counted apart and not expected to vary.

How sure
    More samples can only raise a rank, so a rank that suffices passes with any number of samples, and one
    that falls short is undecided until there are 4 rows per dimension. The count itself is exact for the
    probe, given the floor.

False alarms
    A bottleneck that was built on purpose: where nothing nonlinear stands between the layer and what
    feeds it, a low rank can be the design, and the layer is skipped. The same holds where the wiring is
    not known, and for layers that read the network's input. A probe with few classes, or of one kind of
    picture, can lack directions that other data has. The collapse of a well-trained classifier's
    features towards C − 1 directions is no false alarm's source: C − 1 is enough.

What to do
    Check first that the probe is what the network was trained for (LC901) and varied. If the collapse is
    real, look at training: too large a learning rate or weight decay, a loss that lets features collapse
    (contrastive or distillation losses without a counterweight), or an initialisation of the wrong scale.
    Normalisation or residual connections before the layer keep rank through depth.

Source
    Feng et al., "Rank diminishing in deep neural networks", NeurIPS 2022; Papyan, Han and
    Donoho, "Prevalence of neural collapse", PNAS 2020. C − 1 is a count; one half was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import specimen
from lcaudit.core.figures import rank
from lcaudit.core.measurements import LayerRecord, LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import exact
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import alike, finite, too_few

LIMIT = Limit(
    0,
    "directions",
    "a count for heads: a softmax over C classes has C − 1 independent directions; for other layers more than half of "
    "the live features, which was chosen (the layers of a public CIFAR-10 ResNet-20 keep 94 % of them or more)",
)

#: Functions that cannot raise a rank; whatever else stands in ``through`` may.
LINEAR = {"", "average pooling"}


def check(measurements: Measurements) -> Sequence[Outcome]:
    """Missing directions of every layer whose wiring says that they should be there."""
    classes = measurements.network.classes
    if alike(measurements):
        reason = "all samples of the probe are alike (LC901), so no input can vary, whatever the weights are"
        return [Undecided("", None, reason)]
    return [_judge(spectra, classes) for spectra in measurements.layers] or [Skip("", "no layer was measured")]


def needed(spectra: LayerSpectra, classes: int) -> int:
    """Directions that the layer's input should have."""
    alive = spectra.input.dimension - spectra.input.zero
    if spectra.layer.is_head:
        # a LayerNorm's outputs, less its shift and over its scale, add up to zero: one direction is gone by design
        taken = spectra.layer.reads in ("normalisation", "unknown")
        return max(1, min(classes - 1, spectra.input.dimension - taken))
    return alive // 2 + 1


def _reason_to_skip(layer: LayerRecord) -> str:
    if layer.reads == "network input":
        return "reads the network's input: its rank is the data's"
    if layer.reads == "unknown" and not layer.is_head:
        return "what feeds this layer is not known, so a low rank may be the design"
    linear = all(part.strip() in LINEAR for part in layer.through.split(","))
    # A normalisation before the head keeps the width of a stream; inside, it may follow a widening layer.
    if linear and (layer.reads == "layer" or (layer.reads == "normalisation" and not layer.is_head)):
        return "nothing nonlinear stands between it and what feeds it: a low rank may be the design"
    return ""


def _judge(spectra: LayerSpectra, classes: int) -> Outcome:
    layer, centred = spectra.layer, spectra.centred
    reason = _reason_to_skip(layer)
    if reason:
        return Skip(layer.name, reason)
    want = needed(spectra, classes)
    missing = exact(max(0, want - centred.rank), "directions")
    if not finite(centred):
        return Undecided(layer.name, missing, "the layer's input was not finite")
    if not missing.value:
        return Pass(layer.name, missing)
    shortage = too_few(spectra)
    if shortage:
        return Undecided(layer.name, missing, shortage)
    if centred.rank_at_most is not None:
        return Undecided(layer.name, missing, f"its rank is known within bounds only: {rank(centred)} directions")
    return Fail(
        layer.name,
        missing,
        "collapse",
        (
            f"{display_name(layer.name)}: its input varies in {count(centred.rank, 'direction')} of "
            f"{centred.dimension}; {want} are needed.",
            f"{count(spectra.input.zero, 'entry', 'entries')} of the input always zero.",
        ),
    )


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """Rank, need, and what follows, of the first layer: what is lost there is missing in all that follow."""
    names = {fail.layer for fail in fails}
    spectra = next(spectra for spectra in measurements.layers if spectra.layer.name in names)
    classes = measurements.network.classes
    want = needed(spectra, classes)
    why = (
        f"a softmax over {classes} classes needs {want}, so some classes can only be told apart along directions "
        "that others use already"
        if spectra.layer.is_head
        else f"more than half of the live features, {want}, would be expected"
    )
    left = count(spectra.centred.rank, "direction")
    title = f"The input of {display_name(spectra.layer.name)} has collapsed to {left}"
    if len(names) > 1:
        title += f", and so have those of {count(len(names) - 1, 'layer')} after it"
    return (
        title,
        f"It varies in {count(spectra.centred.rank, 'independent direction')}; {why}. Training along the missing "
        "directions gets no gradient. Check that the probe fits the network and is varied before blaming the weights.",
    )


RULE = Rule(
    code="LC304",
    name="rank-collapse",
    summary="A layer's input has lost directions that the layer needs",
    severity="error",
    kind="defect",
    metric="independent directions missing, worst layer",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True, rank=4),)),
    quiet=specimen.measurements,
    skips=lambda: specimen.measurements(
        layers=(
            specimen.layer("stem", "conv2d", rank=3, reads="network input"),
            specimen.layer("wide", rank=3, reads="layer", through="", depth=1),
        )
    ),
)
