"""Measurements to compare: small, invented, each layer's figures set by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lcaudit.core import specimen
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.quantity import Quantity
from lcaudit.core.statistics import student_t

GROUPS = 10


def quantity(value: float, error: float = 0.05, n: int = 1000, reliable: bool = True) -> Quantity:
    """``value`` with ``error``, the standard error of its logarithm, on nine degrees of freedom."""
    reach = math.exp(student_t(GROUPS - 1) * error)
    return Quantity(
        value, "1", value / reach, value * reach, method="jackknife", n=n, reliable=reliable, scale="log", degrees=9
    )


def layer(name: str, kappa: Quantity, replicates: Mapping[str, tuple[float, ...]] | None = None) -> LayerSpectra:
    """A layer whose κ_80 of Σ_x is ``kappa``; κ_50 of Σ_x and all of Σ_g are the same in every layer."""
    made = specimen.layer(name)
    steady = quantity(20.0)
    numbers = {**made.input.condition_number, "80": kappa, "50": steady}
    still = dict.fromkeys(made.gradient.condition_number, steady)
    return replace(
        made,
        input=replace(made.input, condition_number=numbers, largest=steady),
        gradient=replace(made.gradient, condition_number=still, largest=steady),
        replicates=dict(replicates or {}),
    )


def network(kappas: Sequence[Quantity] | Mapping[str, Quantity]) -> Measurements:
    """A network whose layers have these κ_80 of Σ_x."""
    named = kappas if isinstance(kappas, Mapping) else {f"layer{i}": one for i, one in enumerate(kappas)}
    return specimen.measurements(layers=tuple(layer(name, one) for name, one in named.items()))


def observed(draw: np.random.Generator, truth: float, spread: float) -> Quantity:
    """An estimate of ``truth`` from ten groups whose logarithms scatter by ``spread``·√10, with its jackknife error."""
    groups = draw.normal(math.log(truth), spread * math.sqrt(GROUPS), GROUPS)
    return quantity(math.exp(groups.mean()), float(groups.std(ddof=1) / math.sqrt(GROUPS)))
