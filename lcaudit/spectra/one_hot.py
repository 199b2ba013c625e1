"""Eigenvalues from counts: the second moment of one-hot rows is their frequencies, on the diagonal.

What changes of the input subtract is one vector's outer product, so that every change gives S (diag p − p pᵀ) S for a
diagonal S, which depends on an entry's frequency alone. Entries of one frequency are alike: m of them have m − 1 times
the eigenvalue of their diagonal entry, and together they are one entry of a small matrix diag(a) − b bᵀ. With r rows
no more than √(2 r) frequencies differ.

Cost: an eigenvalue problem whose side is the number of different frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcaudit.spectra.second_moment import SecondMoment


@dataclass(frozen=True, slots=True)
class OneHotWhole:
    """A second moment of one-hot rows after a change; in the place of :class:`lcaudit.spectra.factor.Whole`.

    Attributes:
        moment: its diagonal and means; no products. change: ``input``, ``centring`` or ``batch_norm``.
    """

    moment: SecondMoment
    change: str

    @property
    def measured(self) -> np.ndarray:
        """[K, d], the diagonal before anything was subtracted."""
        return self.moment.measured(self.change)

    def eigenvalues(self) -> np.ndarray:
        """Descending, [K, d]."""
        frequencies = self.moment.diagonal("input")
        scale = self.moment.scale() if self.change == "batch_norm" else np.ones_like(frequencies)
        return np.stack([_descending(p, s, self.change != "input") for p, s in zip(frequencies, scale, strict=True)])


def _descending(frequencies: np.ndarray, scale: np.ndarray, centred: bool) -> np.ndarray:
    """Of S diag(p) S, less its mean's outer product if ``centred``."""
    found = np.zeros(len(frequencies))
    different, first, times = np.unique(frequencies, return_index=True, return_counts=True)
    real = different > 0
    p, s, m = different[real], scale[first[real]], times[real]
    own = s * s * p
    if not centred:
        values = np.repeat(own, m)
    else:
        vector = s * p * np.sqrt(m)
        together = np.linalg.eigvalsh(np.diag(own) - np.outer(vector, vector))
        together[:1] = 0  # rows add up to one: S⁻¹ times a vector of ones is mapped to nothing
        values = np.concatenate([np.repeat(own, m - 1), together])
    found[: len(values)] = np.sort(values)[::-1]
    return found
