"""Put a LayerNorm in front of ill-conditioned layers: advice, for it changes the function.

Computed from the input as it is now, behind a LayerNorm without learned part. Once that is trained, what the layer
reads and Σ_g are those of another network.
"""

from __future__ import annotations

from lcaudit.fixes._base import Remedy, retrained_norm

FIX = Remedy(
    "layer-norm-before",
    ("LC301", "LC302"),
    retrained_norm(
        "layer_norm",
        "LayerNorm",
        does="each sample, or token, centred and scaled by its own features' mean and standard deviation",
        convolution="GroupNorm with one group",
        parameters=2,
        operations=8,
        cost="Two parameters per input channel; about eight operations per input",
    ),
)
