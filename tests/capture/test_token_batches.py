"""How many texts go through a network at once, whose outputs are as wide as its vocabulary."""

from __future__ import annotations

from dataclasses import replace

import torch

from lcaudit.capture import first_batch_size
from lcaudit.core.language import Meaning
from tests import cases


def first(shape: tuple[int, ...], classes: int, meaning: Meaning | None) -> int:
    probe = cases.probe(torch.zeros(60, *shape, dtype=torch.int64))
    return first_batch_size("auto", torch.device("cpu"), replace(probe, meaning=meaning), classes)


def test_outputs_of_one_batch_take_at_most_a_quarter_of_a_gibibyte_to_begin_with() -> None:
    tokens = Meaning("classification", "", "next token")
    assert first((512,), 50_257, tokens) == 2**26 // (512 * 50_257) == 2
    assert first((512,), 1_000_000, tokens) == 1
    assert first((20,), 100, tokens) == 50
    assert first((512,), 50_257, None) == 50
    assert first((512,), 384, Meaning("regression", "")) == 50
