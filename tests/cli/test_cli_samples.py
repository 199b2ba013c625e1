"""``--samples auto`` and ``--layers`` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
