"""Feed the network what it was trained on: normalisation, channel order, file format, split."""

from __future__ import annotations

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.core.text import count, display_name
from lcaudit.fixes._base import Remedy

CODE = """\
# the normalisation of the training code, for inputs scaled to 0..1
lcaudit check MODEL --data DATA --mean R,G,B --std R,G,B
# the data set itself instead of re-encoded copies, and its test split
lcaudit check MODEL --data cifar10 --split test
# once it fits
lcaudit check MODEL --data DATA --select LC901,LC401
"""


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """What was fed, and what to compare it with, in the order in which mistakes are usual."""
    probe = measurements.probe
    if finding.id.endswith(":samples-alike"):
        return None  # no normalisation of the training code makes one sample several
    normalisation = probe.normalisation
    mean = ", ".join(f"{value:g}" for value in normalisation.mean)
    std = ", ".join(f"{value:g}" for value in normalisation.std)
    return Fix(
        id="match-preprocessing",
        title="Feed the network what it was trained on",
        applicability="display",
        layers=(),
        effects=(),
        how=(
            f"This run fed {count(probe.samples, 'sample')} of {display_name(probe.dataset, 80)} "
            f"({display_name(probe.split, 40)} split), normalised with mean ({mean}) and std ({std}), taken from: "
            f"{display_name(normalisation.source)}. Compare with the training code, in this order: mean and std; "
            "values scaled to 0 to 1 before normalising; channel order (RGB or BGR); lossless originals or JPEG "
            "copies; resizing and cropping; the split; the order of the class labels."
        ),
        code=CODE,
        cost="None: nothing about the network changes.",
    )


FIX = Remedy("match-preprocessing", ("LC901", "LC401", "LC402"), propose)
