"""One layer's moments → :class:`LayerSpectra`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lcaudit.core.measurements import PERCENTILES, FactorSpectrum, LayerSpectra, WhatIf
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.types import LayerMoments
from lcaudit.spectra import fisher_block
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.eigenvalues import EFFECTIVE_RANK, ENTROPY_RANK, KAPPA, KAPPA_80, LARGEST, TRACE, Eigenvalues
from lcaudit.spectra.factor import Whole, plain
from lcaudit.spectra.intervals import estimates, share, short_by
from lcaudit.spectra.resample import CHANGES, gradient_factor, input_factors, treated, treated_products
from lcaudit.spectra.second_moment import GroupedMoments

#: Rows per dimension below which no κ is judged.
ROWS_PER_DIMENSION = 4
#: More samples than this many times those measured are never asked for: the extrapolation says no more than "many".
MOST_GROWTH = 1e4
#: Samples below which no interval is trusted: a tenth of fewer is no sample of its own.
FEWEST_SAMPLES = 100

_EXACT = {
    "centring": "exact for this layer's input, zero padding applied after the change",
    "batch_norm": "exact for this layer's input, ε = 1e-5, zero padding applied after the change",
}


def analyse(moments: LayerMoments, *, float32: bool) -> LayerSpectra:
    """Spectra, condition numbers, intervals and what-ifs of one layer.

    Args:
        float32: whether products were formed in float32, which decides what is rounding.

    Cost: three symmetric eigenvalue problems of side d_in with eigenvectors and one without; where d_in is
        at most 96, or at most 2,304 and the bias neither small nor hopeless, 3 · (1 + G), G the sample groups.
    """
    layer, n = moments.layer, int(np.asarray(moments.samples).sum())
    grouped = GroupedMoments(moments.inputs)
    whole = grouped.whole()
    live = int(np.count_nonzero(whole.diagonal("input")))
    wanted = max(_rows_for(max(1, live // layer.groups), layer.positions), FEWEST_SAMPLES)
    enough = n >= wanted
    enough_gradient = n >= max(_rows_for(layer.outputs // layer.groups, layer.positions), FEWEST_SAMPLES)

    inputs, strained = input_factors(grouped, len(moments.samples), enough, float32)
    judged = enough and strained <= 1
    gradient, gradient_strained = gradient_factor(moments, enough_gradient, float32)
    judged_gradient = enough_gradient and gradient_strained <= 1
    figures = {name: treated(factor) for name, factor in inputs.items()}
    of_gradient = treated(gradient)
    of_products, fisher = treated_products(inputs["input"], gradient)
    own = None if isinstance(moments.block, str) else fisher_block.largest(moments.block)
    block = fisher_block.quantity(own) if own else None
    now = figures["input"][[KAPPA_80]]
    gains = {change: now - figures[change][[KAPPA_80]] for change in CHANGES}
    growth = strained if strained > 1 else max(short_by(now), short_by(gains["batch_norm"]))

    centred = plain(Whole(whole.centred(), whole.measured("centring"), float32)).full
    unbounded = [Quantity(float(v), method="plug-in, no interval", reliable=False) for v in np.exp(centred.logs())]
    if not centred.rank:  # a constant input
        unbounded[LARGEST] = unbounded[TRACE] = exact(0.0)
    silent = int(np.count_nonzero(np.diagonal(np.asarray(moments.gradient).sum(0), axis1=1, axis2=2) == 0))
    return LayerSpectra(
        layer=layer,
        samples=n,
        input=_summary(
            inputs["input"].full, layer.inputs, layer.inputs - live, estimates(figures["input"], n=n, enough=judged)
        ),
        centred=_summary(centred, layer.inputs, layer.inputs - live, unbounded),
        gradient=_summary(gradient.full, layer.outputs, silent, estimates(of_gradient, n=n, enough=judged_gradient)),
        fisher=_summary(
            fisher,
            layer.inputs * layer.outputs // layer.groups,
            0,
            estimates(of_products, n=n, enough=judged and judged_gradient),
        ),
        mean_energy=share(
            whole.mean_energy(),
            [grouped.without(g).mean_energy() for g in range(len(moments.samples))],
            n=n,
            enough=n >= FEWEST_SAMPLES,
        ),
        what_if={
            change: WhatIf(
                change,
                _condition_numbers(estimates(figures[change], n=n, enough=judged)),
                replace(estimates(gains[change], n=n, enough=judged)[0], unit="×"),
                inputs[change].full.curve(),
                _EXACT[change],
            )
            for change in CHANGES
        },
        weight_norm=moments.weight_norm,
        scaled_curvature=fisher_block.scaled(block, moments.weight_norm)
        if block
        else _scaled(of_products[[LARGEST]], moments.weight_norm, n, judged and judged_gradient),
        gradient_label=moments.gradient_label,
        least_samples=wanted,
        enough_samples=max(wanted, math.ceil(n * min(growth, MOST_GROWTH))) if enough else wanted,
        fisher_largest=block,
        kronecker_ratio=fisher_block.ratio(of_products, own) if own else None,
        block_reason=moments.block if isinstance(moments.block, str) else "" if own else "its gradients are all zero",
        replicates=_replicates("input", figures["input"]) | _replicates("gradient", of_gradient),
    )


def _replicates(factor: str, figures: Treated) -> dict[str, tuple[float, ...]]:
    """Logarithms without each group of samples, by metric; none where any is not finite."""
    places = {"kappa_80": KAPPA_80, "kappa_50": KAPPA, "largest": LARGEST}
    kept = {f"{factor}.{name}": figures.left_out[:, place] for name, place in places.items()}
    return {
        name: tuple(map(float, logs.round(6))) for name, logs in kept.items() if logs.size and np.isfinite(logs).all()
    }


def _scaled(largest: Treated, weight_norm: float, n: int, judged: bool) -> Quantity:
    """λmax(F)·‖W‖² in nat."""
    if not weight_norm > 0:
        return exact(0.0, "nat")
    return replace(estimates(largest + 2 * math.log(weight_norm), n=n, enough=judged)[0], unit="nat")


def _rows_for(dimension: int, positions: int) -> int:
    """Samples that hold enough rows for a matrix of this side."""
    return math.ceil(ROWS_PER_DIMENSION * dimension / positions)


def _condition_numbers(figures: list[Quantity]) -> dict[str, Quantity]:
    """By percentile. κ_100 rests on the one smallest direction: its interval covers too seldom to be given."""
    found = dict(zip(PERCENTILES, figures[KAPPA:], strict=True))
    last = found["100"]
    return found | {"100": Quantity(last.raw, method="plug-in, no interval", n=last.n, reliable=False)}


def _summary(spectrum: Eigenvalues, dimension: int, zero: int, figures: list[Quantity]) -> FactorSpectrum:
    rank = spectrum.rank
    return FactorSpectrum(
        dimension=dimension,
        zero=zero,
        rank=rank,
        floor=spectrum.floor,
        largest=figures[LARGEST],
        trace=figures[TRACE],
        condition_number=_condition_numbers(figures) if rank else dict.fromkeys(PERCENTILES, exact(math.nan)),
        effective_rank=figures[EFFECTIVE_RANK] if rank else exact(0.0),
        entropy_rank=figures[ENTROPY_RANK] if rank else exact(0.0),
        curve=spectrum.curve(),
    )
