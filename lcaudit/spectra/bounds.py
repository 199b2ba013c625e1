"""Spectra of which only bounds are known, and the figures that follow from bounds.

Bounds are on the eigenvalues of this probe's own matrix. What other samples would give is another matter, so
that nothing here is ever judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lcaudit.core.measurements import PERCENTILES, FactorSpectrum
from lcaudit.core.quantity import Quantity
from lcaudit.spectra.eigenvalues import CURVE_POINTS, floor_of, percentile_index

#: Bounds this close to each other, relatively, are one figure.
_SAME = 1e-9
_BISECTIONS = 64
#: Points of a product's curve: each is a search of its own.
_PRODUCT_POINTS = 24


@dataclass(frozen=True, slots=True)
class Bounds:
    """Eigenvalues of K blocks between bounds.

    Attributes:
        lower, upper: for each block its bounds, descending; lists of equal lengths.
        trace: [K], exact. how: where the bounds come from, in words.
    """

    lower: tuple[np.ndarray, ...]
    upper: tuple[np.ndarray, ...]
    trace: np.ndarray
    how: str

    @property
    def side(self) -> int:
        """Eigenvalues in all."""
        return sum(map(len, self.upper))

    @property
    def known(self) -> bool:
        """Whether the two are one."""
        return all(np.array_equal(low, high) for low, high in zip(self.lower, self.upper, strict=True))


def eigenvalue_at_most(lower: np.ndarray, trace: float) -> np.ndarray:
    """Upper bounds [d] on descending eigenvalues from lower bounds [d] and the trace.

    If λ_j were larger, the first j of them, each at least λ_j and at least its own lower bound, would add up to more
    than the trace. Cost: some sorts of d.
    """
    places, sums = np.arange(1, len(lower) + 1), np.concatenate([[0.0], np.cumsum(lower)])
    low, high = lower.astype(float), np.full(len(lower), max(trace, 0.0))
    ascending = lower[::-1]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = np.minimum(len(lower) - np.searchsorted(ascending, middle, side="right"), places)
        over = sums[above] + (places - above) * middle > trace
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return high


def summary(bounds: Bounds, *, dimension: int, zero: int, n: int) -> FactorSpectrum:
    """Figures of one matrix; ``dimension``, ``zero``: its side and its rows that are all zero. ``n``: samples."""
    lower, upper = (np.sort(np.concatenate(one))[::-1] for one in (bounds.lower, bounds.upper))
    live = np.arange(len(upper)) < dimension - zero
    lower, upper = lower * live, upper * live
    trace = float(bounds.trace.sum())
    floor = floor_of(dimension)
    ranks = _ranks(lower, upper, trace, floor)
    entropies = _entropies(lower, upper, trace)
    places = np.unique(np.geomspace(1, max(1, ranks[0]), CURVE_POINTS).round().astype(int)) if ranks[0] else []
    return FactorSpectrum(
        dimension=dimension,
        zero=zero,
        rank=ranks[0],
        rank_at_most=None if ranks[0] == ranks[1] else ranks[1],
        floor=floor,
        largest=between(lower[0], upper[0], bounds.how, n),
        trace=between(trace, trace, bounds.how, n),
        condition_number=_condition_numbers(lower, upper, ranks, bounds.how, n),
        effective_rank=between(*_over(trace, lower[0], upper[0]), bounds.how, n),
        entropy_rank=between(*entropies, bounds.how, n),
        curve=tuple((int(i), math.sqrt(lower[i - 1] * upper[i - 1])) for i in places if lower[i - 1] > 0),
    )


def between(low: float, high: float, how: str, n: int, unit: str = "1") -> Quantity:
    """A figure between two bounds; where it has no upper one, at least ``low``."""
    low, high = float(low), float(high)
    if math.isnan(low) or (math.isfinite(high) and high - low <= _SAME * high):
        return Quantity(low, unit, method="plug-in, no interval", n=n, reliable=False)
    if math.isinf(high) or low <= 0:
        value, method = low, f"not known, at least this: {how}"
    else:
        value, method = math.sqrt(low * high), f"bounds for this very probe: {how}"
    return Quantity(value, unit, low, high, level=1.0, method=method, n=n, reliable=False, scale="log")


def _over(numerator: float, low: float, high: float) -> tuple[float, float]:
    return (numerator / high if high > 0 else 0.0), (numerator / low if low > 0 else math.inf)


def _ranks(lower: np.ndarray, upper: np.ndarray, trace: float, floor: float) -> tuple[int, int]:
    """Fewest and most eigenvalues that can lie above the floor."""
    if upper[0] <= 0:
        return 0, 0
    sure = int(np.count_nonzero(lower > floor * upper[0]))
    # even if each were as large as it can be, so many are needed to add up to the trace
    needed = int(np.searchsorted(np.cumsum(upper), trace - len(upper) * floor * upper[0])) + 1
    most = int(np.count_nonzero(upper > floor * lower[0]))
    return min(max(sure, needed), most), most


def _condition_numbers(
    lower: np.ndarray, upper: np.ndarray, ranks: tuple[int, int], how: str, n: int
) -> dict[str, Quantity]:
    """By percentile: λmax over an eigenvalue whose place is known within bounds, too."""
    if not ranks[1]:
        return {p: Quantity(math.nan, method="plug-in, no interval", n=n, reliable=False) for p in PERCENTILES}
    found = {}
    for p in PERCENTILES:
        first, last = (percentile_index(p, max(1, rank)) for rank in ranks)
        low, high = _over(1.0, lower[last], upper[first])
        found[p] = between(max(1.0, lower[0] * low), upper[0] * high, how, n)
    return found


def _entropies(lower: np.ndarray, upper: np.ndarray, trace: float) -> tuple[float, float]:
    """Bounds on exp of the entropy: what is left of the trace put as high, and as evenly, as it can be."""
    if trace <= 0:
        return 0.0, 0.0
    room = np.maximum(upper - lower, 0.0)
    left = max(0.0, trace - float(lower.sum()))
    used = np.minimum(room, np.maximum(0.0, left - np.concatenate([[0.0], np.cumsum(room)[:-1]])))
    low, high = 0.0, trace
    for _ in range(_BISECTIONS):
        level = (low + high) / 2
        low, high = (level, high) if np.clip(level, lower, upper).sum() < trace else (low, level)
    return _entropy_rank(lower + used), _entropy_rank(np.clip(high, lower, upper))


def _entropy_rank(values: np.ndarray) -> float:
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def product_summary(left: Bounds, right: Bounds, *, dimension: int, n: int) -> FactorSpectrum:
    """Figures of ⊕ A_k ⊗ B_k, from the factors' bounds, without forming the products.

    Cost: for each κ_p and each point of the curve 64 searches of the shorter factor's eigenvalues in the longer's.
    """
    how = left.how if not left.known else right.how
    lower, upper = list(zip(left.lower, right.lower, strict=True)), list(zip(left.upper, right.upper, strict=True))
    trace = float((left.trace * right.trace).sum())
    ranks = tuple(sum(_positive(a) * _positive(b) for a, b in pairs) for pairs in (lower, upper))
    largest = (_largest(lower), _largest(upper))
    first, last = ([percentile_index(p, max(1, rank)) for p in PERCENTILES] for rank in ranks)
    exact = left.known and right.known
    below = _ordered(upper, first)
    above = below if exact else _ordered(lower, last)
    places = np.unique(np.geomspace(1, max(1, ranks[0]), _PRODUCT_POINTS).round().astype(int)) - 1
    curve = _ordered(lower, places) if ranks[0] else []
    kappas = {}
    for p, big, small in zip(PERCENTILES, below, above, strict=True):
        low, high = _over(1.0, small, big)
        kappas[p] = between(max(1.0, largest[0] * low) if big > 0 else math.nan, largest[1] * high, how, n)
    entropies = _product_entropies(left, right, trace) if exact else (min(1.0, trace), math.inf)
    return FactorSpectrum(
        dimension=dimension,
        zero=0,
        rank=ranks[0],
        rank_at_most=None if ranks[0] == ranks[1] else ranks[1],
        floor=0.0,
        largest=between(*largest, how, n),
        trace=between(trace, trace, how, n),
        condition_number=kappas,
        effective_rank=between(*_over(trace, *largest), how, n),
        entropy_rank=between(*entropies, how, n),
        curve=tuple((int(i) + 1, float(value)) for i, value in zip(places, curve, strict=False)),
    )


def _positive(values: np.ndarray) -> int:
    return int(np.count_nonzero(values > 0))


def _largest(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    return max((float(a[0] * b[0]) for a, b in pairs if len(a) and len(b)), default=0.0)


def _ordered(pairs: Sequence[tuple[np.ndarray, np.ndarray]], places: Sequence[int] | np.ndarray) -> list[float]:
    """The products at some places (from 0) of their descending order; 0 beyond the last positive one."""
    logs = [
        (np.log(short[short > 0]), np.sort(np.log(long[long > 0])))
        for short, long in (sorted(pair, key=len) for pair in pairs)
    ]
    logs = [(short, long) for short, long in logs if len(short) and len(long)]
    total = sum(len(short) * len(long) for short, long in logs)
    found = []
    for place in places:
        if place >= total:
            found.append(0.0)
            continue
        low = min(short.min() + long[0] for short, long in logs)
        high = max(short.max() + long[-1] for short, long in logs)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = sum(
                len(short) * len(long) - int(np.searchsorted(long, middle - short, side="left").sum())
                for short, long in logs
            )
            low, high = (middle, high) if above > place else (low, middle)
        found.append(math.exp((low + high) / 2))
    return found


def _product_entropies(left: Bounds, right: Bounds, trace: float) -> tuple[float, float]:
    """exp of the entropy where both factors are known, twice; from the factors' sums of λ log λ."""
    if trace <= 0:
        return 0.0, 0.0
    total = 0.0
    for a, b in zip(left.lower, right.lower, strict=True):
        a, b = a[a > 0], b[b > 0]
        total += float(b.sum() * (a * np.log(a)).sum() + a.sum() * (b * np.log(b)).sum())
    entropy = math.log(trace) - total / trace
    return math.exp(entropy), math.exp(entropy)
