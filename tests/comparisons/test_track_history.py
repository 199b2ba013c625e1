"""An append-only history: torn lines, what counts as measured alike, and steps from names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lcaudit import comparisons
from lcaudit.comparisons.history import step_of
from lcaudit.core.errors import MalformedInput
from tests.comparisons.comparison_cases import network, quantity


def point(name: str, sha256: str = "a" * 64, seed: int = 0):
    measured = network([quantity(100.0)])
    settings = comparisons.settings_of(measured.probe, replace(measured.settings, seed=seed))
    return comparisons.point(
        replace(measured, checkpoint=replace(measured.checkpoint, name=name, sha256=sha256)), settings
    )


@pytest.mark.parametrize(
    ("name", "step"),
    [("step-00120.pt", 120), ("epoch_3.safetensors", 3), ("resnet20-cifar10-7.th", 7), ("best.pt", None),
     ("checkpoint-500", 500), ("99999999999999999.pt", None)],
)  # fmt: skip
def test_steps(name, step):
    assert step_of(name) == step


def test_a_history_is_read_as_it_was_written():
    points = (point("1.pt"), point("2.pt", "b" * 64))
    text = "".join(map(comparisons.written, points))
    assert comparisons.read_history(text) == (points, len(text))
    assert text.count("\n") == 2


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_a_torn_last_line_is_left_out(cut):
    first, second = comparisons.written(point("1.pt")), comparisons.written(point("2.pt"))
    points, whole = comparisons.read_history(first + second[:-cut])
    assert [one.name for one in points] == ["1.pt"] and whole == len(first)


def test_a_line_that_is_none_is_an_error_with_its_number():
    with pytest.raises(MalformedInput, match="line 2 of the history"):
        comparisons.read_history(comparisons.written(point("1.pt")) + "{}\n")


def test_a_key_tells_weights_and_ways_of_measuring_apart():
    keys = {point("1.pt").key, point("1.pt", "b" * 64).key, point("1.pt", seed=1).key}
    assert len(keys) == 3 and point("other.pt").key in keys


def test_only_points_that_were_measured_alike_are_shown_by_step():
    points = (point("10.pt"), point("9.pt"), point("best.pt"), point("9.pt", "c" * 64), point("8.pt", seed=1))
    shown = comparisons.latest(points, points[0].measurement)
    assert [one.name for one in shown] == ["9.pt", "10.pt", "best.pt"]
    assert shown[0].sha256 == "c" * 64
