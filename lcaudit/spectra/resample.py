"""Which replicates of a layer's second moments are made, and how."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from lcaudit.core.types import LayerMoments
from lcaudit.spectra.correction import MOST_GAP, Treated, corrected, strain
from lcaudit.spectra.eigenvalues import (
    FIGURES,
    KAPPA,
    KAPPA_80,
    LARGEST,
    Eigenvalues,
    figures,
    products,
    summed_products,
)
from lcaudit.spectra.factor import Factor, Whole, exactly, perturbed, plain
from lcaudit.spectra.intervals import SMALL, jackknife_error
from lcaudit.spectra.second_moment import GroupedMoments

#: The input as it is, and after each change.
CHANGES = ("centring", "batch_norm")
INPUTS = ("input", *CHANGES)
#: Up to this side every replicate is an eigenvalue problem of its own.
EXACT_SIDE = 96
#: Beyond this side none is: they would take longer than everything else together.
WIDE_SIDE = 512
#: Perturbation is as good as exact replicates up to this gap between the two ends of the bias of log κ_80, and from
#: so many rows per dimension, counted by the noise …
SMALL_GAP, MANY_ROWS = 0.1, 16
#: … and from this side on, where a percentile rests on more eigenvalues, up to and from these. Measured at d = 384 on
#: four kinds of spectra: log κ_80 and its standard error then differ by less than 0.03 and a third from exact ones.
AVERAGING_SIDE, AVERAGED_GAP, AVERAGED_ROWS = 320, 0.25, 10
#: With fewer, every figure is refused in the end, so exact replicates would be wasted.
FEW_ROWS = 1

_RATIOS = np.arange(FIGURES) >= KAPPA


def input_factors(grouped: GroupedMoments, groups: int, enough: bool, float32: bool) -> tuple[dict[str, Factor], float]:
    """Σ_x as it is and after each change; without replicates unless there are rows ``enough`` to judge it.

    Returns:
        the factors by name, and by how much the samples would have to grow for their replicates to be
        good enough for a verdict (at most 1 where they are).
    """
    whole = grouped.whole()
    side = whole.total.shape[-1]

    def changed(name: str) -> Whole:
        return Whole(whole.matrix(name), whole.measured(name), float32)

    shares = grouped.shares()
    if groups < 2 or shares.max() == 1 or not enough:
        return {name: plain(changed(name)) for name in INPUTS}, 1.0
    others = [grouped.without(g) for g in range(groups)]
    if side > EXACT_SIDE:
        factors, gap, rows = {}, 0.0, math.inf
        for name in INPUTS:
            traces = np.array([other.diagonal(name).sum() for other in others])
            times = partial(grouped.times_without, name)
            factors[name], by_noise = perturbed(changed(name), times, traces)
            gap, rows = max(gap, _gap(factors[name])), min(rows, by_noise)
        short = _short_by(gap, rows, side)
        if short is not None:
            return factors, short
    return {
        name: exactly(changed(name), [partial(other.matrix, name) for other in others], shares) for name in INPUTS
    }, 1.0


def gradient_factor(moments: LayerMoments, enough: bool, float32: bool) -> tuple[Factor, float]:
    """Σ_g, and by how much the samples would have to grow, as :func:`input_factors`."""
    sums, samples = np.asarray(moments.gradient), np.asarray(moments.samples)
    total, n = sums.sum(0), int(samples.sum())
    groups, side = range(len(samples)), total.shape[-1]
    whole = Whole(total / n, np.diagonal(total, axis1=1, axis2=2) / n, float32)
    if len(samples) < 2 or not enough:
        return plain(whole), 1.0

    def without(g: int) -> np.ndarray:
        return (total - sums[g]) / (n - samples[g])

    def times(vectors: np.ndarray) -> Iterator[np.ndarray]:
        product = total @ vectors
        return ((product - sums[g] @ vectors) / (n - samples[g]) for g in groups)

    if side > EXACT_SIDE:
        traces = np.diagonal(total, axis1=1, axis2=2).sum() - np.diagonal(sums, axis1=2, axis2=3).sum((1, 2))
        factor, rows = perturbed(whole, times, traces / (n - samples))
        short = _short_by(_gap(factor), rows, side)
        if short is not None:
            return factor, short
    return exactly(whole, [partial(without, g) for g in groups], samples / n), 1.0


def _short_by(gap: float, rows: float, side: int) -> float | None:
    """By how much the samples would have to grow for perturbation to do; ``None`` where exact replicates will."""
    per_dimension = max(rows / side, 1e-3)
    small, many = (SMALL_GAP, MANY_ROWS) if side < AVERAGING_SIDE else (AVERAGED_GAP, AVERAGED_ROWS)
    if gap <= small and per_dimension >= many:
        return 1.0
    if side > WIDE_SIDE:
        return max(gap / small, many / per_dimension)
    if gap > MOST_GAP or per_dimension < FEW_ROWS:
        return max(gap / MOST_GAP, 4 * FEW_ROWS / per_dimension)
    return None


def treated(factor: Factor) -> Treated:
    """λmax, trace and κ_p of one factor."""
    logs = factor.logs
    if not len(logs):
        nothing = np.full(FIGURES, np.nan)
        return Treated(nothing, nothing, nothing, np.full((len(factor.left_out), FIGURES), np.nan), nothing)
    trace = factor.full.log_trace()
    raw, crossed = figures(logs, trace), figures(factor.crossed, trace)
    best, other = (figures(one, trace) for one in corrected(logs, factor.crossed))
    left_out = [figures(one, log) for one, log in zip(factor.left_out, factor.traces, strict=True)]
    return _with_strain(raw, crossed, best, other, np.reshape(left_out, (-1, FIGURES)))


def treated_products(left: Factor, right: Factor) -> tuple[Treated, Eigenvalues]:
    """The same of the Kronecker product, over all products, and those products.

    Cost: linear in their number r_left · r_right / K, times the groups; one sort.
    """

    def log_products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return products(one, left.block, other, right.block, np.add)

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return figures(log_products(one, other), *summed_products(one, left.block, other, right.block))

    values = products(left.full.kept(), left.block, right.full.kept(), right.block, np.multiply)
    whole = Eigenvalues(np.sort(values)[::-1], 0.0)
    if not whole.rank:
        nothing = np.full(FIGURES, np.nan)
        return Treated(nothing, nothing, nothing, np.full((len(left.left_out), FIGURES), np.nan), nothing), whole
    raw = whole.logs()
    crossed, best, other = (
        np.r_[found[:1], raw[1:2], found[2:]]  # the trace has no bias
        for found in (
            both(left.crossed, right.crossed),
            *map(both, corrected(left.logs, left.crossed), corrected(right.logs, right.crossed)),
        )
    )
    left_out = [both(one, another) for one, another in zip(left.left_out, right.left_out, strict=False)]
    return _with_strain(raw, crossed, best, other, np.reshape(left_out, (-1, FIGURES))), whole


def _with_strain(
    raw: np.ndarray, crossed: np.ndarray, best: np.ndarray, other: np.ndarray, left_out: np.ndarray
) -> Treated:
    """Logarithms of figures, and how far each can be trusted."""
    pull = strain(raw, crossed, _RATIOS)
    if len(left_out) > 1:
        # the largest of a crowd of nearly equal eigenvalues is mostly noise, and no neighbour above it shows how much
        allowed = 2 * max(float(jackknife_error(left_out)[LARGEST]), SMALL)
        pull[LARGEST] = max(pull[LARGEST], abs(raw[LARGEST] - crossed[LARGEST]) / allowed)
    return Treated(raw, best, other, left_out, pull)


def _gap(factor: Factor) -> float:
    """Between the two ends of the bias of log κ_80."""
    if not len(factor.crossed):
        return 0.0
    return float(abs(figures(factor.logs, 0.0) - figures(factor.crossed, 0.0))[KAPPA_80])
