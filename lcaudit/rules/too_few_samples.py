"""LC902 too-few-samples: the probe is too small to judge the conditioning of some layers.

What it means
    For the layers named, the probe gives fewer than 4 rows per input dimension, or fewer than 100 samples, or
    the correction of the small-sample bias was found unreliable. Their condition numbers are shown and not
    judged.

Why it matters
    Too few samples make a condition number look worse than it is. With as many rows as dimensions the
    smallest eigenvalues are close to zero whatever the truth: isotropic data at 2 rows per dimension
    shows κ_100 near 34 where the truth is 1. A verdict from such figures would accuse healthy layers.

How it is measured
    The rows that a layer sees are the samples times the positions per sample. The figure is the number of
    samples needed divided by the number used.

How sure
    Where rows are too few the count is exact. Beyond that the number of samples needed is extrapolated from
    the size of the correction, and another probe gives another one: within a factor of 1.5 of the samples used
    the verdict is undecided, so that it does not flip from probe to probe. With more samples the number can
    rise again. Inputs whose directions are nearly alike (κ near 1) are the hardest: any sample shows a spread
    that is not there, and the number named is then rather a way of saying "many".

False alarms
    None: it is a statement about this audit, not about the model.

What to do
    Run with the number of samples that the finding names. If the data set does not hold as many, use
    its training split for this figure, or leave these layers undecided.

Source
    Measured: simulated layers with 16 to 256 dimensions, Gaussian and heavy-tailed, against the known truth;
    docs/variability.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import specimen
from lcaudit.core.figures import grouped
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import about

LIMIT = Limit(
    1,
    "×",
    "4 rows per dimension and 100 samples: in simulation corrections were reliable from there on, for some spectra "
    "only from 8 or 16 rows; below, for none",
)
#: By so much an estimated number of samples needed may be wrong either way. Measured: its relative spread from
#: probe to probe is 5 to 20 %.
DOUBT = 1.5


def samples_needed(spectra: LayerSpectra) -> int:
    """Samples with which the layer can be judged; more than were used where its κ was unreliable."""
    if spectra.samples < spectra.enough_samples:
        return spectra.enough_samples
    kappa = spectra.input.condition_number.get("80")
    known = kappa is not None and (kappa.reliable or kappa.bounds_only)
    return spectra.enough_samples if known else 2 * max(1, spectra.samples)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """Samples needed over samples used, for every layer."""
    outcomes: list[Outcome] = []
    for spectra in measurements.layers:
        if spectra.layer.kind == "embedding":
            outcomes.append(Skip(spectra.layer.name, "how often each token comes: no rule judges its κ"))
            continue
        name, needed, used = spectra.layer.name, samples_needed(spectra), max(1, spectra.samples)
        measured = _measured(needed / used, spectra)
        kappa = spectra.input.condition_number.get("80")
        estimated = kappa is not None and kappa.low is not None
        if needed <= used / (DOUBT if estimated else 1):
            outcomes.append(Pass(name, measured))
        elif needed > used * (DOUBT if estimated else 1):
            sentence = (
                f"{display_name(name)}: {count(spectra.samples, 'sample')} used, {_words(needed, spectra)} needed."
            )
            outcomes.append(Fail(name, measured, "too-few-samples", (sentence,)))
        else:
            reason = f"about {about(needed)} samples are needed and {count(spectra.samples, 'sample')} were used"
            outcomes.append(Undecided(name, measured, f"{reason}, too close to tell"))
    return outcomes or [Skip("", "no layer was measured")]


def _extrapolated(spectra: LayerSpectra) -> bool:
    return spectra.samples >= spectra.least_samples


def _measured(ratio: float, spectra: LayerSpectra) -> Quantity:
    """Samples needed over samples used: a count, or an extrapolation and by how much it may be wrong."""
    if not _extrapolated(spectra):
        return exact(ratio, "×")
    how = "extrapolated from the size of the correction"
    return Quantity(ratio, "×", ratio / DOUBT, ratio * DOUBT, method=how, n=spectra.samples, scale="log")


def _words(needed: int, spectra: LayerSpectra) -> str:
    return f"about {about(needed)}" if _extrapolated(spectra) else grouped(needed)


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """How many samples would do for all."""
    names = {fail.layer for fail in fails}
    most = max((one for one in measurements.layers if one.layer.name in names), key=samples_needed)
    needed, words = samples_needed(most), _words(samples_needed(most), most)
    probe = measurements.probe
    supply = (
        f"The probe holds {count(probe.available, 'sample')}."
        if probe.available >= needed
        else f"The probe holds only {count(probe.available, 'sample')}: another split, or a larger data set, is needed."
    )
    return (
        f"{count(len(fails), 'layer')} not judged: {words} samples would do",
        f"{count(probe.samples, 'sample')} of the probe were used. With so few, condition numbers of these layers "
        f"still change with the number of samples, so they are shown but not judged. {words[0].upper()}{words[1:]} "
        f"samples would do for all of them. {supply}",
    )


RULE = Rule(
    code="LC902",
    name="too-few-samples",
    summary="The probe is too small to judge some layers",
    severity="info",
    kind="defect",
    metric="samples needed / samples used, worst layer",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: specimen.measurements(
        layers=(
            specimen.layer("wide", dimension=512, samples=1000),
            specimen.layer("head", is_head=True, depth=1),
        )
    ),
    quiet=specimen.measurements,
    skips=lambda: specimen.measurements(layers=()),
    conventions=("kfac", "huang2020"),
)
