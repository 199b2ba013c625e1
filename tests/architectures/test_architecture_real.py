"""Publicly trained CIFAR-10 networks: a loader that gives other errors is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from architecture_cases import checkpoint

from lcaudit.architectures import resolve

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
TEST = SHARED / "data" / "cifar10" / "test.npz"


@pytest.mark.skipif(not TEST.is_file(), reason="no real CIFAR-10 images beside the checkout")
@pytest.mark.parametrize(
    ("name", "depth", "wrong"),
    [("resnet20-12fca82f", 20, 70), ("resnet32-d509ac18", 32, 59), ("resnet44-014dd654", 44, 53)],
)
def test_the_published_networks_make_their_known_errors(name: str, depth: int, wrong: int) -> None:
    stored = torch.load(SHARED / "checkpoints" / f"{name}.th", weights_only=True, map_location="cpu")["state_dict"]
    network = resolve(checkpoint({key.removeprefix("module."): value for key, value in stored.items()}))
    assert network.record.title.startswith(f"ResNet-{depth} ")
    assert network.record.confidence == "identified"
    with np.load(TEST) as data:
        images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    normalisation = network.normalisation["cifar10"]
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (normalisation.mean, normalisation.std))
    with torch.no_grad():
        seen = network.module((images.permute(0, 3, 1, 2) / 255 - mean) / std).argmax(1)
    assert int((seen != labels).sum()) == wrong
