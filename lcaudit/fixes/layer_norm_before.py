"""Put a LayerNorm in front of ill-conditioned layers: advice, for it changes the function.

Computed from the input as it is now, behind a LayerNorm without learned part. Once that is trained, what the layer
reads and Σ_g are those of another network.
"""

from __future__ import annotations

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.fixes._base import MORE_THAN_NOTHING, Remedy, briefly, effects_of, gaining, named, price


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Where it was measured and would help; a batch norm keeps the function and is the first choice."""
    layers = gaining("layer_norm", finding, measurements, least=MORE_THAN_NOTHING)
    if not layers:
        return None
    return Fix(
        id="layer-norm-before",
        title=f"Train again with LayerNorm before {briefly(layers)}",
        applicability="display",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=effects_of("layer_norm", layers),
        how=(
            f"A LayerNorm directly before {named(layers)}: each sample, or token, centred and scaled by its own "
            "features' mean and standard deviation. It works the same on one sample as on many, and so "
            "needs no running statistics. But no weights behind it compute what the network computes now: it is for "
            "a new training run, or to be trained into this one. The gain is what it does to the input as it is now; "
            "after training the input and Σ_g are others. For a convolution: GroupNorm with one group."
        ),
        code="",
        cost=(
            "Two parameters per input channel; about eight operations per input, which cannot be folded away; "
            "retraining."
        ),
        price=price(layers, parameters=2, operations=8, retraining=True),
    )


FIX = Remedy("layer-norm-before", ("LC301", "LC302"), propose)
