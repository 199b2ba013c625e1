"""The small-sample bias of eigenvalues, and how far its correction can be trusted.

Sample eigenvalues are spread too far: the largest are too large and the smallest too small, by about
b/n. Variances along the same eigenvectors on *other* samples are not spread far enough, for a vector
fitted to noise is not the true one: they fall short by the same b/n. So the truth lies between.

Let ℓ be the logarithm of a sample eigenvalue and ℓ + D that of the variance on other samples. Where
eigenvalues are far apart compared with their noise, the truth is midway: ℓ + D/2. Where a crowd of
nearly equal eigenvalues is torn apart by noise, the ℓ spread like √(τ² + σ²) about the crowd's middle, τ
from truth and σ from noise, and the variances on other samples like τ²/√(τ² + σ²) (regression to the
mean). The share s = τ²/(τ² + σ²) is the slope of one against the other, and the true spread τ is √s times
that of the ℓ, which lies at ℓ + D/(1 + √s): midway for s = 1, at the other samples' end for s = 0.

Source: eigenvectors on held-out samples: Abadir, Distaso and Žikeš 2014; Bartz 2016; what they converge
to: Ledoit and Péché 2011. The interpolation between the two: measured, see docs/variability.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A correction that moves a logarithm by half of this or more is refused. Measured: below, what is left of
#: the bias of log κ_80 is under 0.1 for power-law, exponential and spiked spectra.
MOST_GAP = 0.6
#: So is one that moves log κ_p by an eighth of it or more: the differences seen are then mostly noise.
MOST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Treated:
    """Logarithms of figures [F] under four treatments of the eigenvalues, and without each group [G, F].

    Attributes:
        raw: of the sample eigenvalues. best: corrected. other: corrected midway everywhere.
        strain: [F], size of the correction over what is accepted; beyond 1 the figure is refused.
    """

    raw: np.ndarray
    best: np.ndarray
    other: np.ndarray
    left_out: np.ndarray
    strain: np.ndarray

    def __sub__(self, other: Treated) -> Treated:
        """Logarithms of ratios, paired on the same samples."""
        return Treated(
            self.raw - other.raw,
            self.best - other.best,
            self.other - other.other,
            self.left_out - other.left_out,
            np.maximum(self.strain, other.strain),
        )

    def __add__(self, constant: float) -> Treated:
        """All figures times exp(constant)."""
        return Treated(
            self.raw + constant, self.best + constant, self.other + constant, self.left_out + constant, self.strain
        )

    def __getitem__(self, figures: list[int]) -> Treated:
        return Treated(
            self.raw[figures], self.best[figures], self.other[figures], self.left_out[:, figures], self.strain[figures]
        )


def strain(raw: np.ndarray, crossed: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Gap between both ends of the bias as a multiple of the largest accepted; ``ratios`` marks the κ_p."""
    gap = np.abs(raw - crossed)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(gap > 0, gap / (MOST_SHARE * np.maximum(raw, 0)), 0.0)
    return np.maximum(gap / MOST_GAP, np.where(ratios, share, 0.0))


def corrected(logs: np.ndarray, crossed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corrected logarithms of eigenvalues: the estimate, and the one that takes all of them as far apart.

    Args:
        logs: [r], descending. crossed: [r], of the variance on other samples along each eigenvector.

    Cost: linear in r.
    """
    rank = len(logs)
    if rank == 0:
        return logs, logs
    places = np.arange(rank)
    # averaged over as many neighbours on both sides as there are, up to a tenth of the spectrum
    near = np.minimum(np.minimum(places, rank - 1 - places), rank // 10)
    difference = _mean(crossed - logs, places - near, places + near + 1)
    root = np.sqrt(_slope(logs, crossed))
    return logs + difference / (1 + root), logs + difference / 2


def _mean(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Means over windows."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[stop] - sums[start]) / (stop - start)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope of y against x by least squares in a window of half the spectrum about each place, within [0, 1]."""
    rank = len(x)
    places, reach = np.arange(rank), max(8, rank // 4)
    start, stop = np.maximum(places - reach, 0), np.minimum(places + reach + 1, rank)
    x, y = x - x.mean(), y - y.mean()
    mean_x, mean_y = _mean(x, start, stop), _mean(y, start, stop)
    variance = _mean(x * x, start, stop) - mean_x**2
    covariance = _mean(x * y, start, stop) - mean_x * mean_y
    flat = variance <= 1e-12 * np.maximum(1e-12, np.square(x).max())
    return np.clip(np.where(flat, 1.0, covariance / np.where(flat, 1.0, variance)), 0.0, 1.0)
