"""λmax of a layer's own Fisher block, from the Gram matrix of single samples' gradients, and its interval.

Two figures hold the truth between them, in expectation and whatever the spectrum:

* *plug-in*: λmax of the samples' own matrix, too large since its eigenvector is fitted to their noise;
* *held out*: the variance along the top eigenvector of nine groups of samples, on the tenth, averaged
  over the tenths. No direction has more than λmax, so this is too small.

The estimate is their geometric mean, right to first order where the top eigenvalue stands alone. The
interval runs from the held-out figure less its standard error times t(G−1) to the plug-in plus its own:
with t one-sided at 95 %, for the truth can only be missed at the end that it lies at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.statistics import student_t
from lcaudit.core.types import SampleGram
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.eigenvalues import LARGEST
from lcaudit.spectra.intervals import jackknife_error

#: Logarithm of plug-in over held-out figure beyond which λmax is shown but not judged: nearly flat spectra,
#: where the held-out figure's own error is underestimated, go beyond it first.
MOST_GAP = 1.25
#: Eigenvectors that are followed from the whole sample to each of its parts.
_BLOCK, _STEPS, _TOLERANCE = 6, 50, 1e-7
#: An interval that reaches beyond exp of this, more than float64 holds, says nothing.
_MOST_LOG = 700.0


@dataclass(frozen=True, slots=True)
class Largest:
    """Logarithms: ``plug_in`` and ``held_out`` of λmax, ``left_out`` of the plug-in without each group [G].

    Attributes:
        held_out_error: standard error of ``held_out``. rows: gradients behind it all.
    """

    plug_in: float
    held_out: float
    left_out: np.ndarray
    held_out_error: float
    rows: int


def largest(block: SampleGram) -> Largest | None:
    """λmax with what its interval needs; ``None`` for a matrix that is all zeros.

    Cost: one eigenvalue problem of m gradients, and some steps of subspace iteration for each group.
    """
    gram, group, counts = np.asarray(block.gram), np.asarray(block.group), np.asarray(block.counts)
    n, groups = int(counts.sum()), len(counts)
    values, vectors = np.linalg.eigh(gram)
    if not values[-1] > 0:
        return None
    left_out, held_out = np.full(groups, np.nan), np.zeros(groups)
    for g in range(groups):
        others = group != g
        value, vector = _top(gram[np.ix_(others, others)], vectors[others, -_BLOCK:])
        if value > 0:
            left_out[g] = math.log(value / (n - counts[g]))
            # the eigenvector in weight space is Σ a_i G_i / √value
            held_out[g] = np.square(gram[np.ix_(~others, others)] @ vector).sum() / value
    total = float(held_out.sum())
    if groups < 2 or total <= 0 or not np.isfinite(left_out).all():
        return Largest(math.log(values[-1] / n), math.nan, left_out, math.nan, len(gram))
    spread = np.square(held_out - total * counts / n).sum() * groups / (groups - 1)
    return Largest(
        math.log(values[-1] / n), math.log(total / n), left_out, math.sqrt(spread) / total, len(gram)
    )  # fmt: skip


def _top(gram: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest eigenvalue and its vector, by subspace iteration from vectors near it."""
    if not gram.size:
        return 0.0, np.empty(0)
    basis, before = np.linalg.qr(start)[0], 0.0
    for _ in range(_STEPS):
        basis = np.linalg.qr(gram @ basis)[0]
        values, turn = np.linalg.eigh(basis.T @ gram @ basis)
        basis = basis @ turn
        if abs(values[-1] - before) <= _TOLERANCE * abs(values[-1]):
            break
        before = values[-1]
    return float(values[-1]), basis[:, -1]


def quantity(own: Largest) -> Quantity:
    """λmax of the layer's own Fisher block in nat, its interval holding the bias."""
    return replace(_between(own, own.plug_in, own.held_out, _error(own.left_out), own.held_out_error), unit="nat")


def scaled(block: Quantity, weight_norm: float) -> Quantity:
    """λmax·‖W‖², in nat."""
    if not weight_norm > 0:
        return exact(0.0, "nat")
    by = weight_norm**2
    low, high, plug_in = (None if one is None else one * by for one in (block.low, block.high, block.plug_in))
    return replace(block, value=block.value * by, low=low, high=high, plug_in=plug_in)


def ratio(product: Treated, own: Largest) -> Quantity:
    """λmax of Σ_x ⊗ Σ_g over the layer's own, in ×. ``product``: figures of the product.

    Where both have the same groups of samples, their errors are paired.
    """
    over = float(product.best[LARGEST])
    above, below = _error(own.left_out), own.held_out_error
    others = product.left_out[:, LARGEST]
    if len(others) == len(own.left_out):
        above = _error(others - own.left_out)
        below = math.hypot(below, _error(others))
    elif len(others) > 1:
        above, below = math.hypot(above, _error(others)), math.hypot(below, _error(others))
    found = _between(own, over - own.held_out, over - own.plug_in, below, above)
    return replace(
        found, unit="×", plug_in=math.exp(float(product.raw[LARGEST]) - own.plug_in),
        reliable=found.reliable and len(others) > 1,
    )  # fmt: skip


def _between(own: Largest, upper: float, lower: float, upper_error: float, lower_error: float) -> Quantity:
    """From the logarithms of both ends and their standard errors."""
    groups = len(own.left_out)
    reach = student_t(groups - 1, 0.9) if groups > 1 else math.nan
    low, high = min(upper, lower) - reach * lower_error, max(upper, lower) + reach * upper_error
    if not (math.isfinite(low) and high < _MOST_LOG):
        value = upper if math.isfinite(upper) else lower
        return Quantity(math.exp(value), method="plug-in, no interval", n=own.rows, reliable=False)
    return Quantity(
        math.exp((upper + lower) / 2),
        low=math.exp(low),
        high=math.exp(high),
        method=f"between held-out and plug-in eigenvalue, each widened by resampling {groups} groups of samples",
        n=own.rows,
        plug_in=math.exp(upper),
        reliable=upper - lower <= MOST_GAP,
        scale="log",
        degrees=groups - 1,
    )


def _error(left_out: np.ndarray) -> float:
    return float(jackknife_error(left_out))
