"""Eigenvalues of a wide softmax's Σ_g = E[diag(p) − p pᵀ] from the probabilities, without forming it.

With D = diag(E[p]) and R = E[p pᵀ] = Pᵀ P / n, whose eigenvalues ρ_j are those of the small matrix P Pᵀ / n:

    λ_k(D) ≥ λ_k(D − R) ≥ D_(k + j) − ρ_(j + 1)      for every j     (Weyl's inequalities; Parlett 1998, 10.3)

and exactly, by counting eigenvalues above any t (Haynsworth 1968; "spectrum slicing" in Parlett 1998, 3.3):

    #{λ(D − R) > t} = #{D > t} + #{λ(I − P (D − t)⁻¹ Pᵀ / n) > 0} − n

Counting takes 2 n² C operations, so it is used as often as a fixed amount of work allows: first to close the bounds on
λmax, whose lower one is a Ritz value of Lanczos iteration, then on the eigenvalues that κ_p is made of.
"""

from __future__ import annotations

import numpy as np

from lcaudit.core.measurements import PERCENTILES
from lcaudit.core.types import KeptRows
from lcaudit.spectra.bounds import Bounds, eigenvalue_at_most
from lcaudit.spectra.eigenvalues import floor_of, percentile_index

#: Floating-point operations that counting may take in all, for one layer.
MOST_WORK = 2e11
#: Steps of Lanczos iteration.
STEPS = 40
#: Relative width at which the bounds on λmax are left alone, and those on the eigenvalues that κ_p is made of.
_NARROW, _CLOSE = 1e-6, 1e-3
#: Columns of the probabilities turned into float64 at once.
_COLUMNS = 2048
_HOW = "Weyl's inequalities, Lanczos iteration and counts of eigenvalues"


def closed_form_bounds(kept: KeptRows, divisor: int, work: float = MOST_WORK) -> Bounds:
    """Bounds on the eigenvalues of each block. ``divisor``: samples. ``work``: operations that counting may take."""
    assert kept.subtracted, "asked of a closed form"
    rows, own = np.asarray(kept.rows), np.asarray(kept.squares.sum(0)) / divisor
    found = [_Block(rows[k], own[k], divisor).bounds(work / len(own)) for k in range(len(own))]
    lower, upper = zip(*found, strict=True)
    return Bounds(lower, upper, own.sum(1), _HOW)


class _Block:
    """D − Pᵀ P / n, its diagonal known better than the difference would give it."""

    def __init__(self, rows: np.ndarray, own: np.ndarray, divisor: int) -> None:
        """``rows``: P [r, C]. ``own``: [C], the diagonal of the whole."""
        self.rows, self.divisor, self.trace = rows, divisor, float(own.sum())
        self.diagonal = own + np.einsum("rc,rc->c", rows, rows, dtype=np.float64) / divisor
        self.work = 2.0 * len(rows) ** 2 * len(own)

    def bounds(self, work: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, descending."""
        upper = np.sort(self.diagonal)[::-1]
        if not len(self.rows):
            return upper, upper
        lower = self._weyl(upper)
        lower[0] = max(lower[0], self._ritz())
        upper = np.minimum(upper, eigenvalue_at_most(lower, self.trace))
        counts = int(work / self.work) if self.work else 0
        counts = self._close_largest(lower, upper, counts)
        floor = floor_of(len(upper)) * upper[0]
        rank = max(1, int(np.count_nonzero(upper > floor)))
        wanted = sorted({percentile_index(p, rank) for p in PERCENTILES[:-1]})
        for place, target in enumerate(wanted):
            counts -= self._close(lower, upper, target, counts // (len(wanted) - place))
        return lower, upper

    def _weyl(self, upper: np.ndarray) -> np.ndarray:
        gram = self._weighted(np.ones(len(self.diagonal)))
        subtracted = np.append(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0), 0.0)
        lower = np.zeros(len(upper))
        for j, most in enumerate(subtracted[: len(upper)]):
            reached = upper[j:] - most
            np.maximum(lower[: len(reached)], reached, out=lower[: len(reached)])
        return lower

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        """P diag(weights) Pᵀ / n."""
        total = np.zeros((len(self.rows), len(self.rows)))
        for start in range(0, len(weights), _COLUMNS):
            here = slice(start, start + _COLUMNS)
            some = self.rows[:, here].astype(np.float64)
            total += (some * weights[here]) @ some.T
        return total / self.divisor

    def _times(self, vector: np.ndarray) -> np.ndarray:
        product = self.diagonal * vector
        inner = np.zeros(len(self.rows))
        for start in range(0, len(vector), _COLUMNS):
            inner += self.rows[:, start : start + _COLUMNS].astype(np.float64) @ vector[start : start + _COLUMNS]
        for start in range(0, len(vector), _COLUMNS):
            here = slice(start, start + _COLUMNS)
            product[here] -= inner @ self.rows[:, here].astype(np.float64) / self.divisor
        return product

    def _ritz(self) -> float:
        """The largest Ritz value, which no eigenvalue can fall short of, by Lanczos iteration from a fixed vector."""
        side = len(self.diagonal)
        vector = np.random.default_rng(0).standard_normal(side) / np.sqrt(side)
        vector[np.argmax(self.diagonal)] += 1
        basis = [vector / np.linalg.norm(vector)]
        alphas: list[float] = []
        betas: list[float] = []
        for _ in range(min(STEPS, side)):
            product = self._times(basis[-1])
            alphas.append(float(product @ basis[-1]))
            for _twice in range(2):
                for one in basis:
                    product -= (product @ one) * one
            beta = float(np.linalg.norm(product))
            if beta <= 1e-14 * max(self.trace, 1e-300):
                break
            betas.append(beta)
            basis.append(product / beta)
        inside = betas[: len(alphas) - 1]
        matrix = np.diag(alphas) + np.diag(inside, 1) + np.diag(inside, -1)
        return float(np.linalg.eigvalsh(matrix)[-1])

    def above(self, threshold: float) -> int:
        """How many eigenvalues are larger."""
        gaps = self.diagonal - threshold
        gaps[gaps == 0] = np.finfo(float).tiny ** 0.5
        inner = np.eye(len(self.rows)) - self._weighted(1 / gaps)
        return int((gaps > 0).sum()) + int((np.linalg.eigvalsh(inner) > 0).sum()) - len(self.rows)

    def _close_largest(self, lower: np.ndarray, upper: np.ndarray, counts: int) -> int:
        """Try to show that the Ritz value is λmax, then bisect; returns the counts that are left."""
        allowed = -(-counts // len(PERCENTILES))
        guess = lower[0] * (1 + _NARROW / 2)
        if allowed and guess < upper[0]:
            allowed, counts = allowed - 1, counts - 1
            if self.above(guess):
                lower[0] = max(lower[0], guess)
            else:
                np.minimum(upper, guess, out=upper)
        return counts - self._close(lower, upper, 0, allowed)

    def _close(self, lower: np.ndarray, upper: np.ndarray, target: int, counts: int) -> int:
        """Bisect the bounds on one eigenvalue; returns the counts used."""
        used = 0
        width = _CLOSE if target else _NARROW
        while used < counts and upper[target] - lower[target] > width * upper[target]:
            low, high = lower[target], upper[target]
            middle = float(np.sqrt(low * high)) if low > high * 1e-6 else high / 8
            if self.above(middle) > target:
                np.maximum(lower[: target + 1], middle, out=lower[: target + 1])
            else:
                np.minimum(upper[target:], middle, out=upper[target:])
            used += 1
        return used
