"""LC903 layers-not-audited: some of the network's parameters lie outside what was measured.

What it means
    These modules have learned parameters, and no figure in this report speaks of them. The finding says
    which kinds they are, how many parameters they hold, and why they were left out.

Why it matters
    What was not measured has not passed. A report on a third of a network is a report on a third of it,
    and a gate that does not say so would be taken for a verdict on the whole.

How it is measured
    The parameters of modules that were not measured, divided by all learned parameters.

How sure
    Exact.

False alarms
    The scale and offset of a normalisation layer are learned, but have no input covariance of their own
    to condition, so nearly every network has a small share here. It is told as information and fails no
    gate by default.

What to do
    Nothing for normalisation layers. If convolutions, linear layers or embeddings are named, read their
    reason: a kind that is not supported, or a layer that the forward pass never called.

Source
    The limit of zero is a definition: nothing goes unnamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import Measurements, NotAudited
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.text import count, display_name, one_line

LIMIT = Limit(0, "share", "a definition: whatever was not measured is named")


def share(measurements: Measurements) -> Quantity:
    """Share of the learned parameters that lies in the modules named as not audited."""
    named = sum(module.parameters for module in measurements.not_audited)
    return exact(named / measurements.network.parameters, "share")


def unaccounted(measurements: Measurements) -> int:
    """Parameters that are neither in a measured layer nor in a named module."""
    audited = sum(spectra.layer.parameters for spectra in measurements.layers)
    named = sum(module.parameters for module in measurements.not_audited)
    return max(0, measurements.network.parameters - audited - named)


def evidence(measurements: Measurements) -> tuple[str, ...]:
    """One sentence for each kind of module and reason."""
    groups: dict[tuple[str, str], list[NotAudited]] = {}
    for module in measurements.not_audited:
        groups.setdefault((module.kind, module.reason), []).append(module)
    sentences = [
        f"{display_name(kind)}: {count(len(modules), 'module')}, "
        f"{count(sum(module.parameters for module in modules), 'parameter')} "
        f"({one_line([module.name for module in modules])}): {display_name(reason)}."
        for (kind, reason), modules in groups.items()
    ]
    rest = unaccounted(measurements)
    if rest:
        sentences.append(f"A further {count(rest, 'parameter')} lie in no module that was named.")
    return tuple(sentences)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict for the whole network."""
    if not measurements.network.parameters:
        return [Skip("", "the network has no learned parameters")]
    if not measurements.layers and measurements.non_finite:
        return [Skip("", "the network was not run: LC101 says why")]
    measured = share(measurements)
    if measured.value > 0:
        return [Fail("", measured, "not-audited", evidence(measurements))]
    rest = unaccounted(measurements)
    if rest:
        return [Undecided("", measured, f"{count(rest, 'parameter')} lie in no module that was named")]
    return [Pass("", measured)]


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """The share, by kind."""
    (fail,) = fails
    modules = measurements.not_audited
    kinds = list(dict.fromkeys(module.kind for module in modules))
    return (
        f"{figures.percent(fail.measured.value)} of the parameters were not audited",
        f"{count(len(modules), 'module')} with {count(sum(m.parameters for m in modules), 'learned parameter')} "
        f"were not measured, of these kinds: {one_line(kinds)}. Nothing in this report speaks of them; "
        "they have neither passed nor failed.",
    )


RULE = Rule(
    code="LC903",
    name="layers-not-audited",
    summary="Some parameters lie outside what was measured",
    severity="info",
    kind="defect",
    metric="parameters outside the audit",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        not_audited=(
            NotAudited("bn1", "batch_norm", 32, "scale and offset have no input covariance"),
            NotAudited("layer1.0.bn1", "batch_norm", 32, "scale and offset have no input covariance"),
            NotAudited("embed", "embedding", 400, "this kind of layer is not supported"),
        )
    ),
    quiet=lambda: specimen.measurements(layers=(specimen.layer("head", is_head=True, dimension=199),)),
    skips=lambda: specimen.measurements(network=replace(specimen.measurements().network, parameters=0)),
    conventions=("kfac", "huang2020"),
)
