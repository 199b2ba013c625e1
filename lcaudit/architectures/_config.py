"""timm's ``config.json`` beside the weights: what it says, as far as it can be believed.

Only ``architecture``, ``num_classes``, ``model_args.img_size``, ``model_args.in_chans`` and the entries of
``pretrained_cfg`` that tell how pictures are prepared are read; nothing else of the file has any effect. What it
says is a claim: the weights decide whether they fit.

Source: ``timm.models._hub`` (``save_config_for_hf``, ``_parse_model_cfg``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lcaudit.core.text import display_name, one_line
from lcaudit.core.types import INTERPOLATIONS

_NAME = re.compile(r"[a-z][a-z0-9_]{1,79}")
_TAG = re.compile(r"[A-Za-z0-9_]{1,79}")
#: Of ``model_args``; all others change the function in ways that a name and shapes do not show.
_ARGUMENTS = ("img_size", "in_chans", "num_classes")
_PICTURES = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode", "tag")
_MOST_SIDE = 8192
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class TimmConfig:
    """What a ``config.json`` of timm's claims.

    Attributes:
        architecture: name of a network in timm. classes: width of its head, ``None`` if not said.
        size: (height, width) it was built for, ``()`` for its own.
        pictures: checked entries of ``pretrained_cfg``; empty where they are absent or contradict each other.
        doubts: what in it cannot be, or contradicts itself, in words.
        unread: arguments of the network that are not in the allowlist: with these it is another function.
    """

    architecture: str
    classes: int | None
    size: tuple[int, ...]
    pictures: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read(config: Mapping[str, Any]) -> TimmConfig | None:
    """Read it, or ``None`` where it does not name a network as timm does."""
    name = config.get("architecture")
    nested = config.get("pretrained_cfg", config)
    if not isinstance(name, str) or not isinstance(nested, Mapping):
        return None
    name, _, tag = name.partition(".")
    if not _NAME.fullmatch(name) or (tag and not _TAG.fullmatch(tag)):
        return None
    arguments = config.get("model_args", {})
    arguments = arguments if isinstance(arguments, Mapping) else {}
    pictures, doubts = _pictures(nested)
    contradicted = [
        key
        for key in ("input_size", "mean", "std")
        if nested is not config and key in config and config[key] != nested.get(key)
    ]
    if contradicted:
        doubts.append(f"it says two things of {one_line(contradicted)}, so neither is believed")
        pictures = {}
    classes = config.get("num_classes", arguments.get("num_classes"))
    return TimmConfig(
        architecture=name,
        classes=classes if _is_whole(classes, 0, _MOST_CLASSES) else None,
        size=_size(arguments.get("img_size")),
        pictures=pictures,
        doubts=tuple(doubts),
        unread=tuple(sorted(display_name(key, 40) for key in arguments if key not in _ARGUMENTS)),
    )


def _pictures(nested: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    checks = {
        "input_size": lambda value: isinstance(value, list) and len(value) == 3 and all(map(_is_side, value)),
        "mean": lambda value: _are_numbers(value, -10),
        "std": lambda value: _are_numbers(value, 1e-6),
        "interpolation": lambda value: value in INTERPOLATIONS,
        "crop_pct": lambda value: _is_number(value) and 0.05 <= value <= 4,
        "crop_mode": lambda value: value in ("center", "squash", "border"),
        "tag": lambda value: isinstance(value, str) and _TAG.fullmatch(value) is not None,
    }
    said = {key: nested[key] for key in _PICTURES if nested.get(key) not in (None, "")}
    fine = {key: value for key, value in said.items() if checks[key](value)}
    doubts = [f"its {key} is {display_name(said[key], 40)}" for key in said if key not in fine]
    return fine, doubts


def _size(value: Any) -> tuple[int, ...]:
    sides = [value, value] if _is_side(value) else value
    return tuple(sides) if isinstance(sides, list) and len(sides) == 2 and all(map(_is_side, sides)) else ()


def _is_side(value: Any) -> bool:
    return _is_whole(value, 1, _MOST_SIDE)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_numbers(value: Any, least: float) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 16
        and all(_is_number(one) and least <= one <= 10 for one in value)
    )
