"""Bounds on eigenvalues from a sketch: a second moment's products with a few random vectors, its diagonal.

For A ⪰ 0 with Y = A T the Nyström approximation Â = Y (Tᵀ Y)⁺ Yᵀ never exceeds A: λ_k(Â) ≤ λ_k(A) for every k,
whatever T (Tropp, Yurtsever, Udell and Cevher 2017). With tr A known from the diagonal, what is missing,
E = A − Â ⪰ 0, has the known trace τ, so that λ_k(A) ≤ λ_k(Â) + ‖E‖ with ‖E‖ ≤ τ, and no λ_k can be so large that the
first k exceed tr A. No entry of the diagonal exceeds λ_1, and where A is a diagonal matrix less another one, its
λ_k stays below that diagonal's k-th entry. A much smaller bound on ‖E‖ comes from vectors ω that took no part in Â:
‖E ω‖² is at least ‖E‖² times the square of a standard normal number, so Σ ‖E ω_i‖² over t of them is below ‖E‖² q
with probability 10⁻⁶ at most, q being that quantile of χ²_t.

What a changed input's sketch would be follows from the same numbers: subtracting means takes a known matrix
of low rank away, and scaling entries by S turns (A, T) into (S A S, S⁻¹ T).
"""

from __future__ import annotations

import math

import numpy as np

from lcaudit.core.types import Sketch
from lcaudit.spectra.bounds import Bounds, eigenvalue_at_most
from lcaudit.spectra.eigenvalues import EPS
from lcaudit.spectra.second_moment import SecondMoment

#: Probability, over the test vectors, with which an upper bound may fail.
FAILURE = 1e-6
HOW = "Nyström sketch, upper ones with probability 1 − 10⁻⁶ over its random vectors"


def sketch_bounds(
    sketch: Sketch, divisor: int, moment: SecondMoment | None = None, change: str = "input", limit: int | None = None
) -> Bounds:
    """Bounds on the eigenvalues of each block.

    Args:
        divisor: of the sums. moment: the input's means and scales. change: ``input``, ``centred``, ``centring`` or
            ``batch_norm``. limit: no more eigenvalues than this are not zero; ``None`` where nothing is known.

    Cost: 2 d l² operations for l dimensions of the sketch.
    """
    lower, upper, traces = [], [], []
    for k in range(len(sketch.image)):
        test, image = np.asarray(sketch.test), np.asarray(sketch.image[k]) / divisor
        diagonal = np.asarray(sketch.squares[:, k].sum(0)) / divisor
        stretch = 1.0
        if moment is not None:
            test, image, diagonal, stretch = _changed(moment, k, change, test, image, diagonal)
        trace = float(diagonal.sum())
        low = np.zeros(len(diagonal))
        values, vectors = _nystrom(test[:, : sketch.span], image[:, : sketch.span])
        low[: len(values)] = values
        missed = image[:, sketch.span :] - vectors @ (values[:, None] * (vectors.T @ test[:, sketch.span :]))
        size = math.sqrt(float(np.square(missed).sum()) / quantile(missed.shape[1], FAILURE)) * stretch
        rest = min(max(0.0, trace - float(values.sum())), size)
        high = np.minimum(low + rest, eigenvalue_at_most(low, trace))
        above = np.sort(np.asarray(sketch.above[k]))[::-1] / divisor
        if change == "input" and above[0] > 0:
            high = np.minimum(high, above)
        low[0] = max(low[0], float(diagonal.max()))
        live = int(np.count_nonzero(diagonal))
        high[min(live, live if limit is None else limit) :] = 0
        lower.append(np.minimum(low, high))
        upper.append(high)
        traces.append(trace)
    return Bounds(tuple(lower), tuple(upper), np.array(traces), HOW)


def _changed(
    moment: SecondMoment, k: int, change: str, test: np.ndarray, image: np.ndarray, diagonal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Test vectors, their image and the diagonal after a change; by how much test vectors are shorter at most."""
    if change == "input":
        return test, image, diagonal, 1.0
    if change == "centred":
        mean = moment.mean[k]
        return test, image - mean[:, None] * (mean @ test), np.maximum(diagonal - mean**2, 0), 1.0
    centre, half = moment.centre[k], moment.half[k]
    image = image - half[:, None] * (centre @ test) - centre[:, None] * (half @ test)
    diagonal = np.maximum(moment.diagonal("centring")[k], 0)
    if change == "centring":
        return test, image, diagonal, 1.0
    scale = moment.scale()[k]
    stretch = float(scale[diagonal > 0].max(initial=0.0))
    return test / scale[:, None], image * scale[:, None], diagonal * scale**2, stretch


def _nystrom(test: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [l], descending, and eigenvectors [d, l] of the Nyström approximation, with a stabilising shift."""
    basis, turn = np.linalg.qr(test)
    image = np.linalg.solve(turn.T, image.T).T
    shift = math.sqrt(len(test)) * EPS * float(np.linalg.norm(image))
    if not shift:
        return np.zeros(basis.shape[1]), basis
    shifted = image + shift * basis
    inner = basis.T @ shifted
    values, inside = np.linalg.eigh((inner + inner.T) / 2)
    # directions that the shift does not reach are rounding
    kept = values > shift / 2
    root = shifted @ (inside[:, kept] / np.sqrt(values[kept]))
    vectors, sizes, _ = np.linalg.svd(root, full_matrices=False)
    return np.maximum(0.0, sizes**2 - 2 * shift), vectors


def quantile(degrees: int, chance: float) -> float:
    """The number that a χ² variable of an even number of ``degrees`` of freedom stays below with this chance."""
    low, high = 0.0, float(degrees)
    for _ in range(200):
        middle = (low + high) / 2
        term = math.prod(middle / 2 / j for j in range(1, degrees // 2 + 1))
        # 1 − e^−x/2 Σ (x/2)^j / j!, as the rest of the series, so that nothing cancels
        rest, j = 0.0, degrees // 2
        while term > 1e-30 * max(rest, 1e-300):
            rest += term
            j += 1
            term *= middle / 2 / j
        low, high = (middle, high) if math.exp(-middle / 2) * rest < chance else (low, middle)
    return low
