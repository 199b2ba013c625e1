"""One second moment's eigenvalues, with what happens to each of them when groups of samples are left out.

Two ways, told apart by what they cost. *Exactly*: eigenvalues and eigenvectors without each group in
turn. By *perturbation* of the full sample's eigenvectors v_i, with δ_g the change when group g is left out:

    λ_i without g            λ_i + v_iᵀ δ_g v_i                                   (first order)
    bias of λ_i              Σ_j V_ij (λ_i − λ_j) / ((λ_i − λ_j)² + V_ii / 2)      (second order)

V_ij being the jackknife variance of v_iᵀ Σ v_j. The added V_ii / 2 keeps neighbours closer than the noise
from dominating. Only some i are computed, the rest interpolated, so that the cost is that of one
eigenvalue problem. It underestimates large biases, so it is used where the bias turns out small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lcaudit.core.measurements import PERCENTILES
from lcaudit.spectra.eigenvalues import Eigenvalues, floor_of, percentile_index, without_rounding

#: Evenly spread eigenvalues that are perturbed beside those of interest; those between are interpolated.
COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Factor:
    """Eigenvalues above the floor and their replicates, r in all, in the full sample's descending order.

    Attributes:
        full: on all samples. block: [r], the channel group of each.
        left_out: [G, r], logarithms without each group.
        crossed: [r], logarithms of the variance, on samples that were left out, along the eigenvectors of
            the others: what :mod:`lcaudit.spectra.correction` needs.
        traces: [G], logarithms of the trace without each group.
    """

    full: Eigenvalues
    block: np.ndarray
    left_out: np.ndarray
    crossed: np.ndarray
    traces: np.ndarray

    @property
    def logs(self) -> np.ndarray:
        """[r], logarithms on all samples."""
        return np.log(self.full.kept())


@dataclass(frozen=True, slots=True)
class Whole:
    """A second moment on all samples.

    Attributes:
        matrix: [K, d, d]. measured: [K, d], its diagonal before anything was subtracted from it.
        float32: whether its products were formed in float32.
    """

    matrix: np.ndarray
    measured: np.ndarray
    float32: bool

    def real(self, values: np.ndarray) -> np.ndarray:
        """Descending eigenvalues [K, d] with those set to zero that rounding could have made."""
        return without_rounding(values, self.matrix, self.measured, self.float32)

    def eigenvalues(self) -> np.ndarray:
        """Descending, [K, d]."""
        return self.real(np.linalg.eigvalsh(self.matrix)[:, ::-1])


def plain(whole: Whole) -> Factor:
    """Without replicates: a factor whose ``left_out`` is empty, ``crossed`` the same."""
    return _pooled(whole.eigenvalues(), np.empty((0, *whole.measured.shape)), None, np.empty(0))


def exactly(whole: Whole, without: Sequence[Callable[[], np.ndarray]], shares: np.ndarray) -> Factor:
    """By an eigenvalue problem for each group left out.

    Args:
        without: for each group, gives the matrix without it.
        shares: [G], each group's share of the rows.

    Cost: 1 + G eigenvalue problems of K blocks, G of them with eigenvectors.
    """
    matrix, values = whole.matrix, whole.eigenvalues()
    replicates, traces = np.empty((len(without), *values.shape)), np.empty(len(without))
    crossed = np.zeros_like(values)
    for g, get in enumerate(without):
        other = get()
        ascending, vectors = np.linalg.eigh(other)
        replicates[g], traces[g] = ascending[:, ::-1], np.trace(other, axis1=1, axis2=2).sum()
        # the left-out group's own moment is (matrix − (1 − share) other) / share, weighted by its share
        along = (vectors * (matrix @ vectors)).sum(1)[:, ::-1]
        crossed += along - (1 - shares[g]) * replicates[g]
    return _pooled(values, replicates, crossed, traces)


def perturbed(
    whole: Whole, times_without: Callable[[np.ndarray], Iterable[np.ndarray]], traces: np.ndarray
) -> tuple[Factor, float]:
    """By perturbation of the full sample's eigenvectors.

    Args:
        times_without: vectors [K, d, m] → for each group, the matrix without it times them.
        traces: [G], the trace without each group.

    Returns:
        the factor, and as how many independent Gaussian rows the samples count by the noise of a typical
        eigenvalue, whose variance with n such rows is 2 λ² / n.

    Cost: one eigenvalue problem with eigenvectors, and 6 G d² m operations for m ≈ 25 columns.
    """
    ascending, ascending_vectors = np.linalg.eigh(whole.matrix)
    values = whole.real(ascending[:, ::-1])
    side, groups = values.shape[1], len(traces)
    columns = _columns(side)
    some = np.ascontiguousarray(ascending_vectors[:, :, side - 1 - columns])
    products = np.stack(list(times_without(some)), 2)  # [K, d, G, m]
    own = np.einsum("kdm,kdgm->kgm", some, products)
    # what enters the bias alone, as a sum of squares: float32 will do where every column is relative to its eigenvalue
    chosen = values[:, columns]
    products /= np.where(chosen > 0, chosen, np.inf)[:, None, None]
    single = ascending_vectors[:, :, ::-1].swapaxes(1, 2).astype(np.float32)
    changes = (single @ products.reshape(len(single), side, -1).astype(np.float32)).reshape(products.shape)
    replicates, crossed, rows = np.empty((groups, *values.shape)), np.empty_like(values), []
    for k in range(len(values)):
        real = values[k, columns] > max(0.0, floor_of(values.size) * values.max())
        if not real.any():
            replicates[:, k], crossed[k] = values[k], values[k]
            continue
        first, bias, noise = _series(values[k], columns[real], own[k][:, real], changes[k][:, :, real])
        crossed[k] = values[k] * _growth(np.interp(np.arange(side), columns[real], -2 * bias))
        for g in range(groups):
            replicates[g, k] = values[k] * _growth(np.interp(np.arange(side), columns[real], first[g]))
        rows += list(2 / np.maximum(noise, np.finfo(float).tiny))
    factor = _pooled(values, replicates, crossed, traces)
    return factor, float(np.median(rows)) if rows else 0.0


def _growth(logs: np.ndarray) -> np.ndarray:
    """Their exponentials; a change by more than 20 decades is refused anyway and must not overflow."""
    return np.exp(np.clip(logs, -46, 46))


def _series(
    values: np.ndarray, columns: np.ndarray, own: np.ndarray, changes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second order for some eigenvalues of one block.

    Args:
        values: [d]. columns: [m], the places i. own: [G, m], v_iᵀ M v_i, M the matrix without a group.
        changes: float32 [d, G, m], v_jᵀ M v_i / λ_i.

    Returns:
        relative change without each group [G, m], relative bias [m], squared relative noise [m].
    """
    groups, chosen = len(own), values[columns]
    first = (own - chosen) / chosen
    spread = (groups - 1) / groups * np.square(changes - changes.mean(1, keepdims=True)).sum(1, dtype=float)
    spread = spread * chosen**2  # V, float64 [d, m]
    alone = (groups - 1) / groups * np.square(own - own.mean(0)).sum(0)
    gaps = chosen - values[:, None]
    pulls = spread * gaps / np.maximum(gaps**2 + alone / 2, np.finfo(float).tiny)
    noise = alone / chosen**2
    # eigenvalues nearer to each other than half their noise move together: they share their changes
    logs = np.log(chosen)
    together = np.abs(logs[:, None] - logs) <= np.sqrt(noise) / 2
    return first @ (together / together.sum(0)), pulls.sum(0) / chosen, noise


def _columns(side: int) -> np.ndarray:
    """Indices to perturb: the percentiles with their neighbours, the first few, and an even grid."""
    wanted = [percentile_index(p, side) + near for p in PERCENTILES for near in (-1, 0, 1)]
    wanted += [*range(3), *np.linspace(0, side - 1, COLUMNS).round().astype(int)]
    return np.unique(np.clip(wanted, 0, side - 1))


def _pooled(values: np.ndarray, replicates: np.ndarray, crossed: np.ndarray | None, traces: np.ndarray) -> Factor:
    """Blocks [K, d] put together in the order of the full sample, those under the floor left out."""
    flat = values.ravel()
    order = np.argsort(-flat, kind="stable")
    full = Eigenvalues(flat[order], floor_of(len(flat)))
    kept = order[: full.rank]
    block = kept // values.shape[1]
    if full.rank == 0:
        return Factor(full, block, np.empty((len(replicates), 0)), np.empty(0), np.full(len(replicates), np.nan))
    least = full.floor * full.values[0]
    others = np.log(np.maximum(replicates.reshape(len(replicates), flat.size)[:, kept], least))
    across = flat if crossed is None else crossed.ravel()
    return Factor(full, block, others, np.log(np.maximum(across[kept], least)), np.log(np.maximum(traces, least)))
