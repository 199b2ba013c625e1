"""One layer's moments → :class:`LayerSpectra`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lcaudit.core.measurements import PERCENTILES, FactorSpectrum, LayerSpectra, WhatIf
from lcaudit.core.quantity import Quantity, exact
from lcaudit.core.types import LayerMoments
from lcaudit.spectra.eigenvalues import Eigenvalues, floor_of, products
from lcaudit.spectra.intervals import MOST_BIAS, Resampling, estimates, resampling, share
from lcaudit.spectra.second_moment import SecondMoment, second_moment

#: Rows per dimension below which no κ is judged: under it extrapolation fails (n = 2d) or is uncertain.
ROWS_PER_DIMENSION = 4
#: Above this side replicates are found by first-order perturbation instead of anew.
PERTURB_ABOVE = 1024

_CHANGES = ("centring", "batch_norm")
_EXACT = {
    "centring": "exact for this layer's input, zero padding applied after the change",
    "batch_norm": "exact for this layer's input, ε = 1e-5, zero padding applied after the change",
}
_KAPPA_80 = 2 + PERCENTILES.index("80")


@dataclass(frozen=True, slots=True)
class _Replicate:
    """Eigenvalues on one choice of samples; ``per_group`` keeps channel groups apart for products."""

    matrices: dict[str, Eigenvalues]
    fisher: Eigenvalues
    mean_energy: float


class _Solver:
    """Eigenvalues of each named matrix: anew, or by first-order perturbation of the full sample's."""

    def __init__(self, float32: bool) -> None:
        self.float32 = float32
        self.vectors: dict[str, np.ndarray] = {}

    def per_group(self, name: str, blocks: np.ndarray, perturb: bool) -> list[np.ndarray]:
        """Descending eigenvalues of each block [K, d, d]."""
        if blocks.shape[-1] <= PERTURB_ABOVE:
            return list(np.linalg.eigvalsh(blocks)[:, ::-1])
        if not perturb or name not in self.vectors:
            values, vectors = np.linalg.eigh(blocks)
            self.vectors.setdefault(name, vectors)
            return list(values[:, ::-1])
        vectors = self.vectors[name]  # λ(A + δ) ≈ diag(Vᵀ (A + δ) V)
        return list(np.sort((vectors * (blocks @ vectors)).sum(1), axis=-1)[:, ::-1])

    def spectrum(self, groups: list[np.ndarray]) -> Eigenvalues:
        values = np.sort(np.concatenate(groups))[::-1]
        return Eigenvalues(values, floor_of(len(values), self.float32))


def analyse(moments: LayerMoments, *, float32: bool) -> LayerSpectra:
    """Spectra, condition numbers, intervals and what-ifs of one layer.

    Args:
        float32: whether products were formed in float32, which sets the numerical floor.

    Cost: about 3 · (1 + G + halves) symmetric eigenvalue problems of side d_in, G the sample groups.
    """
    solver = _Solver(float32)
    groups = len(moments.samples)
    plan = resampling(groups, pairs=1 if moments.inputs.second.shape[-1] > 256 else 4)
    whole = second_moment(moments.inputs, np.ones(groups, bool))
    full = _replicate(moments, np.ones(groups, bool), solver, perturb=False)
    left_out = [_replicate(moments, mask, solver, perturb=True) for mask in plan.left_out]
    halves = [_replicate(moments, mask, solver, perturb=False) for mask in plan.halves]
    return _assemble(moments, whole, full, left_out, halves, plan, solver)


def _replicate(moments: LayerMoments, chosen: np.ndarray, solver: _Solver, perturb: bool) -> _Replicate:
    moment = second_moment(moments.inputs, chosen)
    samples = float(np.asarray(moments.samples)[chosen].sum())
    gradient = np.asarray(moments.gradient)[chosen].sum(0) / samples
    blocks = {
        "input": moment.uncentred,
        "centring": moment.centring(),
        "batch_norm": moment.batch_norm(),
        "gradient": gradient,
    }
    apart = {name: solver.per_group(name, matrix, perturb) for name, matrix in blocks.items()}
    matrices = {name: solver.spectrum(values) for name, values in apart.items()}

    def above(name: str) -> list[np.ndarray]:
        spectrum = matrices[name]
        edge = spectrum.floor * max(0.0, float(spectrum.values[0]))
        return [values[values > edge] for values in apart[name]]

    trace = float(np.trace(moment.uncentred, axis1=1, axis2=2).sum())
    energy = float(np.square(moment.mean).sum()) / trace if trace else math.nan
    return _Replicate(matrices, products(above("input"), above("gradient")), energy)


def _assemble(
    moments: LayerMoments,
    whole: SecondMoment,
    full: _Replicate,
    left_out: list[_Replicate],
    halves: list[_Replicate],
    plan: Resampling,
    solver: _Solver,
) -> LayerSpectra:
    layer = moments.layer
    n = int(np.asarray(moments.samples).sum())
    live = int(np.count_nonzero(np.diagonal(whole.uncentred, axis1=1, axis2=2).ravel()))
    wanted = max(math.ceil(ROWS_PER_DIMENSION * max(1, live // layer.groups) / layer.positions), 2 * plan.groups)
    gradient_rows = n * layer.positions >= ROWS_PER_DIMENSION * (layer.outputs // layer.groups)
    enough = {"input": n >= wanted, "gradient": gradient_rows}
    enough |= {"fisher": all(enough.values()), "centring": n >= wanted, "batch_norm": n >= wanted}

    def logs(replicate: _Replicate, name: str) -> np.ndarray:
        return (replicate.fisher if name == "fisher" else replicate.matrices[name]).logs()

    def measured(name: str) -> list[Quantity]:
        others = [[logs(one, name) for one in many] for many in (left_out, halves)]
        return estimates(logs(full, name), others[0], others[1], n=n, enough=enough[name])

    figures = {name: measured(name) for name in ("input", "gradient", "fisher", *_CHANGES)}

    def gains(replicate: _Replicate) -> np.ndarray:
        before = logs(replicate, "input")[_KAPPA_80]
        return np.array([before - logs(replicate, change)[_KAPPA_80] for change in _CHANGES])

    gain = estimates(gains(full), [gains(r) for r in left_out], [gains(r) for r in halves], n=n, enough=n >= wanted)
    centred = solver.spectrum(solver.per_group("centred", whole.centred(), perturb=False))
    scale = math.log(moments.weight_norm**2) if moments.weight_norm > 0 else -math.inf
    scaled = estimates(
        logs(full, "fisher")[:1] + scale,
        [logs(r, "fisher")[:1] + scale for r in left_out],
        [logs(r, "fisher")[:1] + scale for r in halves],
        n=n,
    )[0]
    zero_outputs = int(np.count_nonzero(np.diagonal(np.asarray(moments.gradient).sum(0), axis1=1, axis2=2) == 0))
    kappa = figures["input"][_KAPPA_80]
    return LayerSpectra(
        layer=layer,
        samples=n,
        input=_factor(full.matrices["input"], layer.inputs, layer.inputs - live, figures["input"]),
        centred=_factor(centred, layer.inputs, layer.inputs - live, None),
        gradient=_factor(full.matrices["gradient"], layer.outputs, zero_outputs, figures["gradient"]),
        fisher=_factor(full.fisher, layer.inputs * layer.outputs // layer.groups, 0, figures["fisher"]),
        mean_energy=share(full.mean_energy, [r.mean_energy for r in left_out], n=n),
        what_if={
            change: WhatIf(
                change,
                dict(zip(PERCENTILES, figures[change][2:], strict=True)),
                gain[i],
                full.matrices[change].curve(),
                _EXACT[change],
            )
            for i, change in enumerate(_CHANGES)
        },
        weight_norm=moments.weight_norm,
        scaled_curvature=replace(scaled, unit="nat"),
        gradient_label=moments.gradient_label,
        enough_samples=_enough(wanted, n, kappa, gain[_CHANGES.index("batch_norm")]),
    )


def _enough(wanted: int, n: int, *judged: Quantity) -> int:
    """Samples at which bias, falling like 1/n, would be small enough to correct."""
    biases = [abs(math.log(q.raw / q.value)) for q in judged if q.value > 0 and q.raw > 0 and math.isfinite(q.value)]
    return max([wanted, *(math.ceil(n * bias / MOST_BIAS) for bias in biases if bias > MOST_BIAS)])


def _factor(spectrum: Eigenvalues, dimension: int, zero: int, figures: list[Quantity] | None) -> FactorSpectrum:
    rank = spectrum.rank
    if figures is None:
        plain = np.exp(spectrum.logs())
        figures = [Quantity(float(v), method="plug-in, no interval", reliable=False) for v in plain]
    kept = spectrum.values[:rank]
    weights = kept / kept.sum() if rank else kept
    return FactorSpectrum(
        dimension=dimension,
        zero=zero,
        rank=rank,
        floor=spectrum.floor,
        largest=figures[0],
        trace=figures[1],
        condition_number=dict(zip(PERCENTILES, figures[2:], strict=True))
        if rank
        else dict.fromkeys(PERCENTILES, exact(math.nan)),
        effective_rank=float(kept.sum() / kept[0]) if rank else 0.0,
        entropy_rank=float(np.exp(-(weights * np.log(weights)).sum())) if rank else 0.0,
        curve=spectrum.curve(),
    )
