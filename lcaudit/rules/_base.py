"""What the rules share: reasons for not deciding, whether samples differ, batch norms' shift, the worst fail."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lcaudit.core.figures import grouped, rounded_up
from lcaudit.core.measurements import FactorSpectrum, LayerSpectra, Measurements
from lcaudit.core.outcomes import Fail
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count

_KERNEL = re.compile(r"^(\d+)(?:×(\d+))?(?:×(\d+))?(?!\d)")
_DILATION = re.compile(r"dilation ([\d×]+)")


def finite(spectrum: FactorSpectrum) -> bool:
    """Whether the moment behind ``spectrum`` holds numbers at all: its counts mean nothing otherwise."""
    return math.isfinite(spectrum.largest.value) and math.isfinite(spectrum.trace.value)


def too_few(spectra: LayerSpectra) -> str:
    """Why the layer's spectrum cannot be judged for want of samples, or ``""``."""
    if spectra.samples >= spectra.enough_samples:
        return ""
    have = f"the probe has {count(spectra.samples, 'sample')}"
    if spectra.samples < spectra.least_samples:
        return (
            f"needs {count(spectra.least_samples, 'sample')} (at least 4 rows for each of "
            f"{count(spectra.input.dimension, 'entry', 'entries')}), {have}"
        )
    return (
        f"κ still changes too much with the number of samples: about {about(spectra.enough_samples)} would do, {have}"
    )


def about(number: int) -> str:
    """A number that was extrapolated, rounded up to two digits."""
    return grouped(rounded_up(number))


def alike(measurements: Measurements) -> bool:
    """Whether all samples of the probe are one and the same, to rounding, as the layers see that read the input.

    Their moments then do not change with the choice of samples. Rank alone would not show it: patches of one
    picture differ, and padding makes them differ even if the picture is blank.
    """
    known = [one for one in measurements.layers if finite(one.input)]
    first = [one for one in known if one.layer.reads == "network input"]
    if all(one.layer.kind == "embedding" for one in first):  # of positions or kinds of token: the same in every sample
        first = known * bool(first)
    return bool(first) and all(
        one.centred.rank == 0 or (_constant(one.input.largest) and _constant(one.mean_energy)) for one in first
    )


def _constant(quantity: Quantity) -> bool:
    """Whether the interval over the choice of samples is as narrow as rounding (float32 leaves about 1e-7)."""
    if quantity.method == "exact" or quantity.low is None or quantity.high is None:
        return False
    return quantity.high - quantity.low <= 1e-5 * abs(quantity.value)


def kernel(spectra: LayerSpectra) -> tuple[int, int]:
    """Taps of the layer's kernel, and the area that they span once dilated; (1, 1) for a linear layer."""
    match = _KERNEL.match(spectra.layer.geometry)
    if match is None:
        return 1, 1
    sides = [int(side) for side in match.groups() if side]
    dilated = _DILATION.search(spectra.layer.geometry)
    step = max(int(part) for part in dilated[1].split("×") if part) if dilated else 1
    return math.prod(sides), math.prod((side - 1) * step + 1 for side in sides)


def replay(measurements: Measurements) -> Quantity | None:
    """Mean over batch norms of mean shift (in running σ) plus variance shift (in nat); ``None`` without any.

    The layers see the same samples, so their errors go together: the ends of the interval are the
    means of the layers' ends, which is too wide where errors are independent and never too narrow.
    """
    layers = measurements.batch_norms
    if not layers:
        return None
    parts = [part for layer in layers for part in (layer.mean_shift, layer.variance_shift)]
    lows = [part.value if part.method == "exact" else part.low for part in parts]
    highs = [part.value if part.method == "exact" else part.high for part in parts]
    return Quantity(
        sum(part.value for part in parts) / len(layers),
        "1",
        None if None in lows else sum(low for low in lows if low is not None) / len(layers),
        None if None in highs else sum(high for high in highs if high is not None) / len(layers),
        method="mean over batch norms, ends averaged",
        n=min(part.n for part in parts),
        degrees=min(part.degrees for part in parts),
        reliable=all(part.reliable and math.isfinite(part.value) for part in parts),
    )


def worst(fails: Sequence[Fail]) -> Fail:
    """The fail with the largest figure: in every rule here, larger is worse."""
    return max(fails, key=lambda fail: fail.measured.value)
