"""Part of ``benchmarks/does_it_matter.py``: small networks trained with and without what an audit suggests.

For each task a plain network is trained on a seed of its own, saved and audited. One variant has a batch norm before
the head, one has the head's mean subtracted, whether or not the audit finds the head worth a word; where it names
inner layers, one has a batch norm before all of them. Every variant starts from the same weights of the same seed, for
a fresh batch norm draws no random numbers, sees the same batches, and has its own learning rate, the one of a grid that
does best on the seed that is not reported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import lcaudit
from benchmarks import paper_networks
from lcaudit.demo.train import split

#: The seed that learning rates, the target and the audit come from; the others are reported.
TUNING = 1000
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Data = tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained.

    Attributes:
        build: fresh weights from the global random state. probe: where the audit finds the training images.
        steps, batch: of momentum SGD whose rate falls linearly to 0. every: steps between looks at the loss.
    """

    name: str
    network: str
    build: Callable[[], nn.Module]
    data: Data
    probe: tuple[str, dict[str, Any]]
    arch: str | None
    steps: int
    batch: int
    every: int
    rates: tuple[float, ...]


class Centre(nn.Module):
    """Subtracts each channel's mean: of the batch in training, the running one otherwise. No scale, no parameter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x``: [b, channels, …]."""
        shape = (1, -1, *[1] * (x.ndim - 2))
        if not self.training:
            return x - self.mean.reshape(shape)
        mean = x.mean([i for i in range(x.ndim) if i != 1])
        self.mean.lerp_(mean.detach(), 0.1)
        return x - mean.reshape(shape)


def changed(network: nn.Module, variant: str, layers: list[str]) -> nn.Module:
    """The network with something put in front of the named layers."""
    for name in layers if variant != "plain" else []:
        layer = network.get_submodule(name)
        channels = layer.weight.shape[1] * getattr(layer, "groups", 1)
        norm = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
        before = Centre(channels) if variant == "centred" else norm(channels)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Sequential(before, layer))
    return network


def train(task: Task, variant: str, layers: list[str], rate: float, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """Train from scratch; the training loss in eval mode at every look, and the test error at the end."""
    (images, labels), (others, answers) = task.data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = changed(task.build(), variant, layers)
    generator = torch.Generator().manual_seed(seed)
    looked = torch.randperm(len(images), generator=generator)[:500]
    optimiser = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / task.steps)
    curve: list[tuple[int, float]] = []
    order: list[torch.Tensor] = []
    for step in range(task.steps + 1):
        if step % task.every == 0 or step == task.steps:
            network.eval()
            with torch.no_grad():
                loss = functional.cross_entropy(_outputs(network, images[looked]), labels[looked]).item()
            curve.append((step, loss if np.isfinite(loss) else 1e9))
        if step == task.steps:
            break
        if not order:
            shuffled = torch.randperm(len(images), generator=generator)
            order = list(shuffled[: len(images) // task.batch * task.batch].split(task.batch))
        chosen = order.pop()
        optimiser.zero_grad()
        functional.cross_entropy(network.train()(images[chosen]), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        error = (_outputs(network, others).argmax(1) != answers).double().mean().item()
    return network, {"seed": seed, "curve": curve, "loss": curve[-1][1], "error": error}


def _outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([network(part) for part in images.split(500)])


def audited(task: Task, network: nn.Module) -> dict[str, Any]:
    """What ``lcaudit.audit`` finds on the training images, layers it offers a batch norm for, and the head's gain."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
        data, options = task.probe
        report = lcaudit.audit(path, data, arch=task.arch, select=("LC301", "LC302"), **options)
    offered = {
        finding.rule: [name for fix in finding.fixes if fix.id == "batch-norm-before" for name in fix.layers]
        for finding in report.findings
    }
    gains = {finding.id: finding.measured.value for finding in report.findings}
    head = report.measurements.layers[-1]
    return {
        "findings": gains,
        "layers": offered,
        "head": head.layer.name,
        "gain": head.what_if["batch_norm"].gain.value,
    }


def run_task(task: Task, seeds: int, told: Any = print) -> dict[str, Any]:
    """Choose rates, target and layers on one seed, then every variant on the others."""
    plain: dict[float, tuple[nn.Module, dict[str, Any]]] = {
        rate: train(task, "plain", [], rate, TUNING) for rate in task.rates
    }
    best = min(task.rates, key=lambda rate: plain[rate][1]["loss"])
    told(f"{task.name}: plain at {best}, loss {plain[best][1]['loss']:.3g}, error {plain[best][1]['error']:.2%}")
    seen = audited(task, plain[best][0])
    told(f"{task.name}: {seen}")
    head, inner = [seen["head"]], seen["layers"].get("LC302", [])
    wanted: dict[str, tuple[str, list[str]]] = {
        "plain": ("plain", []), "batch norm before the head": ("batch norm", head), "head centred": ("centred", head),
    }  # fmt: skip
    if inner:
        named = [*seen["layers"].get("LC301", []), *inner]
        wanted["batch norm before all layers named"] = ("batch norm", named)
    curve = plain[best][1]["curve"]
    target = next(loss for step, loss in curve if step >= task.steps // 2)
    variants: dict[str, Any] = {}
    for name, (variant, layers) in wanted.items():
        tuned = {
            rate: (plain[rate] if name == "plain" else train(task, variant, layers, rate, TUNING))[1]["loss"]
            for rate in task.rates
        }
        rate = min(task.rates, key=lambda one: tuned[one])
        runs = []
        for seed in range(seeds):
            _, result = train(task, variant, layers, rate, seed)
            runs.append(result | {"reached": next((step for step, loss in result["curve"] if loss <= target), None)})
        variants[name] = {
            "layers": layers, "rate": rate, "rate_at_an_end_of_the_grid": rate in (task.rates[0], task.rates[-1]),
            "tuning_losses": {str(one): loss for one, loss in tuned.items()}, "runs": runs,
        }  # fmt: skip
        told(f"{task.name}, {name}: rate {rate}, " + ", ".join(f"{one['reached']}/{one['error']:.3f}" for one in runs))
    return {
        "network": task.network, "training_samples": len(task.data[0][1]), "test_samples": len(task.data[1][1]),
        "steps": task.steps, "batch": task.batch, "every": task.every, "rates": list(task.rates), "target": target,
        "audit": seen, "variants": variants,
    }  # fmt: skip


def tasks(cifar: Path | None, share: float = 1.0) -> list[Task]:
    """The committed ones. ``cifar``: a folder with ``train.npz`` and ``test.npz``. ``share``: of their steps."""
    digits: Data = split("train"), split("test")
    on_digits: tuple[str, dict[str, Any]] = ("digits", {"split": "train"})

    def of(steps: int) -> int:
        return max(2, round(steps * share))

    found = [
        Task(
            "digits, multilayer perceptron", "6 linear layers of width 64, ReLU, no normalisation",
            lambda: paper_networks.mlp(6, 64, False), digits, on_digits, None, of(600), 50, of(20),
            (0.01, 0.03, 0.1, 0.3),
        ),
        Task(
            "digits, residual network", "ResNet-14, widths 8-16-32, batch norm inside the blocks",
            lambda: paper_networks.residual(14, False), digits, on_digits, None, of(250), 50, of(10),
            (0.1, 0.3),
        ),
    ]  # fmt: skip
    if cifar is not None:
        found.append(
            Task(
                "CIFAR-10 subset, residual network", "ResNet-8, widths 8-16-32, batch norm inside the blocks",
                _cifar_network, _cifar(cifar), (str(cifar / "train.npz"), {"mean": CIFAR_MEAN, "std": CIFAR_STD}),
                None, of(220), 100, of(20), (0.1, 0.2),
            )
        )  # fmt: skip
    return found


def _cifar_network() -> nn.Module:
    variant = paper_networks.VARIANT | {"channels": 3, "stem_width": 8, "widths": "8-16-32", "blocks": "1-1-1"}
    return paper_networks.FAMILY.build(variant)


def _cifar(folder: Path) -> Data:
    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        with np.load(folder / name, allow_pickle=False) as arrays:
            images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).float() / 255
            labels = torch.from_numpy(arrays["labels"])
        mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (CIFAR_MEAN, CIFAR_STD))
        return (images - mean) / std, labels

    return read("train.npz"), read("test.npz")
