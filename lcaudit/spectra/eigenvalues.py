"""Eigenvalues of block-diagonal second moments, their numerical floor, and what is read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lcaudit.core.measurements import PERCENTILES

#: Points of a spectrum that are kept for plots.
CURVE_POINTS = 64


@dataclass(frozen=True, slots=True)
class Eigenvalues:
    """Descending eigenvalues [K·d] of a block-diagonal matrix and the floor under which they are noise.

    Attributes:
        floor: as a share of the largest. DESIGN: d · eps · λmax. In float64 that is taken literally. Where
            products were formed in float32 the worst case d · eps would hide real directions (3·10⁻⁵ at
            d = 256) although rounding errors are random and sum to about 2·eps/√d of λmax, so there the
            floor is eps(float32) = 1.2·10⁻⁷: above the noise, below what is real.
    """

    values: np.ndarray
    floor: float

    @property
    def rank(self) -> int:
        """How many lie above the floor."""
        if not len(self.values) or self.values[0] <= 0:
            return 0
        return int(np.count_nonzero(self.values > self.floor * self.values[0]))

    def logs(self) -> np.ndarray:
        """Natural logarithms of (λmax, trace, κ_p for each percentile); NaN for an all-zero matrix."""
        rank = self.rank
        if rank == 0:
            return np.full(2 + len(PERCENTILES), math.nan)
        largest = self.values[0]
        kappas = [largest / self.values[percentile_index(p, rank)] for p in PERCENTILES]
        with np.errstate(invalid="ignore"):  # eigenvalues that are all rounding noise may sum to less than nothing
            return np.log(np.array([largest, self.values.sum(), *kappas]))

    def curve(self) -> tuple[tuple[int, float], ...]:
        """At most ``CURVE_POINTS`` points (index from 1, eigenvalue), evenly spaced in log index."""
        rank = self.rank
        if rank == 0:
            return ()
        places = np.unique(np.geomspace(1, rank, CURVE_POINTS).round().astype(int))
        return tuple((int(i), float(self.values[i - 1])) for i in places)


def percentile_index(percentile: str, rank: int) -> int:
    """Place (from 0) of λ_⌈p·r⌉ among descending eigenvalues: Huang et al. 2020, section 3.1."""
    return max(1, math.ceil(int(percentile) * rank / 100)) - 1


def floor_of(dimension: int, float32: bool) -> float:
    """The numerical floor as a share of λmax; see :class:`Eigenvalues`."""
    exact = dimension * float(np.finfo(np.float64).eps)
    return max(exact, float(np.finfo(np.float32).eps)) if float32 else exact


def eigenvalues(blocks: np.ndarray, float32: bool) -> Eigenvalues:
    """Of blocks [K, d, d], symmetric, float64. Cost: K · (4/3) d³ operations."""
    values = np.sort(np.linalg.eigvalsh(blocks).ravel())[::-1]
    return Eigenvalues(values, floor_of(len(values), float32))


def products(left: list[np.ndarray], right: list[np.ndarray]) -> Eigenvalues:
    """Eigenvalues of ⊕ A_k ⊗ B_k from each factor's own, those under their factor's floor left out."""
    values = np.concatenate([np.outer(a, b).ravel() for a, b in zip(left, right, strict=True)])
    values[::-1].sort()
    return Eigenvalues(values, 0.0)
