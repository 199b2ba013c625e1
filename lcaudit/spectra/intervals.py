"""Estimates with intervals from groups of samples.

Samples, never patches or tokens, are the units: positions of one image are correlated. Figures are
logarithms. The estimate is the corrected one (:mod:`lcaudit.spectra.correction`); the interval is
± t(G−1) standard errors of the delete-a-group jackknife (Efron and Stein 1981; Kott 2001) about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lcaudit.core.quantity import Quantity
from lcaudit.core.statistics import student_t
from lcaudit.spectra.correction import Treated

#: Two corrections that differ by less, on a logarithmic scale, agree well enough whatever the standard error.
SMALL = 0.02


def jackknife_error(left_out: np.ndarray) -> np.ndarray:
    """Standard error from replicates [G, …], each without one of G groups."""
    groups = len(left_out)
    return np.sqrt((groups - 1) / groups * np.square(left_out - left_out.mean(0)).sum(0))


def estimates(figures: Treated, *, n: int, enough: bool = True) -> list[Quantity]:
    """Positive figures with intervals.

    Args:
        enough: false where there are too few rows for the dimension: figures are then as they are on this
            probe, unreliable and without interval.

    Returns:
        One :class:`Quantity` per figure, ``plug_in`` the figure on all samples as it is. Reliable if the
        correction is small enough and its two versions agree within a standard error.
    """
    plug_in = np.exp(figures.raw)
    groups = len(figures.left_out)
    if groups < 2 or not enough:
        return [Quantity(float(p), method="plug-in, no interval", n=n, reliable=False) for p in plug_in]
    error = jackknife_error(figures.left_out)
    doubt = disagreement(figures)
    reach = student_t(groups - 1) * np.maximum(error, np.minimum(doubt, SMALL))
    reliable = (figures.strain <= 1) & (doubt <= np.maximum(error, SMALL))
    method = f"cross-validated bias correction, jackknife over {groups} groups of samples"
    return [
        Quantity(
            value=math.exp(figures.best[i]),
            low=math.exp(figures.best[i] - reach[i]),
            high=math.exp(figures.best[i] + reach[i]),
            method=method,
            n=n,
            plug_in=float(plug_in[i]),
            reliable=bool(reliable[i]),
            scale="log",
            degrees=groups - 1,
        )
        if math.isfinite(figures.best[i]) and math.isfinite(reach[i])
        else Quantity(float(plug_in[i]), method="no finite estimate", n=n, reliable=False)
        for i in range(len(plug_in))
    ]


def disagreement(figures: Treated) -> np.ndarray:
    """How far the two versions of the correction lie apart: what it may leave of the bias."""
    return np.abs(figures.best - figures.other)


def short_by(figures: Treated) -> float:
    """By how much the samples would have to grow for all figures to be reliable; 1 or less if they are, 0 if unknown.

    A correction falls like 1/n; what it leaves behind falls like 1/n² where it works, the standard error
    like 1/√n.
    """
    if len(figures.left_out) < 2 or not np.isfinite(figures.raw).all():
        return 0.0
    error, doubt = jackknife_error(figures.left_out), disagreement(figures)
    with np.errstate(divide="ignore", invalid="ignore"):
        doubtful = np.where(doubt > np.maximum(error, SMALL), (doubt / error) ** (2 / 3), 0.0)
    needed = float(np.max(np.maximum(figures.strain, doubtful)))
    return needed if math.isfinite(needed) else 2.0


def share(full: float, left_out: Sequence[float], *, n: int, enough: bool = True) -> Quantity:
    """A share between 0 and 1, on its own scale: jackknife bias correction and interval."""
    groups = len(left_out)
    if groups < 2 or not math.isfinite(full):
        return Quantity(full, method="plug-in, no interval", n=n, reliable=False)
    replicates = np.asarray(left_out)
    reach = student_t(groups - 1) * float(jackknife_error(replicates))
    value = min(1.0, max(0.0, groups * full - (groups - 1) * float(replicates.mean())))
    return Quantity(
        value,
        "share",
        max(0.0, value - reach),
        min(1.0, value + reach),
        method=f"jackknife over {groups} groups of samples",
        n=n,
        plug_in=full,
        reliable=enough,
        degrees=groups - 1,
    )
