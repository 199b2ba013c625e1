"""A layer's two factors: what is known of Σ_x and of Σ_g, in whichever form they were kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from lcaudit.core.measurements import PERCENTILES, Attribution, FactorSpectrum, WhatIf
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.types import InputSums, KeptRows, LayerMoments, Sketch
from lcaudit.spectra.bounds import Bounds, between, summary
from lcaudit.spectra.closed_form import closed_form_bounds
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.dual import DualMoment, summed_gradient, summed_inputs
from lcaudit.spectra.eigenvalues import EFFECTIVE_RANK, ENTROPY_RANK, KAPPA, KAPPA_80, LARGEST, TRACE, Eigenvalues
from lcaudit.spectra.factor import Factor, Whole, plain
from lcaudit.spectra.intervals import estimates, share, short_by
from lcaudit.spectra.one_hot import OneHotWhole
from lcaudit.spectra.resample import CHANGES, INPUTS, gradient_factor, input_factors, treated
from lcaudit.spectra.second_moment import GroupedMoments, SecondMoment
from lcaudit.spectra.sketch import sketch_bounds
from lcaudit.spectra.what_if import EXACT, behind_norms, taken_apart, whitened, whitening

#: Rows per dimension below which no κ is judged.
ROWS_PER_DIMENSION = 4
#: Samples below which no interval is trusted: a tenth of fewer is no sample of its own.
FEWEST_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class InputSide:
    """Σ_x as it is and after each change.

    Attributes:
        values: its eigenvalues. samples: behind it. judged: whether verdicts may rest on it.
        least_samples: with which anything is judged. growth: by how much the samples would have to grow.
        figures: logarithms of what is read off them; ``None`` for bounds.
        changed: eigenvalues after each change; none for bounds. attribution: by p.
    """

    values: Factor | Bounds
    summary: FactorSpectrum
    centred: FactorSpectrum
    mean_energy: Quantity
    what_if: Mapping[str, WhatIf]
    samples: int
    judged: bool
    enough: bool
    least_samples: int
    growth: float
    figures: Treated | None = None
    changed: Mapping[str, Factor] = field(default_factory=dict)
    attribution: Mapping[str, Attribution] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GradientSide:
    """Σ_g; ``figures`` as for :class:`InputSide`."""

    values: Factor | Bounds
    summary: FactorSpectrum
    judged: bool
    figures: Treated | None = None


def input_side(sums: InputSums, float32: bool) -> InputSide:
    """Everything about Σ_x."""
    layer, inputs, n, groups = sums.layer, summed_inputs(sums.inputs), int(sums.samples.sum()), len(sums.samples)
    grouped = GroupedMoments(inputs)
    whole = grouped.whole()
    live = int(np.count_nonzero(whole.diagonal("input")))
    wanted = max(rows_for(max(1, live // layer.groups), layer.positions), FEWEST_SAMPLES)
    mean_energy = share(
        whole.mean_energy(),
        [grouped.without(g).mean_energy() for g in range(groups)],
        n=n,
        enough=n >= FEWEST_SAMPLES,
    )
    zero = layer.inputs - live
    if isinstance(inputs.second, Sketch):
        return _sketched_input(inputs.second, whole, layer.inputs, zero, mean_energy, n, wanted)
    if isinstance(inputs.second, torch.Tensor):
        enough = n >= wanted
        factors, strained = input_factors(grouped, groups, enough, float32)
    else:
        enough, strained = False, 1.0
        kept = inputs.second
        changed = (
            DualMoment(kept, whole.rows, whole, float32).whole
            if isinstance(kept, KeptRows)
            else partial(OneHotWhole, whole)
        )
        factors = {name: plain(changed(name)) for name in INPUTS}
    if whole.centring_is_centred:
        centred = factors["centring"]
    elif isinstance(inputs.second, torch.Tensor):
        centred = plain(Whole(whole.centred(), whole.measured("centring"), float32))
    else:
        centred = plain(changed("centred"))
    judged = enough and strained <= 1
    figures = {name: treated(factor) for name, factor in factors.items()}
    now = figures["input"][[KAPPA_80]]
    gains = {change: now - figures[change][[KAPPA_80]] for change in CHANGES}
    unbounded = [Quantity(float(v), method="plug-in, no interval", reliable=False) for v in np.exp(centred.full.logs())]
    if not centred.full.rank:  # a constant input
        unbounded[LARGEST] = unbounded[TRACE] = exact(0.0)
    shown = of_eigenvalues(factors["input"].full, layer.inputs, zero, estimates(figures["input"], n=n, enough=judged))
    normed = behind_norms(sums.normed, shown.condition_number["80"], n, float32)
    return InputSide(
        values=factors["input"],
        summary=shown,
        centred=of_eigenvalues(centred.full, layer.inputs, zero, unbounded),
        mean_energy=mean_energy,
        what_if={
            change: WhatIf(
                change,
                condition_numbers(estimates(figures[change], n=n, enough=judged)),
                replace(estimates(gains[change], n=n, enough=judged)[0], unit="×"),
                factors[change].full.curve(),
                EXACT[change],
            )
            for change in CHANGES
        }
        | {"whitening": whitening(shown.condition_number["80"], centred)}
        | {name: what_if for name, (what_if, _) in normed.items()},
        samples=n,
        judged=judged,
        enough=enough,
        least_samples=wanted,
        growth=strained if strained > 1 else max(short_by(now), short_by(gains["batch_norm"])),
        figures=figures["input"],
        changed={change: factors[change] for change in CHANGES}
        | {"whitening": whitened(centred)}
        | {name: factor for name, (_, factor) in normed.items()},
        attribution=taken_apart(figures, n, judged),
    )


def gradient_side(moments: LayerMoments, n: int, float32: bool) -> GradientSide:
    """Everything about Σ_g of ``n`` samples."""
    layer, gradient = moments.layer, summed_gradient(moments.gradient)
    enough = n >= max(rows_for(layer.outputs // layer.groups, layer.positions), FEWEST_SAMPLES)
    if isinstance(gradient, Sketch):
        bounds = sketch_bounds(gradient, n, limit=gradient.rows or None)
        return _bounded(bounds, layer.outputs, np.asarray(gradient.squares.sum(0)), n)
    if isinstance(gradient, KeptRows) and gradient.subtracted:
        return _bounded(closed_form_bounds(gradient, n), layer.outputs, np.asarray(gradient.squares.sum(0)), n)
    if isinstance(gradient, KeptRows):
        squares, strained, enough = np.asarray(gradient.squares.sum(0)), 1.0, False
        factor = plain(DualMoment(gradient, n, None, float32).whole())
    else:
        squares = np.diagonal(np.asarray(gradient).sum(0), axis1=1, axis2=2)
        factor, strained = gradient_factor(replace(moments, gradient=gradient), enough, float32)
    judged = enough and strained <= 1
    silent = int(np.count_nonzero(squares == 0))
    figures = treated(factor)
    shown = of_eigenvalues(factor.full, layer.outputs, silent, estimates(figures, n=n, enough=judged))
    return GradientSide(factor, shown, judged, figures)


def _bounded(bounds: Bounds, outputs: int, squares: np.ndarray, n: int) -> GradientSide:
    silent = int(np.count_nonzero(squares == 0))
    return GradientSide(bounds, summary(bounds, dimension=outputs, zero=silent, n=n), judged=False)


def _sketched_input(
    sketch: Sketch, whole: SecondMoment, dimension: int, zero: int, mean_energy: Quantity, n: int, wanted: int
) -> InputSide:
    found = {
        change: sketch_bounds(sketch, whole.rows, whole, change, limit=sketch.rows or None)
        for change in (*INPUTS, "centred")
    }
    shown = {change: summary(bounds, dimension=dimension, zero=zero, n=n) for change, bounds in found.items()}
    now = shown["input"].condition_number["80"]

    def gain(after: Quantity) -> Quantity:
        (low, high), (least, most) = _ends(now), _ends(after)
        return between(low / most, high / least if least else math.inf, found["input"].how, n, unit="×")

    return InputSide(
        values=found["input"],
        summary=shown["input"],
        centred=shown["centred"],
        mean_energy=mean_energy,
        what_if={
            change: WhatIf(
                change,
                shown[change].condition_number,
                gain(shown[change].condition_number["80"]),
                shown[change].curve,
                "bounds from a sketch of this layer's input",
            )
            for change in CHANGES
        },
        samples=n,
        judged=False,
        enough=n >= wanted,
        least_samples=wanted,
        growth=0.0,
    )


def _ends(quantity: Quantity) -> tuple[float, float]:
    """Both bounds of a figure."""
    low = quantity.value if quantity.low is None else quantity.low
    return low, quantity.value if quantity.high is None else quantity.high


def bounds_of(values: Factor | Bounds, blocks: int) -> Bounds:
    """The same eigenvalues as bounds that are equal, block by block."""
    if isinstance(values, Bounds):
        return values
    kept = values.full.kept()
    parts = tuple(kept[values.block == k] for k in range(blocks))
    return Bounds(parts, parts, np.array([part.sum() for part in parts]), "all eigenvalues")


def rows_for(dimension: int, positions: int) -> int:
    """Samples that hold enough rows for a matrix of this side."""
    return math.ceil(ROWS_PER_DIMENSION * dimension / positions)


def condition_numbers(figures: list[Quantity]) -> dict[str, Quantity]:
    """By percentile. κ_100 rests on the one smallest direction: its interval covers too seldom to be given."""
    found = dict(zip(PERCENTILES, figures[KAPPA:], strict=True))
    last = found["100"]
    return found | {"100": Quantity(last.raw, method="plug-in, no interval", n=last.n, reliable=False)}


def of_eigenvalues(spectrum: Eigenvalues, dimension: int, zero: int, figures: list[Quantity]) -> FactorSpectrum:
    """Figures of a matrix whose eigenvalues are known."""
    rank = spectrum.rank
    return FactorSpectrum(
        dimension=dimension,
        zero=zero,
        rank=rank,
        floor=spectrum.floor,
        largest=figures[LARGEST],
        trace=figures[TRACE],
        condition_number=condition_numbers(figures) if rank else dict.fromkeys(PERCENTILES, exact(math.nan)),
        effective_rank=figures[EFFECTIVE_RANK] if rank else exact(0.0),
        entropy_rank=figures[ENTROPY_RANK] if rank else exact(0.0),
        curve=spectrum.curve(),
    )
