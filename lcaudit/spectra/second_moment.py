"""Second moments of a layer's input, as measured and after a change, for any choice of sample groups.

With x a row, s its validity (1 inside the input, 0 in zero padding), m and v the mean and variance of
each entry's channel over all its elements:

    Σ_x       = E[x xᵀ]
    centred   = Σ_x − μ μᵀ,                                μ = E[x]
    centring  = E[(x − s∘m)(x − s∘m)ᵀ]                      subtract each channel's mean, then pad with zeros
    batch_norm = D^-½ centring D^-½,  D = diag(v + ε)        batch norm with γ = 1, β = 0, then pad with zeros

``centring`` and ``batch_norm`` are exact at the borders: cross = E[x sᵀ] and overlap = E[s sᵀ] are
measured. For a linear layer s = 1 and they are the familiar covariance and, but for ε, correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcaudit.core.types import InputMoments

#: ε of torch.nn.BatchNorm1d and BatchNorm2d.
BATCH_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class SecondMoment:
    """Normalised moments over some groups of samples; K channel groups, d entries, T taps."""

    uncentred: np.ndarray  # [K, d, d]
    mean: np.ndarray  # [K, d]
    channel_mean: np.ndarray  # [K, d], of each entry's channel
    channel_variance: np.ndarray  # [K, d]
    cross: np.ndarray  # [K, d, T]
    overlap: np.ndarray  # [T, T]
    tap: np.ndarray  # [d]

    def centred(self) -> np.ndarray:
        """C = Σ_x − μ μᵀ, [K, d, d]."""
        return self.uncentred - self.mean[:, :, None] * self.mean[:, None, :]

    def centring(self) -> np.ndarray:
        """Σ of the input after its channel means are subtracted, [K, d, d]."""
        shift = self.cross[:, :, self.tap] * self.channel_mean[:, None, :]
        means = self.channel_mean[:, :, None] * self.channel_mean[:, None, :]
        return self.uncentred - shift - shift.swapaxes(1, 2) + self.overlap[np.ix_(self.tap, self.tap)] * means

    def batch_norm(self) -> np.ndarray:
        """Σ of the input after batch normalisation, [K, d, d]."""
        scale = 1 / np.sqrt(self.channel_variance + BATCH_NORM_EPS)
        return self.centring() * scale[:, :, None] * scale[:, None, :]


def second_moment(inputs: InputMoments, chosen: np.ndarray) -> SecondMoment:
    """Combine the sums of the ``chosen`` sample groups (boolean [G])."""

    def total(sums: object) -> np.ndarray:
        return np.asarray(sums)[chosen].sum(0)

    rows, elements = total(inputs.rows), total(inputs.elements)
    tap, channel = np.asarray(inputs.tap), np.asarray(inputs.channel)
    cross = total(inputs.cross) / rows
    channel_mean = total(inputs.channel_sum) / elements
    channel_variance = np.maximum(total(inputs.channel_square) / elements - channel_mean**2, 0)
    return SecondMoment(
        uncentred=total(inputs.second) / rows,
        mean=cross[:, np.arange(len(tap)), tap],
        channel_mean=channel_mean[:, channel],
        channel_variance=channel_variance[:, channel],
        cross=cross,
        overlap=np.asarray(inputs.overlap),
        tap=tap,
    )
