"""Label maps from a file, one class for each pixel, 255 where nobody said: against every assignment of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lcaudit
from lcaudit import architectures, capture, checkpoints, opening
from lcaudit.core.errors import AuditError
from tests.tasks.task_oracle import every_class, second_moments

NETWORK = """
import torch


def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Tanh(),
        torch.nn.Conv2d(4, 3, 1),
    )


make.input_shape = (1, 2, 2)
make.num_classes = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmentation")
    (folder / "network.py").write_text(NETWORK)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(made().state_dict(), folder / "weights.pt")
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 3, (12, 2, 2)).astype(np.uint8)
    np.savez(folder / "whole.npz", images=rng.integers(0, 256, (12, 2, 2), dtype=np.uint8), labels=maps)
    maps[rng.random(maps.shape) < 0.3] = 255
    maps[3] = 255
    np.savez(folder / "part.npz", images=rng.integers(0, 256, (12, 2, 2), dtype=np.uint8), labels=maps)
    return folder


def made() -> nn.Module:
    found: dict = {}
    exec(NETWORK, found)
    return found["make"]()


@pytest.mark.parametrize(("name", "ignored"), [("whole", -100), ("part", 255)])
def test_gradients_over_label_maps_are_those_of_every_assignment(folder: Path, name: str, ignored: int) -> None:
    checkpoint, networks, probe = opening.opened(
        folder / "weights.pt", folder / f"{name}.npz", f"{folder / 'network.py'}:make", root=None, split=None,
        samples=None, seed=0, mean=(0.5,), std=(0.25,), ignore_index=ignored,
    )  # fmt: skip
    fisher = capture.fisher_of(None, "exact", "kfac")
    found = capture.measure(
        networks[0], probe, device=torch.device("cpu"), dtype=torch.float64, batch_size=5, seed=0, fisher=fisher,
        ignore_index=ignored,
    )  # fmt: skip
    assert found.task.name == "classification" and "one per position" in found.task.evidence
    model = made().double()
    model.load_state_dict(dict(checkpoint.tensors))
    inputs = probe.batch(0, 12).double()
    maps = torch.from_numpy(probe.labels)
    if name == "part":
        assert (maps == 255).any() and (maps == 255).all((1, 2)).any()
    with torch.no_grad():
        outputs = model(inputs)
    wanted = second_moments(
        model, inputs, "classification",
        [every_class(one, marks == ignored) for one, marks in zip(outputs, maps, strict=True)],
    )  # fmt: skip
    for layer in found.layers:
        torch.testing.assert_close(layer.gradient.sum(0), wanted[layer.layer.name], rtol=1e-9, atol=1e-12)
    assert {layer.gradient_label for layer in found.layers} >= {"expected, closed form"}
    counted = maps != ignored
    wrong = (outputs.argmax(1) != maps)[counted].double().mean()
    assert found.fit.error is not None and found.fit.error.value == pytest.approx(float(wrong), rel=1e-9)


def test_an_audit_of_label_maps_says_what_it_took_them_for(folder: Path) -> None:
    report = lcaudit.audit(
        folder / "weights.pt", folder / "part.npz", arch=f"{folder / 'network.py'}:make", ignore_index=255,
        mean=(0.5,), std=(0.25,),
    )  # fmt: skip
    settings = report.measurements.settings
    assert (settings.task, settings.ignore_index) == ("classification", 255)
    assert len(report.measurements.layers) == 3 and not report.measurements.not_audited


@pytest.mark.parametrize("task", ["auto", "classification"])
def test_marked_pixels_are_named_with_the_option_that_leaves_them_out(folder: Path, task: str) -> None:
    with pytest.raises(AuditError, match="--ignore-index 255"):
        lcaudit.audit(folder / "weights.pt", folder / "part.npz", arch=f"{folder / 'network.py'}:make", task=task)


def test_a_label_of_255_among_wrong_ones_is_no_mark(folder: Path, tmp_path: Path) -> None:
    maps = np.full((12, 2, 2), 7)
    maps[0, 0, 0] = 255
    np.savez(tmp_path / "x.npz", images=np.zeros((12, 2, 2), np.uint8), labels=maps)
    with pytest.raises(AuditError) as caught:
        lcaudit.audit(folder / "weights.pt", tmp_path / "x.npz", arch=f"{folder / 'network.py'}:make")
    assert "labels run from 7 to 255" in caught.value.message and "--ignore-index" not in caught.value.message


@pytest.mark.parametrize("second", [False, True])
def test_torchvisions_segmentation_networks_give_their_pixels_scores(second: bool, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    name = "deeplabv3_mobilenet_v3_large"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=5, aux_loss=second
        ).eval()  # fmt: skip
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    inputs = torch.rand(2, 3, 32, 32)
    for arch in (None, f"torchvision:{name}"):
        network = architectures.resolve(checkpoints.open_checkpoint(tmp_path / "weights.pt"), arch)
        with torch.no_grad():
            assert torch.equal(network.module(inputs), model(inputs)["out"])
        assert network.record.classes == 5 and name in network.record.title
