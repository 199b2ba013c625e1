"""A number with its unit and its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lcaudit.core.statistics import quantile

#: Coverage of the interval that a verdict looks at. Wider than the one shown, so that an unchanged model
#: does not fall on both sides of a limit: for a figure *at* the limit a probe lands wholly on one given
#: side with probability 1/2000, and 100 probes on both sides with probability 0.0024.
VERDICT_LEVEL = 0.999

#: Beyond these Student's t is normal for our purpose; a larger number from a file would only cost time.
MOST_DEGREES = 1000


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured number.

    Attributes:
        value: best estimate; where ``method`` removes a known bias, after removing it. May be non-finite.
        unit: unit; ``"1"`` for a pure number, ``"share"`` for a part of 1 (shown in percent), ``"×"`` for a ratio.
        low, high: ends of the interval, or ``None`` where no interval was computed.
        level: coverage that the interval aims at; 1 for sure bounds on this probe's own figure.
        scale: on which its length grows with the level; ``share`` for Wilson's interval.
        degrees: degrees of freedom behind its length (Student's t), 0 for a normal interval.
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
    scale: Literal["linear", "log", "share"] = "linear"
    degrees: int = 0

    @property
    def raw(self) -> float:
        """The definition evaluated on this probe."""
        return self.value if self.plug_in is None else self.plug_in

    @property
    def bounds_only(self) -> bool:
        """Whether the ends are sure bounds on the figure of this very probe, and no confidence interval."""
        return self.level >= 1 and self.low is not None

    def at(self, level: float) -> tuple[float, float] | None:
        """Ends of the interval with another coverage, each end moved from ``value`` in proportion.

        ``None`` without an interval; an exact number is both its ends.
        """
        if self.method == "exact":
            return self.value, self.value
        if self.low is None or self.high is None:
            return None
        if level == self.level or not math.isfinite(self.value):
            return self.low, self.high
        degrees = min(max(0, self.degrees), MOST_DEGREES)
        reach = quantile(self.level, degrees) if 0 < self.level < 1 else 0.0
        if not reach:  # a level that is none, from a file
            return None
        if self.scale == "share":
            return _wilson_ends(self.value, self._effective_trials(reach), quantile(level))
        growth = quantile(level, degrees) / reach
        if self.scale == "log" and self.low > 0 and self.value > 0 and math.isfinite(self.high):
            return self.value * (self.low / self.value) ** growth, self.value * (self.high / self.value) ** growth
        return self.value - (self.value - self.low) * growth, self.value + (self.high - self.value) * growth

    def _effective_trials(self, z: float) -> float:
        """As many trials as give Wilson's interval the end that lies farther from the share."""
        assert self.low is not None and self.high is not None, "asked with an interval"
        end = max(self.low, self.high, key=lambda one: abs(one - self.value))
        return max(1.0, z * z * end * (1 - end) / (end - self.value) ** 2) if end != self.value else math.inf

    def against(self, limit: float) -> Literal["below", "above", "straddles", "unknown"]:
        """Where the whole interval at ``VERDICT_LEVEL`` lies relative to ``limit``.

        A number without an interval is compared by itself only if it is exact; otherwise, and where
        it is not reliable or not a number, the answer is ``"unknown"``.
        """
        ends = self.at(VERDICT_LEVEL)
        if not self.reliable or math.isnan(self.value) or ends is None:
            return "unknown"
        low, high = ends
        if high <= limit:
            return "below"
        return "above" if low > limit else "straddles"


def exact(value: float, unit: str = "1") -> Quantity:
    """A fact: a count or a number computed from the weights alone."""
    return Quantity(value=float(value), unit=unit)


def ratio(numerator: Quantity, denominator: Quantity, factor: float = 1.0) -> Quantity:
    """``factor`` times one positive figure over another.

    Both may come from the same samples; taking the ends crosswise ignores that, so the interval is too wide rather
    than too narrow. NaN where the denominator is 0.
    """
    low = high = None
    if numerator.low is not None and numerator.high is not None and denominator.low and denominator.high:
        low, high = factor * numerator.low / denominator.high, factor * numerator.high / denominator.low
    return Quantity(
        factor * numerator.value / denominator.value if denominator.value else math.nan,
        "×",
        low,
        high,
        method="ratio, ends taken crosswise",
        n=min(numerator.n, denominator.n),
        reliable=numerator.reliable and denominator.reliable,
        scale="log",
        degrees=min(numerator.degrees, denominator.degrees),
    )


def wilson(successes: int, trials: int, unit: str = "share", z: float = 1.959963984540054) -> Quantity:
    """A proportion with its Wilson score interval (Wilson 1927), by default in the unit of shares of 1.

    Args:
        successes: number of successes, 0 to ``trials``.
        trials: number of independent trials, at least 1.
    """
    low, high = _wilson_ends(successes / trials, trials, z)
    return Quantity(successes / trials, unit, low, high, method="Wilson score", n=trials, scale="share")


def _wilson_ends(share: float, trials: float, z: float) -> tuple[float, float]:
    share = min(max(share, 0.0), 1.0)  # a number from a file may be none
    if math.isinf(trials):
        return share, share
    denominator = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / denominator
    # at shares of 0 and 1 rounding could leave the share outside
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
