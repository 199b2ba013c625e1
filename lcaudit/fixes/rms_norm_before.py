"""Put a RMSNorm in front of ill-conditioned layers: advice, for it changes the function.

Computed from the input as it is now, behind a RMSNorm without learned part. Once that is trained, what the layer
reads and Σ_g are those of another network.
"""

from __future__ import annotations

from lcaudit.fixes._base import Remedy, retrained_norm

FIX = Remedy(
    "rms-norm-before",
    ("LC301", "LC302"),
    retrained_norm(
        "rms_norm",
        "RMSNorm",
        does="each sample, or token, scaled by the root mean square of its own features, and not centred",
        convolution="over channels and positions together",
        parameters=1,
        operations=4,
        cost="One parameter per input channel; about four operations per input",
    ),
)
