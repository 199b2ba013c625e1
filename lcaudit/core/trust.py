"""How far a Kronecker product can stand for a layer's own Fisher block, from the ratio of their largest eigenvalues."""

from __future__ import annotations

import math

from lcaudit.core.quantity import Quantity

#: Factor within which a product's λmax counts as that of the layer's own Fisher block.
HOLDS = 1.5


def holds(ratio: Quantity | None) -> bool | None:
    """Whether the whole interval lies within ``HOLDS`` either way, or beyond it; ``None`` where neither is known."""
    ends = _ends(ratio)
    if ends is None:
        return None
    if ends[0] >= 1 / HOLDS and ends[1] <= HOLDS:
        return True
    return False if ends[0] > HOLDS or ends[1] < 1 / HOLDS else None


def words(ratio: Quantity | None, reason: str) -> str:
    """The same for a reader. ``reason``: why there is no ratio."""
    if ratio is None:
        return f"not measured: {reason or 'this audit did not compare them'}"
    ends = _ends(ratio)
    if ends is None:
        return "not known: too few samples"
    if holds(ratio):
        return f"product holds within ×{HOLDS:g}"
    low, high = ends
    if low > 1:
        return f"product is ×{ratio.value:.2g} too large"
    if high < 1:
        return f"product is ×{1 / ratio.value:.2g} too small"
    return f"product is within ×{max(1 / low, high):.2g}, closer is not known"


def _ends(ratio: Quantity | None) -> tuple[float, float] | None:
    if ratio is None or not ratio.reliable or ratio.low is None or ratio.high is None:
        return None
    # numbers from a file may be anything
    return (ratio.low, ratio.high) if 0 < ratio.low <= ratio.value <= ratio.high < math.inf else None
