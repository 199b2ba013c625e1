"""LC101 non-finite-weights: the checkpoint holds numbers that are not numbers.

What it means
    At least one stored tensor has entries that are NaN ("not a number") or infinite. The finding
    names each such tensor and counts the entries.

Why it matters
    One such entry spreads through every sum it takes part in, so the network's outputs, and every
    other figure of an audit, are usually not numbers either. Such a checkpoint cannot be used, and
    training cannot go on from it: the first step would spoil all other weights.

How it is measured
    Every entry of every floating-point tensor in the file is tested. No data is needed.

How sure
    Exact.

False alarms
    A few tools store −inf on purpose, for example as an attention mask in a buffer. Such a buffer is
    not a weight; if that is what is named here, ignore this rule.

What to do
    Go back to the last checkpoint that is finite. The usual causes are a learning rate that is too
    large, half-precision overflow without loss scaling, a division by a variance of zero, or a
    logarithm of zero in the loss. torch.autograd.set_detect_anomaly(True) finds the operation.

Source
    IEEE 754: arithmetic with NaN gives NaN. The limit of zero is a definition, not an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import specimen
from lcaudit.core.measurements import Measurements, NonFinite
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip
from lcaudit.core.quantity import exact
from lcaudit.core.text import count, display_name, one_line

LIMIT = Limit(0, "entries", "a definition: no weight may be NaN or infinite")


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One fail per tensor with NaN or infinite entries."""
    if measurements.non_finite:
        return [
            Fail(
                tensor.name,
                exact(tensor.entries, "entries"),
                "non-finite-tensors",
                (f"{display_name(tensor.name)}: {tensor.entries} of {count(tensor.size, 'entry', 'entries')}.",),
            )
            for tensor in measurements.non_finite
        ]
    if not measurements.tensors:
        return [Skip("", "no tensor was read")]
    return [Pass("", exact(0, "entries"))]


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """Which tensors, and that nothing else can be trusted."""
    total = int(sum(fail.measured.value for fail in fails))
    follows = (
        "every other figure in this report may be meaningless"
        if measurements.layers
        else "the network was not run and nothing else was measured"
    )
    return (
        f"{count(total, 'stored number')} in {count(len(fails), 'tensor')} {'is' if total == 1 else 'are'} NaN or "
        "infinite",
        f"Tensors concerned: {one_line([fail.layer for fail in fails])}. One such number spoils every sum that it "
        f"takes part in, so {follows}. Go back to the last checkpoint that is finite.",
    )


RULE = Rule(
    code="LC101",
    name="non-finite-weights",
    summary="A stored tensor holds NaN or infinite entries",
    severity="error",
    kind="defect",
    metric="entries NaN or infinite, worst tensor",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        non_finite=(NonFinite("layer3.0.conv1.weight", 3, 36864), NonFinite("linear.bias", 1, 10))
    ),
    quiet=specimen.measurements,
    skips=lambda: specimen.measurements(tensors=0),
    conventions=("kfac", "huang2020"),
)
