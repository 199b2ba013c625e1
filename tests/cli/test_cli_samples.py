"""``--samples auto`` and ``--layers`` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

Run = Callable[..., object]


def settings() -> dict:
    return json.loads(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))["measurements"]["settings"]


def test_auto_looks_until_every_verdict_is_decided(lcaudit: Run, kit) -> None:
    assert lcaudit(*kit.arguments, "--samples", "auto").code == 0
    looks = settings()["looks"]
    assert looks in ([250], [250, 300]) and settings()["samples"] == looks[-1]
    again = lcaudit("report", "lcaudit-report/report.json").out
    assert "undecided" in again or looks == [250]


@pytest.mark.parametrize("value", ["1", "0", "-3", "many", "2.5", "AUTO"])
def test_a_number_of_samples_that_is_none(lcaudit: Run, kit, value: str) -> None:
    ran = lcaudit(*kit.arguments, f"--samples={value}")
    assert ran.code == 2 and ran.out == ""
    assert "expected a whole number from 2, or auto" in ran.err


def test_only_the_layers_asked_for_are_measured(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--layers", "3")
    assert ran.code == 0 and settings()["layers"] == ["3"]
    assert "not asked for by --layers" in Path("lcaudit-report/report.json").read_text(encoding="utf-8")
    assert lcaudit(*kit.arguments, "--layers", "3", "--min-coverage", "1").code == 3


def test_a_layer_that_is_not_there(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--layers", "fc\x1b[31m")
    assert ran.code == 2 and "matches no layer" in ran.err and "\x1b" not in ran.err


PICTURES = """
import torch


def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3),
    )
"""


def test_an_input_that_few_samples_make_known_says_so(lcaudit: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)  # with so few pictures it is not worth looking
    Path("network.py").write_text(PICTURES, encoding="utf-8")
    namespace: dict = {}
    exec(PICTURES, namespace)
    torch.manual_seed(0)
    torch.save(namespace["make"]().state_dict(), "weights.pt")
    pictures = np.random.default_rng(0).normal(size=(700, 1, 12, 12)).astype(np.float32)
    np.savez("probe.npz", images=pictures, labels=np.arange(700) % 3)
    arguments = ("check", "weights.pt", "--data", "probe.npz", "--arch", "network.py:make", "--batch-size", "100")
    found = {}
    for precision in ("0.3", "0"):
        lcaudit(*arguments, "--precision", precision)
        report = json.loads(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))
        found[precision] = {one["layer"]["name"]: one for one in report["measurements"]["layers"]}
        page = Path("lcaudit-report/report.html").read_text(encoding="utf-8")
        assert ("of them, which made it known well enough" in page) == (precision != "0")
        assert any("summed over some 250" in words for words in report["convention"]) == (precision != "0")
    early, whole = found["0.3"]["2"], found["0"]["2"]
    assert early["input_samples"] == 250 and early["samples"] == 700 and not whole.get("input_samples")
    now, then = (one["input"]["condition_number"]["80"] for one in (early, whole))
    assert now["n"] == 250 and then["n"] == 700 and then["low"] < now["value"] < then["high"]
    assert early["layer"] == whole["layer"]
    for one, other in (
        (early["gradient"]["largest"], whole["gradient"]["largest"]),
        (early["fisher_largest"], whole["fisher_largest"]),
    ):  # of all samples, in other batches
        assert one["value"] == pytest.approx(other["value"], rel=1e-5) and one["n"] == other["n"]


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan", "ten"])
def test_a_precision_that_is_none(lcaudit: Run, kit, value: str) -> None:
    ran = lcaudit(*kit.arguments, f"--precision={value}")
    assert ran.code == 2 and ran.out == "" and "--precision" in ran.err
