"""Which inputs are known well enough before the last sample.

A picture holds hundreds of patches, so that the interval of a convolution's Σ_x is narrow long before that of a head
is, and what follows costs time and no longer decides anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from lcaudit.core.looks import EARLY_LEVEL
from lcaudit.core.measurements import LayerSpectra
from lcaudit.core.quantity import Quantity
from lcaudit.core.types import InputSums, LayerMoments
from lcaudit.spectra.analyse import analyse_together
from lcaudit.spectra.resample import CHANGES
from lcaudit.spectra.sides import InputSide, input_side

#: Figures that must be known: by percentile.
_PERCENTILES = ("50", "80")
#: Share of an input that no sample so far made other than zero, beyond which all samples must say whether it is dead.
_MOST_ZERO = 0.2


class Early:
    """Asked whether an input is summed no further; keeps what it computed for those that are not.

    Args:
        precision: how far each end of the 95 % interval of κ_50, κ_80 and λmax of Σ_x, and of the larger gain in κ_80
            of centring and batch norm, may lie from the figure, as a share of it.
        limits: of gains; none may lie within that gain's interval at the level of an early look.
    """

    def __init__(self, precision: float, limits: Collection[float], float32: bool) -> None:
        self.precision, self.limits, self.float32 = precision, limits, float32
        self.sides: list[tuple[InputSums, InputSide]] = []

    def __call__(self, sums: InputSums) -> bool:
        """Whether every interval is narrow enough. Cost: the layer's eigenvalue problems, which are then done."""
        side = input_side(sums, self.float32)
        summary = side.summary
        if not side.judged or side.growth > 1 or summary.zero > _MOST_ZERO * summary.dimension:
            return False
        gains = [side.what_if[change].gain for change in CHANGES]
        gain = max(gains, key=lambda one: one.value)
        shown = (*(summary.condition_number[p] for p in _PERCENTILES), summary.largest, gain)
        ends = gain.at(EARLY_LEVEL)
        if not all(map(self._narrow, shown)) or not all(one.reliable for one in gains):
            return False
        if ends is None or any(ends[0] <= one < ends[1] for one in self.limits):
            return False
        self.sides.append((sums, side))
        return True

    def _narrow(self, quantity: Quantity) -> bool:
        if not quantity.low or not quantity.high or not quantity.reliable or not quantity.low > 0:
            return False
        return math.log(quantity.high / quantity.low) <= 2 * math.log1p(self.precision)

    def analyse(self, layers: Sequence[LayerMoments]) -> list[LayerSpectra]:
        """Spectra of layers with one Σ_x."""
        known = (side for sums, side in self.sides if sums.inputs is layers[0].inputs)
        return analyse_together(layers, float32=self.float32, inputs=next(known, None))
