"""The accuracy that a checkpoint says its network reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lcaudit.core.measurements import RecordedAccuracy

#: The best one first, then the last one; the test set before the validation set.
KEYS = (
    "best_prec1",
    "best_acc1",
    "best_acc",
    "best_accuracy",
    "best_top1",
    "best_test_acc",
    "best_val_acc",
    "prec1",
    "acc1",
    "top1",
    "test_acc",
    "test_accuracy",
    "val_acc",
    "val_accuracy",
    "acc",
    "accuracy",
)
#: Shares are at most 1; above this a number is a percentage. Between the two it is neither.
_PERCENT = 1.5
_LONGEST_TEXT = 40


def recorded_accuracy(places: Iterable[Mapping[Any, Any]]) -> RecordedAccuracy | None:
    """The first usable entry, in order of ``KEYS``, then of ``places`` (outermost first)."""
    places = list(places)
    for key in KEYS:
        for place in places:
            share = as_share(place.get(key))
            if share is not None:
                return RecordedAccuracy(key, share)
    return None


def as_share(value: object) -> float | None:
    """A number, a tensor of one number or a number as text → a share in (0, 1]; ``None`` for nonsense.

    Zero is what scripts record before the first evaluation, so it says nothing.
    """
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
        value = value.detach().item() if plain and value.numel() == 1 else None
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= _LONGEST_TEXT else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100:
        return None
    if value > _PERCENT:
        return float(value) / 100
    return float(value) if value <= 1 else None
