"""Running the command line in this process, and a small network with data to run it on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

NETWORK = """
import torch


def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10, bias=False),
    )


make.input_shape = (1, 8, 8)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command line gave."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Kit:
    """A network that is right about every one of its 300 images, and wrong labels for it.

    Attributes:
        arguments: a command line that audits it in a fraction of a second; the gate passes.
        wrong: the same on labels that it mostly gets wrong; the gate fails.
    """

    folder: Path
    arguments: tuple[str, ...]
    wrong: tuple[str, ...]


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("kit")
    (folder / "network.py").write_text(NETWORK)
    found: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(NETWORK, found)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = found["make"]()
    save_file(network.state_dict(), folder / "model.safetensors")
    torch.save({"state_dict": network.state_dict()}, folder / "model.pt")
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        scaled = (images[:, None].astype(np.float32) / 255 - 0.5) / 0.25
        labels = network(torch.from_numpy(scaled)).argmax(1).numpy()
    np.savez(folder / "right.npz", images=images, labels=labels)
    np.savez(folder / "wrong.npz", images=images, labels=(labels + 1) % 10)
    shared = ("check", str(folder / "model.safetensors"), "--arch", f"{folder / 'network.py'}:make")
    shared += ("--mean", "0.5", "--std", "0.25", "--data")
    return Kit(folder, (*shared, str(folder / "right.npz")), (*shared, str(folder / "wrong.npz")))


@pytest.fixture
def lcaudit(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run ``lcaudit *arguments`` in an empty working folder and an environment that asks for nothing."""
    from lcaudit.cli import main

    (tmp_path / "work").mkdir()
    (tmp_path / ".git").mkdir()  # no configuration is looked for above
    monkeypatch.chdir(tmp_path / "work")
    for name in [name for name in os.environ if name.startswith("LCAUDIT_")] + ["NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run
