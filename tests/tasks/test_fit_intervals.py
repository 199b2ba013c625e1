"""The intervals of a probe's loss."""

from __future__ import annotations

import math

import torch

from lcaudit.capture.tasks._fit import _Ratio


def ratio(values: list[float]) -> _Ratio:
    found = _Ratio()
    found.add(torch.tensor(values), torch.ones(len(values)))
    return found


def test_a_loss_is_not_said_to_be_below_nought() -> None:
    few = ratio([0.0] * 9 + [0.12]).mean()
    assert few.low == 0.0 < few.value < few.high
    for limit in (0.001, math.log(2), math.log(10)):
        raw = 0.012 - 1.96 * 0.12 / 10
        assert raw < 0 and few.against(limit) in ("below", "straddles"), "the lower end reaches no positive limit"


def test_a_loss_far_from_nought_keeps_its_interval() -> None:
    many = ratio([0.9, 1.1] * 50).mean()
    assert 0 < many.low < 1 < many.high
    assert math.isclose(many.value - many.low, many.high - many.value)
