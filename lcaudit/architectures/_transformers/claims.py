"""Whether names and shapes bear a ``config.json`` of transformers' out, as far as that shows without the library."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from lcaudit.architectures._transformers.config import TransformersConfig

Shapes = Mapping[str, tuple[int, ...]]
_WIDTHS = ("hidden_size", "n_embd", "dim", "d_model", "embed_dim")
_NUMBER = re.compile(r"\.(\d{1,6})\.")
#: All layers of it share one set of tensors.
_SHARING = ("albert",)


def contradiction(config: TransformersConfig, shapes: Shapes) -> str:
    """What in the shapes is not as the configuration says, ``""`` if nothing is."""
    firsts = {shape[0] for shape in shapes.values() if len(shape) >= 2}
    sides = {side for shape in shapes.values() for side in shape}
    vocabulary = config.values.get("vocab_size")
    if config.family.sees == "text" and vocabulary and vocabulary not in firsts:
        return f"no tensor has a row for each of {vocabulary} tokens"
    for key in _WIDTHS:
        width = config.values.get(key)
        if width and width not in sides:
            return f"no tensor has a side of {width} ({key})"
    if config.classes and config.classes not in firsts:
        return f"no tensor has a row for each of {config.classes} classes"
    layers = next((config.values[key] for key, kind in config.family.keys.items() if _counts(config, key, kind)), 0)
    seen = _most_layers(shapes)
    if layers and config.model_type not in _SHARING and layers != seen:
        return f"it says {layers} layers, the names number {seen}"
    return ""


def _counts(config: TransformersConfig, key: str, kind: str) -> bool:
    return kind == "layers" and "layer" in key and bool(config.values.get(key))


def _most_layers(shapes: Shapes) -> int:
    """The longest row of numbered modules."""
    rows: dict[str, set[str]] = defaultdict(set)
    for key in shapes:
        for found in _NUMBER.finditer(f".{key}"):
            rows[f".{key}"[: found.start()]].add(found.group(1))
    return max(map(len, rows.values()), default=0)
