"""Figures of second moments as they are, to hold a prediction against what was measured on the same samples.

Nothing is corrected and no interval given: bias and noise of the samples are in both sides of the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lcaudit.core.types import FactorMoments, LayerMoments
from lcaudit.spectra.eigenvalues import EPS, KAPPA, Eigenvalues, products
from lcaudit.spectra.factor import Factor, Whole, plain
from lcaudit.spectra.second_moment import GroupedMoments

_KAPPA_50, _KAPPA_80 = KAPPA, KAPPA + 1
#: The figures in the order in which they are told.
METRICS = ("κ_50 of Σ_x", "κ_80 of Σ_x", "κ_50 of Σ_x ⊗ Σ_g", "κ_80 of Σ_x ⊗ Σ_g", "λmax of Σ_x ⊗ Σ_g")


def second_moments(moments: LayerMoments) -> FactorMoments:
    """The moments over all samples."""
    import torch

    whole = GroupedMoments(moments.inputs).whole()
    gradient = np.asarray(moments.gradient).sum(0) / max(1, int(np.asarray(moments.samples).sum()))
    return FactorMoments(
        torch.from_numpy(whole.uncentred()),
        torch.from_numpy(np.ascontiguousarray(whole.mean)),
        torch.from_numpy(np.ascontiguousarray(whole.diagonal("input"))),
        moments.inputs.channel.to(torch.int64),
        torch.from_numpy(gradient),
    )


def plug_in(moments: FactorMoments, *, float32: bool) -> Mapping[str, float]:
    """Each of ``METRICS``; NaN where a second moment is all zeros.

    Args:
        float32: whether products were formed in float32, which decides what is rounding.

    Cost: two eigenvalue problems, and sorting all products.
    """
    inputs = plain(Whole(np.asarray(moments.inputs), np.asarray(moments.measured), float32))
    gradient = np.asarray(moments.gradient)
    outputs = plain(Whole(gradient, np.diagonal(gradient, axis1=1, axis2=2), float32))
    of_products = products(inputs.full.kept(), inputs.block, outputs.full.kept(), outputs.block, np.multiply)
    whole = Eigenvalues(np.sort(of_products)[::-1], EPS)
    one, both = _logs(inputs), whole.logs()
    logs = (one[_KAPPA_50], one[_KAPPA_80], both[_KAPPA_50], both[_KAPPA_80], both[0])
    return {
        metric: math.exp(log) if math.isfinite(log) else math.nan for metric, log in zip(METRICS, logs, strict=True)
    }


def _logs(factor: Factor) -> np.ndarray:
    return factor.full.logs()
