"""Interval arithmetic shared by stages; no torch."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist


@cache
def quantile(level: float, degrees: int = 0) -> float:
    """How many standard errors an interval of coverage ``level`` reaches either way.

    Args:
        degrees: of freedom, for Student's t; 0 for the normal distribution.
    """
    return student_t(degrees, level) if degrees else NormalDist().inv_cdf((1 + level) / 2)


@cache
def student_t(degrees: int, level: float = 0.95) -> float:
    """Two-sided quantile of Student's t, by bisection of its exact distribution function.

    Args:
        degrees: degrees of freedom, at least 1. level: coverage of the interval ±t.
    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4 (finite trigonometric sums).
    """
    low, high = 0.0, 1.0
    while _coverage(high, degrees) < level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _coverage(middle, degrees) < level else (low, middle)
    return high


def _coverage(t: float, degrees: int) -> float:
    """P(|T| ≤ t)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    if degrees % 2:
        term, total = cosine, 0.0
        for k in range(1, degrees - 1, 2):
            total += term
            term *= cosine**2 * (k + 1) / (k + 2)
        return 2 / math.pi * (angle + sine * total)
    term, total = 1.0, 0.0
    for k in range(0, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return sine * total


#: Two-sided 95 % quantile of the normal distribution.
NORMAL_95 = NormalDist().inv_cdf(0.975)
