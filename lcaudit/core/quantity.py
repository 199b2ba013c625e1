"""A number with its unit and its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured number.

    Attributes:
        value: best estimate; where ``method`` removes a known bias, after removing it. May be non-finite.
        unit: unit, ``"1"`` for a pure number.
        low, high: ends of the interval, or ``None`` where no interval was computed.
        level: coverage that the interval aims at.
        method: how estimate and interval were made, in a few words; ``"exact"`` for a fact.
        n: independent samples behind it (0 for a fact about the weights).
        plug_in: the definition evaluated on this very probe, before any bias was removed; ``None``
            where it equals ``value``.
        reliable: false where the small-sample bias is too large to correct: shown, never judged.
    """

    value: float
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = "exact"
    n: int = 0
    plug_in: float | None = None
    reliable: bool = True

    @property
    def raw(self) -> float:
        """The definition evaluated on this probe."""
        return self.value if self.plug_in is None else self.plug_in

    def against(self, limit: float) -> Literal["below", "above", "straddles", "unknown"]:
        """Where the whole interval lies relative to ``limit``.

        A number without an interval is compared by itself only if it is exact; otherwise, and where
        it is not reliable or not a number, the answer is ``"unknown"``.
        """
        if not self.reliable or math.isnan(self.value):
            return "unknown"
        if self.method == "exact":
            low = high = self.value
        elif self.low is None or self.high is None:
            return "unknown"
        else:
            low, high = self.low, self.high
        if high <= limit:
            return "below"
        return "above" if low > limit else "straddles"


def exact(value: float, unit: str = "1") -> Quantity:
    """A fact: a count or a number computed from the weights alone."""
    return Quantity(value=float(value), unit=unit)


def wilson(successes: int, trials: int, unit: str = "1", z: float = 1.959963984540054) -> Quantity:
    """A proportion with its Wilson score interval (Wilson 1927).

    Args:
        successes: number of successes, 0 to ``trials``.
        trials: number of independent trials, at least 1.
    """
    share = successes / trials
    denominator = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / denominator
    return Quantity(share, unit, max(0.0, centre - half), min(1.0, centre + half), method="Wilson score", n=trials)
