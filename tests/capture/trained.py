"""Digits as colour images, and small networks trained on them by a known recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lcaudit.core.measurements import Normalisation
from lcaudit.core.types import Preprocessing, Probe
from lcaudit.probes import digits
from tests import cases

#: What training does to pixels in [0, 1]; the true answer of every test.
TRUTH = Normalisation((0.3, 0.2, 0.1), (0.4, 0.3, 0.35), "the training code of this test")


@functools.cache
def images(split: str, side: int = 16) -> tuple[torch.Tensor, np.ndarray]:
    """Float32 [n, 3, side, side] in [0, 1], each channel another brightness and the last one smoothed; labels."""
    pixels, labels = digits.load(split)
    grey = torch.from_numpy(pixels.astype(np.float32) / 16).unsqueeze(1)
    large = functional.interpolate(grey, (side, side), mode="bilinear")
    smooth = functional.avg_pool2d(large, 3, 1, 1)
    coloured = torch.cat([large, large**2, smooth], 1)
    return (coloured * 255).round() / 255, labels


def probe(split: str = "test", side: int = 16, confidence: str = "assumed", own: Normalisation = TRUTH) -> Probe:
    """The images as the probes stage would hand them over, normalised by ``own``."""
    pixels, labels = images(split, side)
    given = cases.probe(Preprocessing(own).apply(pixels), labels)
    record = replace(given.record, normalisation=own, confidence=confidence)
    return replace(given, record=record, pixels=lambda start, stop: pixels[start:stop])


def train(
    make: Callable[[], nn.Module], epochs: int, side: int = 16, crop: bool = True, rate: float = 0.1
) -> nn.Module:
    """Momentum 0.9, one cycle of the rate down to nothing, images shifted by up to an eighth of the side."""
    pixels, labels = images("train", side)
    targets, generator = torch.from_numpy(labels), torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make()
    optimiser = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    steps = epochs * (len(pixels) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels), generator=generator).split(50):
            shown = shifted(pixels[chosen], generator) if crop else pixels[chosen]
            optimiser.zero_grad()
            functional.cross_entropy(network(Preprocessing(TRUTH).apply(shown)), targets[chosen]).backward()
            optimiser.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def shifted(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    side = pixels.shape[-1]
    reach = side // 8
    padded = functional.pad(pixels, (reach,) * 4)
    corners = torch.randint(0, 2 * reach + 1, (len(pixels), 2), generator=generator).tolist()
    return torch.stack([padded[i, :, y : y + side, x : x + side] for i, (y, x) in enumerate(corners)])


class Small(nn.Module):
    """Three convolutions with batch norm; ``pool`` leaves no trace in names and shapes."""

    def __init__(self, pool: str = "none") -> None:
        super().__init__()
        self.pool = {"none": nn.Identity(), "max": nn.MaxPool2d(3, 2, 1), "average": nn.AvgPool2d(2)}[pool]
        self.a, self.bn_a = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.bn_b = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.c, self.bn_c = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn_a(self.a(x))))
        x = torch.relu(self.bn_b(self.b(x)))
        x = torch.relu(self.bn_c(self.c(x)))
        return self.head(x.mean((2, 3)))


@functools.cache
def small(pool: str = "none") -> nn.Module:
    """Trained once for all tests."""
    return train(lambda: Small(pool), 8)
