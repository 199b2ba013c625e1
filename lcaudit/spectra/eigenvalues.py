"""Eigenvalues of block-diagonal second moments, their numerical floor, and what is read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lcaudit.core.measurements import PERCENTILES

#: Points of a spectrum that are kept for plots.
CURVE_POINTS = 64
#: Where the figures of :func:`figures` stand: λmax, trace, effective rank, entropy rank, then κ_p for each percentile.
LARGEST, TRACE, EFFECTIVE_RANK, ENTROPY_RANK, KAPPA = 0, 1, 2, 3, 4
KAPPA_80 = KAPPA + PERCENTILES.index("80")
FIGURES = KAPPA + len(PERCENTILES)
EPS = float(np.finfo(np.float64).eps)
#: Sums of products in float32 round by more than a narrow matrix's d · ε where rows are alike: d counts as so much.
_FEW = 32


@dataclass(frozen=True, slots=True)
class Eigenvalues:
    """Descending eigenvalues [K·d] of a block-diagonal matrix and the floor under which they are noise.

    Attributes:
        floor: as a share of the largest: d · 2.2·10⁻¹⁶, what the eigenvalue routine can tell from zero.
            Directions that rounding of the products could have made are zero already, by
            :func:`without_rounding`.
    """

    values: np.ndarray
    floor: float

    @property
    def rank(self) -> int:
        """How many lie above the floor."""
        if not len(self.values) or self.values[0] <= 0:
            return 0
        return int(np.count_nonzero(self.values > self.floor * self.values[0]))

    def kept(self) -> np.ndarray:
        """Those above the floor."""
        return self.values[: self.rank]

    def logs(self) -> np.ndarray:
        """Natural logarithms of :func:`figures`; NaN for an all-zero matrix."""
        if self.rank == 0:
            return np.full(FIGURES, math.nan)
        return figures(np.log(self.kept()), self.log_trace())

    def log_trace(self) -> float:
        """Logarithm of their sum; the largest stands in where rounding errors outweigh all others."""
        return math.log(max(self.values[0], self.values.sum()))

    def curve(self) -> tuple[tuple[int, float], ...]:
        """At most ``CURVE_POINTS`` points (index from 1, eigenvalue), evenly spaced in log index."""
        rank = self.rank
        if rank == 0:
            return ()
        places = np.unique(np.geomspace(1, rank, CURVE_POINTS).round().astype(int))
        return tuple((int(i), float(self.values[i - 1])) for i in places)


def figures(logs: np.ndarray, log_trace: float, entropy: float | None = None) -> np.ndarray:
    """Logarithms of figures from logarithms of eigenvalues [r], in any order.

    They are λmax, trace, effective rank tr/λmax, entropy rank exp(−Σ w log w) with w = λ/tr, and κ_p for each
    percentile. ``entropy``: that of the w, where it is known. Cost: linear in r.
    """
    rank = len(logs)
    places = [rank - 1 - percentile_index(p, rank) for p in PERCENTILES]
    ordered = np.partition(logs, [*places, rank - 1])
    if entropy is None:
        entropy = _entropy(logs - log_trace)
    return np.array([ordered[-1], log_trace, log_trace - ordered[-1], entropy, *(ordered[-1] - ordered[places])])


def percentile_index(percentile: str, rank: int) -> int:
    """Place (from 0) of λ_⌈p·r⌉ among descending eigenvalues: Huang et al. 2020."""
    return max(1, math.ceil(int(percentile) * rank / 100)) - 1


def floor_of(dimension: int) -> float:
    """The numerical floor as a share of λmax; see :class:`Eigenvalues`."""
    return dimension * EPS


def without_rounding(values: np.ndarray, matrix: np.ndarray, measured: np.ndarray, float32: bool) -> np.ndarray:
    """Eigenvalues with those set to zero that rounding alone could have made.

    Rounding of a product is relative to the two entries that are multiplied, so rank shows on the scale
    where every entry has size one: a direction of A is real if D^-½ A D^-½ has an eigenvalue above d · eps
    for it (its trace is at most d). An entry of tiny but exact values is then as real as a large one.

    Args:
        values: [K, d], descending eigenvalues of ``matrix`` [K, d, d]. measured: [K, d], D, the diagonal of
            the moments as measured, before anything was subtracted from them.
        float32: whether the products were formed in float32.

    Cost: for each block whose smallest eigenvalue leaves it open a Cholesky factorisation, and where that
        fails, so that some direction is not real, one eigenvalue problem.
    """
    side = values.shape[1]
    threshold = max(side, _FEW) * float(np.finfo(np.float32).eps) if float32 else side * EPS
    cleared = values.copy()
    for k, diagonal in enumerate(measured):
        live = diagonal > 0
        count = int(live.sum())
        if count and values[k, count - 1] <= threshold * diagonal.max():  # no direction is larger on that scale
            scale = 1 / np.sqrt(diagonal[live])
            scaled = matrix[k][np.ix_(live, live)] * scale[:, None] * scale
            count = _above(scaled, threshold)
        cleared[k, count:] = 0
    return cleared


def _above(matrix: np.ndarray, threshold: float) -> int:
    """How many eigenvalues of a symmetric matrix lie above ``threshold``."""
    shifted = matrix.copy()
    shifted[np.diag_indices_from(shifted)] -= threshold
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return int(np.count_nonzero(np.linalg.eigvalsh(matrix) > threshold))
    return len(matrix)


def products(
    left: np.ndarray, left_block: np.ndarray, right: np.ndarray, right_block: np.ndarray, combine: np.ufunc
) -> np.ndarray:
    """Eigenvalues of ⊕ A_k ⊗ B_k from those of each factor, in no particular order.

    Args:
        left, right: eigenvalues [r], or logarithms of them. left_block, right_block: the k of each.
        combine: ``np.multiply``, or ``np.add`` for logarithms.
    """
    left_places, right_places = _places(left_block), _places(right_block)
    shared = [k for k in left_places if k in right_places]
    pairs = [combine.outer(left[left_places[k]], right[right_places[k]]).ravel() for k in shared]
    return np.concatenate(pairs) if pairs else np.empty(0)


def summed_products(
    left: np.ndarray, left_block: np.ndarray, right: np.ndarray, right_block: np.ndarray
) -> tuple[float, float]:
    """Logarithm of the trace, and the entropy, of ⊕ A_k ⊗ B_k from logarithms of eigenvalues, as :func:`products`.

    Shares of a product are products of shares: its entropy is the sum of both. Cost: linear in r_left + r_right.
    """
    left_places, right_places = _places(left_block), _places(right_block)
    traces, entropies = [], []
    for k in left_places.keys() & right_places.keys():
        sides = left[left_places[k]], right[right_places[k]]
        totals = [_log_sum(side) for side in sides]
        traces.append(sum(totals))
        entropies.append(sum(_entropy(side - total) for side, total in zip(sides, totals, strict=True)))
    total = _log_sum(np.array(traces))
    shares = np.array(traces) - total
    return total, float(np.exp(shares) @ entropies) + _entropy(shares)


def _log_sum(logs: np.ndarray) -> float:
    """Logarithm of the sum."""
    most = logs.max()
    return float(most + np.log(np.exp(logs - most).sum()))


def _entropy(shares: np.ndarray) -> float:
    """From logarithms of shares."""
    return -float((np.exp(shares) * shares).sum())


def _places(block: np.ndarray) -> dict[int, np.ndarray]:
    """Where each k stands in ``block``."""
    names, counts = np.unique(block, return_counts=True)
    places = np.split(np.argsort(block, kind="stable"), np.cumsum(counts)[:-1])
    return dict(zip(names.tolist(), places, strict=False))  # of no names there is one, empty, place
