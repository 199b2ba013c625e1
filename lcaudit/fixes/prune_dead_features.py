"""Remove features that are never active, or wake them."""

from __future__ import annotations

from lcaudit.core.links import Link
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Finding, Fix, Price
from lcaudit.core.recipe import Step
from lcaudit.core.text import count
from lcaudit.fixes._base import Plan, Remedy, Study, briefly, layers_of, named

CODE = """\
# after: lcaudit fix MODEL --data DATA --select prune-dead-features -o fixed.safetensors
import lcaudit

lcaudit.apply_recipe(model, "fixed.recipe.json")
"""


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Safe where the graph shows who makes the features and that nothing else reads them; advice elsewhere."""
    layers = tuple(spectra for spectra in layers_of(finding, measurements) if spectra.input.zero)
    if not layers:
        return None
    known = {name for link in _sources(measurements) for name in link.readers}
    removable = tuple(spectra for spectra in layers if spectra.layer.name in known)
    return _removal(removable, layers) if removable else _advice(layers)


def _sources(measurements: Measurements) -> tuple[Link, ...]:
    """Layers whose channels can be taken out, with everything that reads them."""
    plain = {spectra.layer.name for spectra in measurements.layers if spectra.layer.groups == 1}
    return tuple(
        link for link in measurements.links if link.channelwise and plain.issuperset((link.layer, *link.readers))
    )


def _idle(layers: tuple[LayerSpectra, ...]) -> int:
    """Weights that read nothing but zeros; a grouped convolution reads each entry with its own group only."""
    return sum(spectra.input.zero * spectra.layer.outputs // max(1, spectra.layer.groups) for spectra in layers)


def _multiplied(layers: tuple[LayerSpectra, ...]) -> int:
    """How often one of these weights is multiplied by a zero in one sample."""
    return sum(_idle((spectra,)) * spectra.layer.positions for spectra in layers)


def _removal(layers: tuple[LayerSpectra, ...], of: tuple[LayerSpectra, ...]) -> Fix:
    rest = tuple(spectra for spectra in of if spectra not in layers)
    how = (
        f"{count(_idle(layers), 'weight')} of {named(layers)} only ever multiply zeros on this probe. Nothing else "
        "reads these channels, so they are taken out in three places: the rows of the layer that makes them, their "
        "entries in the batch norm between, and the columns here. The outputs stay the same on all data on which the "
        "features are dead; `lcaudit fix` compares them on samples that it did not look at before."
    )
    if rest:
        how += (
            f" Not so for {named(rest)}: on a residual stream, or where the graph does not show all readers, a channel "
            "can only go if every branch drops it."
        )
    return Fix(
        id="prune-dead-features",
        title=f"Remove the dead features read by {briefly(layers)}",
        applicability="safe",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=(),
        how=how,
        code=CODE,
        cost="None at run time, the network gets smaller; optimiser state must be made anew.",
        price=Price(-_idle(layers), -2 * _multiplied(layers), False),
    )


def _advice(layers: tuple[LayerSpectra, ...]) -> Fix:
    return Fix(
        id="prune-dead-features",
        title=f"Remove or wake the dead features read by {briefly(layers)}",
        applicability="display",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=(),
        how=(
            f"{count(_idle(layers), 'weight')} in {count(len(layers), 'layer')} only multiply zeros on this probe. "
            "First run a larger probe: it may wake some. To make the network smaller, drop a channel in three places: "
            "the rows of the layer that makes it, its entries in the normalisation between, and the columns here. On a "
            "residual stream a channel can only go if every branch drops it. To use the channels instead, go on "
            "training with a smaller learning rate or a leaky activation, or draw their incoming weights anew."
        ),
        code="",
        cost="Removing: none at run time, the network gets smaller. Waking: some retraining.",
        price=Price(-_idle(layers), -2 * _multiplied(layers), True),
    )


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every layer that makes dead features, with the batch norm after it and all readers."""
    links = [link for link in _sources(study.measurements) if set(link.readers) & set(fix.layers)]
    plain = [link for link in links if all(study.layer(name) is not None for name in (link.layer, *link.readers))]
    found = study.channel_statistics({name: () for link in plain for name in link.readers}) if plain else {}
    steps, left_out = [], {}
    for link in plain:
        live = [found[name].largest > 0 for name in link.readers]
        alive = live[0]
        for other in live[1:]:
            alive = alive | other
        kept = alive.nonzero().flatten().tolist()
        if not kept:
            left_out.update(dict.fromkeys(link.readers, "all of its features are dead"))
        elif len(kept) < len(alive):
            modules = {"layer": link.layer} | {f"reader{i}": name for i, name in enumerate(link.readers)}
            modules |= {"normalisation": link.normalisation} if link.normalisation else {}
            numbers = {"kept": tuple(map(float, kept)), "of": (float(len(alive)),)}
            steps.append(Step(fix.id, "keep_channels", modules, numbers))
    gone = sum(int(step.numbers["of"][0]) - len(step.numbers["kept"]) for step in steps)
    return Plan(tuple(steps), f"{count(gone, 'dead channel')} taken out, with all that makes and reads them", left_out)


FIX = Remedy("prune-dead-features", ("LC303",), propose, plan, order=1)
