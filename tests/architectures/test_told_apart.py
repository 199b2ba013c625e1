"""Checkpoints whose tensors two families have, audited end to end: the probe decides, or the error says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import lcaudit
from lcaudit.architectures import candidates
from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AmbiguousArchitecture
from lcaudit.core.outcomes import Report
from lcaudit.core.serial import dumps, load, parse_json
from lcaudit.probes import digits
from lcaudit.reports import render

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
TITLES = {False: "ResNet-10 (CIFAR, option B shortcuts, width 4)", True: "ResNet-10 (3×3 stem with max pooling)"}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + self.downsample(x))


class Net(nn.Module):
    """Torchvision's names with a 3×3 stem; the max pooling after it leaves no trace."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        widths = (4, 4, 8, 16, 32)
        for i in range(1, 5):
            self.add_module(f"layer{i}", nn.Sequential(Block(widths[i - 1], widths[i], 1 if i == 1 else 2)))
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits as uint8 [n, 32, 32, 3], the channels of different brightness."""
    pixels, labels = digits.load(split)
    grey = torch.from_numpy(pixels.astype(np.float32) / 16).unsqueeze(1)
    large = functional.interpolate(grey, (32, 32), mode="bilinear")
    coloured = torch.cat([large, large**2, functional.avg_pool2d(large, 5, 1, 2)], 1)
    return (coloured * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), labels


def trained(pool: bool, epochs: int = 3) -> nn.Module:
    pixels, labels = images("train")
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(one).reshape(-1, 1, 1) for one in (MEAN, STD))
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Net(pool)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=epochs * 20)

    def shown() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for chosen in torch.randperm(1000, generator=generator).split(50):
            padded = functional.pad(inputs[chosen], (4,) * 4)
            corners = torch.randint(0, 9, (len(chosen), 2), generator=generator).tolist()
            crops = torch.stack([padded[i, :, y : y + 32, x : x + 32] for i, (y, x) in enumerate(corners)])
            yield (crops - mean) / std, torch.from_numpy(labels)[chosen]

    for _ in range(epochs):
        for images_, labels_ in shown():
            optimiser.zero_grad()
            functional.cross_entropy(network(images_), labels_).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():  # the stored statistics catch up with the last weights
        for images_, _ in (*shown(), *shown()):
            network(images_)
    return network.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "cifar10-like.npz"
    pixels, labels = images("test")
    np.savez(path, images=pixels[:400], labels=labels[:400])
    return path


@pytest.mark.parametrize("pool", [False, True], ids=["without", "with"])
def test_a_max_pooling_that_leaves_no_trace_is_seen(pool: bool, tmp_path: Path, data: Path) -> None:
    network = trained(pool)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "net.safetensors")
    both = candidates(open_checkpoint(tmp_path / "net.safetensors"))
    assert {one.record.title for one in both} == set(TITLES.values())
    x = torch.rand(4, 3, 32, 32)
    outputs = [one.module(x) for one in both]
    assert float((outputs[0] - outputs[1]).norm() / outputs[0].norm()) > 0.1, "else it would not matter"
    report = lcaudit.audit(tmp_path / "net.safetensors", data, layers="fc", select="LC4")
    record, found = report.measurements.network, report.measurements.identification
    assert found is not None and found.method == "batch-norm replay"
    assert (record.title, record.confidence) == (TITLES[pool], "chosen by probe")
    assert {one.network for one in found.scores} == set(TITLES.values())
    for text in (render(report, "text"), render(report, "html")):
        assert "batch-norm replay" in text or "Readings" in text
    assert load(Report, parse_json(dumps(report))).measurements.identification == found


def test_without_training_nothing_tells_them_apart(tmp_path: Path, data: Path) -> None:
    torch.manual_seed(0)
    save_file({key: value.contiguous() for key, value in Net(True).state_dict().items()}, tmp_path / "net.safetensors")
    with pytest.raises(AmbiguousArchitecture, match="No reading") as caught:
        lcaudit.audit(tmp_path / "net.safetensors", data)
    assert set(caught.value.candidates) == {"resnet_cifar", "resnet_torchvision"}
    assert "--arch resnet_torchvision" in caught.value.hint
