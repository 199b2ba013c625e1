"""The demonstration network: healthy, and honest about its last layer."""

from __future__ import annotations

import numpy as np
import torch
from architecture_cases import checkpoint
from safetensors import safe_open

from lcaudit.architectures import resolve
from lcaudit.core.types import Network
from lcaudit.demo import WEIGHTS
from lcaudit.demo.train import accuracy, shifted, split, train


def network() -> Network:
    with safe_open(WEIGHTS, framework="pt") as file:
        return resolve(checkpoint({key: file.get_tensor(key) for key in file.keys()}))  # noqa: SIM118


def condition_number(matrix: np.ndarray, share: float) -> float:
    values = np.linalg.eigvalsh(matrix)[::-1]
    values = values[values > len(matrix) * np.finfo(np.float64).eps * values[0]]
    return float(values[0] / values[int(np.ceil(share * len(values))) - 1])


def test_the_shipped_file_is_small_and_says_what_it_is() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {"best_acc": f"{accuracy(network().module):.4f}", "trained_on": "digits train split"}


def test_it_is_a_healthy_resnet_20() -> None:
    found = network()
    assert found.record.title == "ResNet-20 (CIFAR, option A shortcuts, width 16)"
    assert (found.record.confidence, found.record.input_shape, found.record.classes) == ("identified", (1, 0, 0), 10)
    assert accuracy(found.module) >= 0.98


def test_standardising_the_last_layers_input_would_gain_a_lot() -> None:
    found, rows = network(), []
    hook = found.module.linear.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].double().numpy()))
    accuracy(found.module)
    hook.remove()
    (x,) = rows
    raw = x.T @ x / len(x)
    assert condition_number(raw, 0.8) / condition_number(np.corrcoef(x.T), 0.8) >= 8


def test_training_learns_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    trained = train(epochs=2)
    assert torch.equal(before, torch.get_rng_state())
    assert accuracy(trained) > 0.6
    assert not trained.training


def test_a_shift_moves_by_at_most_one_pixel() -> None:
    images, _ = split("train")
    moved = shifted(images[:200], torch.Generator().manual_seed(0))
    assert moved.shape == (200, 1, 8, 8)
    assert not torch.equal(moved, images[:200])
    torch.testing.assert_close(moved[:, :, 3:5, 3:5].amax(), images[:200, :, 2:6, 2:6].amax())
    whole = [
        any(torch.equal(m[:, 1:-1, 1:-1], i[:, a : a + 6, b : b + 6]) for a in range(3) for b in range(3))
        for m, i in zip(moved, images, strict=False)
    ]
    assert all(whole)
