"""One layer's moments → :class:`LayerSpectra`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lcaudit.core.measurements import FactorSpectrum, LayerSpectra, WhatIf
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.types import LayerMoments
from lcaudit.spectra import fisher_block
from lcaudit.spectra.bounds import product_summary
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.eigenvalues import FIGURES, KAPPA, KAPPA_80, LARGEST
from lcaudit.spectra.factor import Factor
from lcaudit.spectra.intervals import estimates
from lcaudit.spectra.resample import treated_products
from lcaudit.spectra.sides import GradientSide, InputSide, bounds_of, gradient_side, input_side, of_eigenvalues
from lcaudit.spectra.what_if import of_product

#: More samples than this many times those measured are never asked for: the extrapolation says no more than "many".
MOST_GROWTH = 1e4
#: Products of eigenvalues that are formed; figures of more are found without forming them.
MOST_PRODUCTS = 2**23


def by_input(layers: Sequence[LayerMoments]) -> list[list[LayerMoments]]:
    """The layers, those that read one tensor together: their Σ_x is one."""
    found: dict[int, list[LayerMoments]] = {}
    for layer in layers:
        found.setdefault(id(layer.inputs.second), []).append(layer)
    return list(found.values())


def analyse_together(
    layers: Sequence[LayerMoments], *, float32: bool, inputs: InputSide | None = None
) -> list[LayerSpectra]:
    """:func:`analyse` for layers with one Σ_x, whose eigenvalues are computed once.

    Args:
        inputs: what is known of Σ_x already.
    """
    inputs = inputs or input_side(layers[0].of_input, float32)
    return [analyse(layer, float32=float32, inputs=inputs) for layer in layers]


def _samples(moments: LayerMoments) -> int:
    return int(np.asarray(moments.samples).sum())


def analyse(moments: LayerMoments, *, float32: bool, inputs: InputSide | None = None) -> LayerSpectra:
    """Spectra, condition numbers, intervals and what-ifs of one layer.

    Args:
        float32: whether products were formed in float32, which decides what is rounding.
        inputs: what is known of Σ_x already.

    Cost: three symmetric eigenvalue problems of side d_in with eigenvectors, for convolutions one without; where d_in
        is at most 96, or at most 512 and the bias neither small nor hopeless, 3 · (1 + G), G the sample groups. For
        kept rows and sketches see :mod:`lcaudit.spectra.dual` and :mod:`lcaudit.spectra.sketch`.
    """
    layer, n = moments.layer, _samples(moments)
    inputs, gradient = inputs or input_side(moments.of_input, float32), gradient_side(moments, n, float32)
    judged = inputs.judged and gradient.judged
    fisher, of_products = _product(inputs, gradient, moments, inputs.samples, judged)
    own = None if isinstance(moments.block, str) else fisher_block.largest(moments.block)
    block = fisher_block.quantity(own) if own else None
    least = inputs.least_samples
    stopped = moments.input_samples is not None
    return LayerSpectra(
        layer=layer,
        samples=n,
        input_samples=inputs.samples if stopped else 0,
        input=inputs.summary,
        centred=inputs.centred,
        gradient=gradient.summary,
        fisher=fisher,
        mean_energy=inputs.mean_energy,
        what_if=_with_products(inputs, gradient),
        attribution=inputs.attribution,
        weight_norm=moments.weight_norm,
        scaled_curvature=fisher_block.scaled(block, moments.weight_norm)
        if block
        else _scaled(fisher, of_products, moments.weight_norm, inputs.samples, judged),
        gradient_label=moments.gradient_label,
        least_samples=least,
        enough_samples=max(least, math.ceil(inputs.samples * min(inputs.growth, MOST_GROWTH)))
        if inputs.enough
        else least,
        fisher_largest=block,
        kronecker_ratio=fisher_block.ratio(of_products, own) if own else None,
        block_reason=moments.block if isinstance(moments.block, str) else "" if own else "its gradients are all zero",
        form=moments.form,
        replicates=_replicates("input", inputs.figures) | _replicates("gradient", gradient.figures),
    )


def _replicates(factor: str, figures: Treated | None) -> dict[str, tuple[float, ...]]:
    """Logarithms without each group of samples, by metric; none where any is not finite."""
    if figures is None:
        return {}
    places = {"kappa_80": KAPPA_80, "kappa_50": KAPPA, "largest": LARGEST}
    kept = {f"{factor}.{name}": figures.left_out[:, place] for name, place in places.items()}
    return {
        name: tuple(map(float, logs.round(6))) for name, logs in kept.items() if logs.size and np.isfinite(logs).all()
    }


def _product(
    inputs: InputSide, gradient: GradientSide, moments: LayerMoments, n: int, judged: bool
) -> tuple[FactorSpectrum, Treated]:
    """Σ_x ⊗ Σ_g: its figures, and their logarithms for those that are compared with it."""
    layer, left, right = moments.layer, inputs.values, gradient.values
    dimension = layer.inputs * layer.outputs // layer.groups
    if isinstance(left, Factor) and isinstance(right, Factor):
        products = len(left.block) * len(right.block) // layer.groups
        if judged or products <= MOST_PRODUCTS:
            of_products, values = treated_products(left, right)
            return of_eigenvalues(values, dimension, 0, estimates(of_products, n=n, enough=judged)), of_products
    found = product_summary(bounds_of(left, layer.groups), bounds_of(right, layer.groups), dimension=dimension, n=n)
    logs = np.full(FIGURES, np.nan)
    if found.largest.value > 0:
        logs[LARGEST] = math.log(found.largest.value)
    return found, Treated(logs, logs, logs, np.empty((0, FIGURES)), np.full(FIGURES, np.inf))


def _with_products(inputs: InputSide, gradient: GradientSide) -> dict[str, WhatIf]:
    """The what-ifs, each with κ_p of the layer's product, where the eigenvalues of both factors are known."""
    right = gradient.values
    if not isinstance(right, Factor):
        return dict(inputs.what_if)
    return {
        name: replace(one, product=of_product(inputs.changed[name], right, inputs.samples))
        if name in inputs.changed
        else one
        for name, one in inputs.what_if.items()
    }


def _scaled(fisher: FactorSpectrum, of_products: Treated, weight_norm: float, n: int, judged: bool) -> Quantity:
    """λmax(F)·‖W‖² in nat."""
    if not weight_norm > 0:
        return exact(0.0, "nat")
    if len(of_products.left_out):
        return replace(estimates(of_products[[LARGEST]] + 2 * math.log(weight_norm), n=n, enough=judged)[0], unit="nat")
    return fisher_block.scaled(replace(fisher.largest, unit="nat"), weight_norm)
