"""Second moments of a layer's input, as measured and after a change, on all samples or without one group.

With x a row, m and v the mean and variance of each entry's channel over all its elements, the zeros that a
convolution puts around its input among them:

    Σ_x       = E[x xᵀ]
    centred   = Σ_x − μ μᵀ,                                μ = E[x]
    centring  = E[(x − m)(x − m)ᵀ]                          pad with zeros, then subtract each channel's mean
    batch_norm = D^-½ centring D^-½,  D = diag(v + ε)        pad with zeros, then batch norm with γ = 1, β = 0
    whitening = pseudo-inverse of centred^½ on both sides: 1 in every direction of centred that is not 0

Padding comes first, for so the change can be undone in the layer's weight and bias and the function is the same at
the borders too: that is the change that ``lcaudit fix`` makes. For a linear layer they are the familiar covariance
and, but for ε, correlation. Both are Σ_x less a matrix of rank 2, which is how they are formed and applied to vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lcaudit.core.types import InputMoments

#: ε of torch.nn.BatchNorm1d and BatchNorm2d.
BATCH_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class SecondMoment:
    """Moments over some samples; K channel groups, d entries.

    Attributes:
        total: [K, d, d], Σ x xᵀ over all samples; empty where it is kept in another form. removed: the part of
            it over samples left out, if any.
        squares: [K, d], Σ x² over the samples that remain. rows: how many x remain.
        mean: [K, d]. channel_variance: [K, d], of each entry's channel.
        centre: [K, d], m. half: [K, d], μ − m/2, such that centring = Σ_x − half·mᵀ − m·halfᵀ.
    """

    total: np.ndarray
    removed: np.ndarray | None
    squares: np.ndarray
    rows: int
    mean: np.ndarray
    channel_variance: np.ndarray
    centre: np.ndarray
    half: np.ndarray

    def uncentred(self) -> np.ndarray:
        """Σ_x, [K, d, d]."""
        return (self.total if self.removed is None else self.total - self.removed) / self.rows

    def centred(self) -> np.ndarray:
        """C = Σ_x − μ μᵀ, [K, d, d]."""
        return self.uncentred() - self.mean[:, :, None] * self.mean[:, None, :]

    def centring(self) -> np.ndarray:
        """Σ of the input after its channel means are subtracted, [K, d, d]."""
        if self.centring_is_centred:
            return self.centred()
        product = self.half[:, :, None] * self.centre[:, None, :]
        return self.uncentred() - product - product.swapaxes(1, 2)

    @property
    def centring_is_centred(self) -> bool:
        """Whether channels' means are the rows': without padding, and without a stride that leaves positions out."""
        return np.array_equal(self.centre, self.mean)

    def batch_norm(self) -> np.ndarray:
        """Σ of the input after batch normalisation, [K, d, d]."""
        scale = self.scale()
        changed = self.centring()
        changed *= scale[:, :, None]
        changed *= scale[:, None, :]
        return changed

    def matrix(self, change: str) -> np.ndarray:
        """The one called ``input`` (unchanged), ``centring`` or ``batch_norm``."""
        return {"input": self.uncentred, "centring": self.centring, "batch_norm": self.batch_norm}[change]()

    def apply(self, change: str, vectors: np.ndarray, product: np.ndarray | None = None) -> np.ndarray:
        """:meth:`matrix` times vectors [K, d, m], without forming it. Cost: at most 4 d² m operations.

        Args:
            product: ``total @ vectors`` where that is known; of no use to ``batch_norm``.
        """
        if change == "batch_norm":
            scale = self.scale()[:, :, None]
            return scale * self.apply("centring", scale * vectors)
        result = self.total @ vectors if product is None else product
        if self.removed is not None:
            result = result - self.removed @ vectors
        result = result / self.rows
        if change == "centring":
            result -= self.half[:, :, None] * (self.centre[:, None, :] @ vectors)
            result -= self.centre[:, :, None] * (self.half[:, None, :] @ vectors)
        return result

    def diagonal(self, change: str) -> np.ndarray:
        """Diagonal of :meth:`matrix`, [K, d]."""
        own = self.squares / self.rows
        if change == "input":
            return own
        centred = own - 2 * self.half * self.centre
        return centred if change == "centring" else centred * self.scale() ** 2

    def measured(self, change: str) -> np.ndarray:
        """Diagonal of what :meth:`matrix` is formed from, before means are subtracted, [K, d]."""
        own = self.diagonal("input")
        return own * self.scale() ** 2 if change == "batch_norm" else own

    def mean_energy(self) -> float:
        """μᵀμ / tr Σ_x; NaN for an input that is all zeros."""
        trace = float(self.diagonal("input").sum())
        return float(np.square(self.mean).sum()) / trace if trace else math.nan

    def scale(self) -> np.ndarray:
        """By which batch normalisation multiplies each entry, [K, d]."""
        return 1 / np.sqrt(self.channel_variance + BATCH_NORM_EPS)


class GroupedMoments:
    """The sums of every group of samples, and their totals."""

    def __init__(self, inputs: InputMoments) -> None:
        if isinstance(inputs.second, torch.Tensor):
            self._second = np.asarray(inputs.second)
            self._squares = np.diagonal(self._second, axis1=2, axis2=3)
        else:
            self._squares = np.asarray(inputs.second.squares)
            self._second = np.empty((*self._squares.shape[:2], 0, 0))
        self._total = self._second.sum(0)
        names = ("first", "channel_sum", "channel_square", "rows", "elements")
        self._sums = {name: np.asarray(getattr(inputs, name)) for name in names}
        self._totals = {name: sums.sum(0) for name, sums in self._sums.items()}
        self._channel = np.asarray(inputs.channel)

    def shares(self) -> np.ndarray:
        """Share of the rows that each group holds, [G]."""
        return self._sums["rows"] / max(1, self._totals["rows"])

    def whole(self) -> SecondMoment:
        """Over all samples."""
        return self._moment(None, self._squares.sum(0), self._totals)

    def without(self, group: int) -> SecondMoment:
        """Over all samples but those of ``group``."""
        rest = {name: total - self._sums[name][group] for name, total in self._totals.items()}
        squares = self._squares.sum(0) - self._squares[group]
        return self._moment(self._second[group], squares, rest)

    def times_without(self, change: str, vectors: np.ndarray) -> Iterator[np.ndarray]:
        """For each group, the matrix called ``change`` without it times vectors [K, d, m]."""
        product = None if change == "batch_norm" else self._total @ vectors
        for group in range(len(self._second)):
            yield self.without(group).apply(change, vectors, product)

    def _moment(self, removed: np.ndarray | None, squares: np.ndarray, sums: dict[str, np.ndarray]) -> SecondMoment:
        rows, elements = max(1, int(sums["rows"])), max(1, int(sums["elements"]))  # sums over none are 0
        mean = sums["first"] / rows
        channel_mean = sums["channel_sum"] / elements
        channel_variance = np.maximum(sums["channel_square"] / elements - channel_mean**2, 0)
        centre = channel_mean[:, self._channel]
        return SecondMoment(
            total=self._total,
            removed=removed,
            squares=squares,
            rows=rows,
            mean=mean,
            channel_variance=channel_variance[:, self._channel],
            centre=centre,
            half=mean - 0.5 * centre,
        )
