"""Remove features that are never active, or wake them."""

from __future__ import annotations

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.core.text import count
from lcaudit.fixes._base import Remedy, briefly, layers_of


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Advice with the number of weights that do nothing."""
    layers = tuple(spectra for spectra in layers_of(finding, measurements) if spectra.input.zero)
    if not layers:
        return None
    # A grouped convolution reads each entry with the outputs of its own group only.
    idle = sum(spectra.input.zero * spectra.layer.outputs // max(1, spectra.layer.groups) for spectra in layers)
    return Fix(
        id="prune-dead-features",
        title=f"Remove or wake the dead features read by {briefly(layers)}",
        applicability="display",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=(),
        how=(
            f"{count(idle, 'weight')} in {count(len(layers), 'layer')} only ever multiply zeros on this probe. First "
            "run a larger probe: it may wake some. To make the network smaller, drop a channel in three places: the "
            "rows of the layer that makes it, its entries in the normalisation between, and the columns here. On a "
            "residual stream a channel can only go if every branch drops it. To use the channels instead, go on "
            "training with a smaller learning rate or a leaky activation, or draw their incoming weights anew."
        ),
        code="",
        cost="Removing: none at run time, the network gets smaller. Waking: some retraining.",
    )


FIX = Remedy("prune-dead-features", ("LC303",), propose)
