"""The figures of a layer that are compared between networks and followed over training.

One place names them: baselines, comparisons and histories store a figure under its ``id``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from lcaudit.core.measurements import FactorSpectrum, LayerSpectra
from lcaudit.core.quantity import Quantity, exact

#: Version of the estimators behind the figures: raised whenever the same network on the same samples would get
#: other figures by more than rounding, so that an old baseline is refused and not misread.
ESTIMATOR = "1"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a layer.

    Attributes:
        id: stable name in files. title: in a table. about: what it says, in one sentence.
        of: a layer's figure; ``None`` where it has none.
        factor: the matrix whose rank and side the figure depends on; ``None`` for one that has none.
        role: ``judged``, larger is worse and a gate looks at it; ``compared``, shown, but neither direction is bad
            by itself; ``followed``, over training only.
    """

    id: str
    title: str
    about: str
    of: Callable[[LayerSpectra], Quantity | None]
    factor: Callable[[LayerSpectra], FactorSpectrum] | None
    role: str


def _kappa(factor: Callable[[LayerSpectra], FactorSpectrum], percentile: str) -> Callable[..., Quantity | None]:
    return lambda layer: factor(layer).condition_number.get(percentile)


def _input(layer: LayerSpectra) -> FactorSpectrum:
    return layer.input


def _gradient(layer: LayerSpectra) -> FactorSpectrum:
    return layer.gradient


def _gradient_norm(layer: LayerSpectra) -> Quantity:
    """√tr Σ_g, its interval that of the trace."""
    trace = layer.gradient.trace
    low, high, plug_in = (
        None if one is None else math.sqrt(max(0.0, one)) for one in (trace.low, trace.high, trace.plug_in)
    )
    value = math.sqrt(trace.value) if trace.value >= 0 else math.nan
    return replace(trace, value=value, low=low, high=high, plug_in=plug_in, unit="nat")


METRICS = (
    Metric("input.kappa_80", "κ_80 of Σ_x", "how lopsided the layer's input is, its weakest fifth left out",
           _kappa(_input, "80"), _input, "judged"),
    Metric("input.kappa_50", "κ_50 of Σ_x", "how lopsided the stronger half of the input's directions is",
           _kappa(_input, "50"), _input, "judged"),
    Metric("gradient.kappa_80", "κ_80 of Σ_g", "how lopsided the gradient at the layer's output is",
           _kappa(_gradient, "80"), _gradient, "judged"),
    Metric("gradient.kappa_50", "κ_50 of Σ_g", "how lopsided the stronger half of the gradient's directions is",
           _kappa(_gradient, "50"), _gradient, "judged"),
    Metric("input.largest", "λmax of Σ_x", "scale of the input, squared, along its strongest direction",
           lambda layer: layer.input.largest, _input, "compared"),
    Metric("gradient.largest", "λmax of Σ_g", "scale of the gradient, squared, along its strongest direction",
           lambda layer: layer.gradient.largest, _gradient, "compared"),
    Metric("fisher.largest", "λmax of F", "the layer's own curvature along its sharpest direction",
           lambda layer: layer.fisher_largest, None, "followed"),
    Metric("input.rank", "rank of Σ_x", "directions of the input above the numerical floor",
           lambda layer: exact(layer.input.rank), None, "followed"),
    Metric("input.effective_rank", "tr Σ_x / λmax", "how many directions share the input's energy",
           lambda layer: layer.input.effective_rank, None, "followed"),
    Metric("gradient.norm", "gradient norm", "root mean square over samples of ‖∂ℓ/∂h‖ at the layer's output",
           _gradient_norm, None, "followed"),
    Metric("weight.norm", "‖W‖", "Frobenius norm of the weight",
           lambda layer: exact(layer.weight_norm), None, "followed"),
)  # fmt: skip
BY_ID = {metric.id: metric for metric in METRICS}
#: Those that a baseline stores and a comparison compares.
COMPARED = tuple(metric for metric in METRICS if metric.role != "followed")
