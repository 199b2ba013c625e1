"""Publicly trained CIFAR-10 networks and real images, which lie beside the project and not in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from lcaudit.capture.labels import uniforms
from tests.cases import SHARED
from tests.oracles import unfolded

TEST = SHARED / "data" / "cifar10" / "test.npz"
TRAIN = SHARED / "data" / "cifar10" / "train.npz"
JPEG = SHARED / "data" / "cifar10-jpeg"
#: Seen to pass before a change is called done, and too long for every run.
thorough = pytest.mark.skipif(
    not os.environ.get("LCAUDIT_THOROUGH"), reason="takes minutes: LCAUDIT_THOROUGH=1 runs it"
)
#: Labels are drawn with this seed by default.
SEED = 0


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint and what is known of it.

    Attributes:
        wrong: how many of the 846 test images it gets wrong.
        head: (κ_50, κ_80) of the last layer's Σ_x on 4,660 training images, by change; empty if unknown.
    """

    file: str
    depth: int
    wrong: int
    head: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return SHARED / "checkpoints" / f"{self.file}.th"

    @property
    def convolutions(self) -> list[str]:
        """In order of execution: a stem, and (depth − 2) / 6 blocks of two in each of three stages."""
        blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range((self.depth - 2) // 6)]
        return ["conv1", *(f"{block}.{name}" for block in blocks for name in ("conv1", "conv2"))]


NETWORKS = (
    Published("resnet20-12fca82f", 20, 70, {"now": (938, 2960), "centring": (155, 491), "batch_norm": (98, 294)}),
    Published("resnet32-d509ac18", 32, 59),
    Published("resnet44-014dd654", 44, 53, {"now": (1053, 2663), "centring": (156, 396), "batch_norm": (92, 246)}),
)


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 32, 32, 3] and labels int64 [n]."""
    with np.load(path) as data:
        return data["images"], data["labels"]


def by_definition(published: Published, images: np.ndarray) -> unfolded.Measured:
    """The network on ``images`` by the oracle; image k's label is drawn with the uniform of key k."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its tensors are small: more threads would only wait for each other
    try:
        draws = uniforms(np.arange(len(images)), SEED).numpy()
        return unfolded.measure(unfolded.weights(published.path), unfolded.normalised(images), draws)
    finally:
        torch.set_num_threads(threads)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``lcaudit`` with ``arguments``, in its own process."""
    line = [sys.executable, "-m", "lcaudit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, encoding="utf-8", check=False)


#: The smallest network always, the others where there is time.
EACH = [pytest.param(one, id=f"resnet{one.depth}", marks=() if one.depth == 20 else thorough) for one in NETWORKS]
