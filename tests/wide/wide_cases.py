"""The same network measured in several forms, and literal figures to hold them against."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np
import torch
from torch import nn

from lcaudit.capture import budget, measure
from lcaudit.core.types import InputMoments
from tests.cases import network, probe

CPU = torch.device("cpu")
PERCENTS = (50, 80, 90)


@contextmanager
def forced(kind: str, span: int = budget.SPAN):
    """Every layer's moments in one form, whatever its size."""

    usual = budget.usual

    def chosen(found, looked, **options):
        forms = (
            form if form.only_sums else replace(form, kind=kind, span=span) for form in usual(found, looked, **options)
        )
        return budget.Forms(*forms)

    with mock.patch.object(budget, "usual", chosen):
        yield


def moments(model: nn.Module, inputs: torch.Tensor, form: str = "", span: int = budget.SPAN, **options):
    """A run in float64; ``form`` for one in which every layer is kept in it."""
    arguments = {"device": CPU, "dtype": torch.float64, "batch_size": 7, "seed": 3} | options
    given = probe(inputs)
    mask, classes = arguments.pop("mask", None), arguments.pop("classes", 0)
    if mask is not None:
        given = replace(given, mask=lambda start, stop: mask[start:stop])
    if not form:
        return measure(network(model, classes=classes), given, **arguments)
    with forced(form, span):
        return measure(network(model, classes=classes), given, **arguments)


def literal_changes(sums: InputMoments) -> dict[str, np.ndarray]:
    """Σ_x [K, d, d] as it is and after each change, entry by entry from usual moments, by loops over the definition."""
    rows, elements = int(sums.rows.sum()), int(sums.elements.sum())
    second = sums.second.sum(0).numpy() / rows
    first, channel = sums.first.sum(0).numpy() / rows, sums.channel.numpy()
    mean = sums.channel_sum.sum(0).numpy() / elements
    variance = sums.channel_square.sum(0).numpy() / elements - mean**2
    centred, centring = second.copy(), second.copy()
    pairs, side = second.shape[:2]
    for k in range(pairs):
        m, mu = mean[k, channel], first[k]
        centred[k] -= np.outer(mu, mu)
        for i in range(side):
            for j in range(side):
                centring[k, i, j] += m[i] * m[j] - mu[i] * m[j] - m[i] * mu[j]
    scale = 1 / np.sqrt(np.maximum(variance, 0)[:, channel] + 1e-5)
    norm = centring * scale[:, :, None] * scale[:, None, :]
    return {"input": second, "centred": centred, "centring": centring, "batch_norm": norm}


def descending(matrix: np.ndarray) -> np.ndarray:
    """Eigenvalues of all blocks together."""
    return np.sort(np.linalg.eigvalsh(matrix).ravel())[::-1]


class Padded(nn.Module):
    """Convolutions with borders, groups and strides before a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 4, 3, padding=2, groups=2, stride=2)
        self.point = nn.Conv2d(4, 5, 1, stride=2)
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.grouped(torch.tanh(self.stem(x))))
        return self.head(torch.tanh(self.up(torch.tanh(self.point(x)))).mean((2, 3)))
