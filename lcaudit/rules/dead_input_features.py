"""LC303 dead-input-features: parts of a layer's input were never active on the probe.

What it means
    Some entries of a layer's input were exactly zero for every sample. The weights that read them do
    nothing and receive no gradient. For a 3×3 convolution one dead channel is nine entries, since each
    channel is read through nine taps; where the count divides evenly the finding gives channels too.

Why it matters
    Dead features are capacity that is paid for and not used. A few are normal: ordinary trained ResNets
    have dead channels, and work well. Many, or a number that grows during training, point to a learning
    rate that was too large or to ReLUs pushed below zero for good.

How it is measured
    An entry is dead when its second moment over all samples and positions is exactly zero, in eval mode.
    The figure is the share of a layer's input that is dead. Any is told, as information; layers in which
    more than a quarter is dead make a finding of their own, which is a warning. Layers that read the
    network's input are left out: there a constant zero is a property of the data.

How sure
    The count is exact for this probe. Beyond it, "never active on n samples" bounds how often the entry
    is active: below 3/n of samples with 95 % confidence (the rule of three).

False alarms
    A probe that does not resemble the training data, or one of few classes, leaves features idle that
    other data would wake. Where a padded convolution has fewer output positions than its kernel covers,
    some taps may only ever meet padding; such layers are undecided instead of accused.

What to do
    Usually nothing. To save time and memory, remove the channels: outputs on data where they are dead do
    not change. To use them, go on training with a smaller learning rate, a leaky activation, or
    re-initialise them.

Source
    Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983 (rule of three).
    The limit of zero is a definition. A quarter was chosen: the layers of public CIFAR-10 ResNet-20/32/44
    have up to 19 % of their input dead.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import exact
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import finite, kernel, worst

LIMIT = Limit(0, "share", "a definition: an entry counts as dead when it was zero for every sample")
#: Beyond this share of a layer's input the finding is a warning.
MANY = Limit(
    0.25,
    "share",
    "chosen: the layers of publicly trained CIFAR-10 ResNet-20/32/44 have up to 19 % of their input dead",
)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """Dead entries of every layer's input."""
    return [_judge(spectra) for spectra in measurements.layers] or [Skip("", "no layer was measured")]


def _judge(spectra: LayerSpectra) -> Outcome:
    layer, dead = spectra.layer, spectra.input.zero
    measured = exact(dead / max(1, spectra.input.dimension), "share")
    if layer.reads == "network input":
        zeros = f"; {count(dead, 'entry', 'entries')} of it always zero" if dead else ""
        return Skip(layer.name, f"reads the network's input: a constant there is the data's{zeros}")
    if not finite(spectra.input):
        return Undecided(layer.name, measured, "the layer's input was not finite")
    if not dead:
        return Pass(layer.name, measured)
    taps, area = kernel(spectra)
    if taps > 1 and "padding" in layer.geometry and layer.positions < area:
        return Undecided(
            layer.name,
            measured,
            f"with {count(layer.positions, 'output position')} and a padded kernel over {area}, some taps may only "
            "ever meet padding: dead channels cannot be told from it",
        )
    evidence = (f"{display_name(layer.name)}: {_amount(spectra)}.",)
    if measured.value > MANY.value:
        return Fail(layer.name, measured, "many-dead-features", evidence, limit=MANY)
    return Fail(layer.name, measured, "dead-features", evidence, severity="info")


def _amount(spectra: LayerSpectra) -> str:
    dead, dimension = spectra.input.zero, spectra.input.dimension
    taps, _ = kernel(spectra)
    text = f"{dead} of {dimension} input entries"
    if taps > 1 and dead % taps == 0 and dimension % taps == 0:
        text += f" ({dead // taps} of {count(dimension // taps, 'channel')})"
    return f"{text} never active"


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """How many, where most, and that a few are normal."""
    by_name = {spectra.layer.name: spectra for spectra in measurements.layers}
    most = by_name[worst(fails).layer]
    samples = most.input_samples or most.samples
    seen, bound = count(samples, "sample"), figures.percent(min(1.0, 3 / max(1, samples)), 2)
    where = f"Most at {display_name(most.layer.name)}: {_amount(most)}"
    reads = "reads" if len(fails) == 1 else "read"
    if fails[0].cause == "many-dead-features":
        return (
            f"{count(len(fails), 'layer')} {reads} an input of which more than a quarter is dead",
            f"{where} on {seen}. The weights that read them do nothing and receive no "
            "gradient. So many point to a learning rate that was too large, to ReLUs pushed below zero for good, or "
            "to a probe unlike the training data.",
        )
    return (
        f"{count(len(fails), 'layer')} {reads} features that were never active; a few are normal",
        f"{where} on {seen}, which bounds how often they are active: below {bound} of "
        "samples (95 % confidence, rule of three). A few are normal in a trained network and do no harm; they matter "
        "where the network must be made smaller.",
    )


RULE = Rule(
    code="LC303",
    name="dead-input-features",
    summary="Some of a layer's inputs were never active on the probe",
    severity="warning",
    kind="defect",
    metric="dead input entries, layer with the largest share",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        layers=(
            specimen.layer("layer3.0.conv2", "conv2d", dimension=576, zero=270, depth=0),
            specimen.layer("linear", zero=20, is_head=True, depth=1),
        )
    ),
    quiet=specimen.measurements,
    skips=lambda: specimen.measurements(
        layers=(specimen.layer("stem", "conv2d", dimension=27, zero=9, reads="network input"),)
    ),
)
