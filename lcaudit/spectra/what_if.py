"""What a layer's input would be after a change: κ_p of its factor and of the product, and what κ_p is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lcaudit.core.measurements import PERCENTILES, Attribution, WhatIf
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.types import InputMoments
from lcaudit.spectra.correction import Treated
from lcaudit.spectra.eigenvalues import KAPPA, KAPPA_80, Eigenvalues, figures, products
from lcaudit.spectra.factor import Factor, Whole, plain
from lcaudit.spectra.intervals import estimates
from lcaudit.spectra.second_moment import GroupedMoments

#: Products of eigenvalues that are formed for each change, at most.
MOST_PRODUCTS = 2**21
#: Percentiles whose κ_p is taken apart.
TAKEN_APART = ("50", "80")

EXACT = {
    "centring": "exact for this layer's input, zero padding applied before the change; Σ_g stays as it is",
    "batch_norm": "exact for this layer's input, ε = 1e-5, zero padding applied before the change; Σ_g stays as it is",
    "whitening": "exact: every direction of the centred input that is not constant gets the same variance; Σ_g stays "
    "as it is, and κ of the product becomes that of Σ_g",
    "layer_norm": "exact for this layer's input as it is now, no learned part, zero padding applied after the change; "
    "the function changes and needs training, and Σ_g with it, so that κ of the product is for Σ_g as it is now",
    "rms_norm": "exact for this layer's input as it is now, no learned part, zero padding applied after the change; "
    "the function changes and needs training, and Σ_g with it, so that κ of the product is for Σ_g as it is now",
}


def plug_in(values: np.ndarray, n: int) -> dict[str, Quantity]:
    """κ_p, logarithms [percentiles] given, without interval."""
    return {
        p: Quantity(float(np.exp(one)), method="plug-in, no interval", n=n, reliable=False)
        for p, one in zip(PERCENTILES, values, strict=True)
    }


def whitened(centred: Factor) -> Factor:
    """One in every direction of the centred input that is not zero."""
    rank = centred.full.rank
    return replace(centred, full=Eigenvalues(np.ones(rank), 0.0))


def whitening(now: Quantity, centred: Factor) -> WhatIf:
    """κ_p becomes 1, and the gain is κ_80 as it is."""
    rank = centred.full.rank
    ends = ((1, 1.0), (rank, 1.0))[: min(rank, 2)]
    after = exact(1.0 if rank else math.nan)
    gain = replace(now, unit="×") if rank else replace(after, unit="×")
    return WhatIf("whitening", dict.fromkeys(PERCENTILES, after), gain, ends, EXACT["whitening"])


def behind_norms(
    normed: Mapping[str, InputMoments], now: Quantity, n: int, float32: bool
) -> dict[str, tuple[WhatIf, Factor]]:
    """What was measured behind normalisations of single samples; without intervals, for it is kept in one group.

    Args:
        now: κ_80 of the input itself.
    """
    found = {}
    for name, moments in normed.items():
        whole = GroupedMoments(moments).whole()
        factor = plain(Whole(whole.uncentred(), whole.diagonal("input"), float32))
        kappas = plug_in(factor.full.logs()[KAPPA:], n)
        gain = Quantity(now.raw / kappas["80"].value, "×", method="plug-in, no interval", n=n, reliable=False)
        found[name] = WhatIf(name, kappas, gain, factor.full.curve(), EXACT[name]), factor
    return found


def of_product(left: Factor, right: Factor, n: int) -> dict[str, Quantity]:
    """κ_p of ⊕ A_k ⊗ B_k, plug-in; nothing where they are too many or all are zero.

    Cost: linear in the number of products.
    """
    if len(left.block) * len(right.block) > MOST_PRODUCTS:
        return {}
    logs = products(np.log(left.full.kept()), left.block, np.log(right.full.kept()), right.block, np.add)
    return plug_in(figures(logs, 0.0)[KAPPA:], n) if len(logs) else {}


def taken_apart(treated: Mapping[str, Treated], n: int, enough: bool) -> dict[str, Attribution]:
    """κ_p of the input as mean × scale × correlation, each paired on the same samples.

    Args:
        treated: figures of the input as it is, after ``centring`` and after ``batch_norm``.
    """
    places = [KAPPA + PERCENTILES.index(p) for p in TAKEN_APART]
    assert places[-1] == KAPPA_80, "the percentile that is judged comes last"
    now, centred, scaled = (treated[name][places] for name in ("input", "centring", "batch_norm"))
    parts = (estimates(one, n=n, enough=enough) for one in (now - centred, centred - scaled, scaled))
    return {
        p: Attribution(*(replace(part, unit="×") for part in each))
        for p, each in zip(TAKEN_APART, zip(*parts, strict=True), strict=True)
    }
