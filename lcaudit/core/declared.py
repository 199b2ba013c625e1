"""What ``lcaudit export`` writes beside the weights, and what is believed of it when it is read; free of torch.

Plain strings in the metadata of a safetensors file, each under a key that begins with ``lcaudit.``. The file may be
a stranger's: every entry is a claim. Only the keys of ``_READERS`` are read, each by its own pattern; nothing in
them names a file, an address or code. Whether the weights bear the claim out is for the later stages to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lcaudit.core.errors import MalformedInput
from lcaudit.core.measurements import Normalisation
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name

PREFIX = "lcaudit."
#: The scale on which ``mean`` and ``std`` are meant.
RANGE = "0,1"
MOST_CHARACTERS = 4000
_ARCH = re.compile(r"(timm|torchvision):[a-z][a-z0-9_]{1,79}|[a-z][a-z0-9_]{1,59}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_SIDE = 100_000
CROPS = ("centre", "squash", "border")
_INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said of the weights; every field may be empty, for not said.

    Attributes:
        arch: what ``--arch`` takes for it: a family, ``timm:NAME`` or ``torchvision:NAME``; never a file.
        variant: depth, widths and the like, as in ``NetworkRecord.variant``.
        mean, std: of inputs on the scale 0 to 1, one value or one for each channel; both or neither.
        input_size: shape of one input, without the batch.
        resize: (height, width) that pictures are resized to before they are cut; crop: one of ``CROPS``.
        interpolation: by which they are resized.
        version: of the lcaudit that wrote it. source, sha256: name and digest of what it was written from.
    """

    arch: str = ""
    variant: Mapping[str, str | int | bool] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    input_size: tuple[int, ...] = ()
    resize: tuple[int, ...] = ()
    crop: Literal["centre", "squash", "border", ""] = ""
    interpolation: str = ""
    version: str = ""
    source: str = ""
    sha256: str = ""

    def normalisation(self, source: str) -> Normalisation | None:
        """Mean and standard deviation, if they are said."""
        return Normalisation(self.mean, self.std, source) if self.mean else None

    def texts(self) -> dict[str, str]:
        """As metadata; :func:`read` gives the same back."""
        import json

        values: dict[str, str] = {
            "version": self.version,
            "arch": self.arch,
            "variant": json.dumps(dict(self.variant), sort_keys=True) if self.variant else "",
            "input_size": _joined(self.input_size),
            "range": RANGE if self.mean else "",
            "mean": _joined(self.mean),
            "std": _joined(self.std),
            "resize": _joined(self.resize),
            "crop": self.crop,
            "interpolation": self.interpolation,
            "source": display_name(self.source, 200),
            "sha256": self.sha256,
        }
        return {PREFIX + key: value for key, value in values.items() if value}


def read(texts: Mapping[str, str]) -> tuple[Declared | None, tuple[str, ...]]:
    """(what the metadata says, what in it cannot be, in words); ``None`` where it says nothing.

    Args:
        texts: all metadata of a file, whoever wrote it.
    """
    said = {key.removeprefix(PREFIX): text for key, text in texts.items() if key.startswith(PREFIX)}
    if not said:
        return None, ()
    found: dict[str, Any] = {}
    doubts = []
    for key, text in sorted(said.items()):
        reader = _READERS.get(key)
        value = reader(text) if reader and len(text) <= MOST_CHARACTERS else None
        if value is None:
            why = "is none that lcaudit writes" if reader is None else f"is {display_name(text, 60)!r}"
            doubts.append(f"its {display_name(PREFIX + key, 60)} {why}; not believed")
        elif key != "range":
            found[key] = value
    if "range" in said and said["range"] != RANGE:
        found.pop("mean", None)
    lengths = {len(found[key]) if key in found else 0 for key in ("mean", "std")}
    if len(lengths) > 1:
        doubts.append("its mean and std do not belong together; neither is believed")
    if len(lengths) > 1 or 0 in lengths:
        found.pop("mean", None)
        found.pop("std", None)
    return Declared(**found), tuple(doubts)


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(map(repr, values))


def _whole(text: str) -> tuple[int, ...] | None:
    parts = text.split(",")
    fine = len(parts) <= 8 and all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts)
    values = tuple(map(int, parts)) if fine else ()
    return values if values and all(1 <= value <= _MOST_SIDE for value in values) else None


def _two(text: str) -> tuple[int, ...] | None:
    values = _whole(text)
    return values if values and len(values) == 2 else None


def _numbers(least: float) -> Callable[[str], tuple[float, ...] | None]:
    def numbers(text: str) -> tuple[float, ...] | None:
        parts = text.split(",")
        if len(parts) > 64 or not all(re.fullmatch(r"-?[0-9.e+-]{1,30}", part) for part in parts):
            return None
        try:
            values = tuple(map(float, parts))
        except ValueError:
            return None
        return values if all(math.isfinite(value) and least <= value <= 1000 for value in values) else None

    return numbers


def _variant(text: str) -> Mapping[str, str | int | bool] | None:
    try:
        data = parse_json(text)
    except MalformedInput:
        return None
    fine = isinstance(data, dict) and all(
        isinstance(value, (str, int, bool)) and len(str(value)) <= 200 for value in data.values()
    )
    return data if fine else None


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if pattern.fullmatch(text) else None


def _one_of(*known: str) -> Callable[[str], str | None]:
    return lambda text: text if text in known else None


_READERS: dict[str, Callable[[str], Any]] = {
    "version": _matching(_VERSION),
    "arch": _matching(_ARCH),
    "variant": _variant,
    "input_size": _whole,
    "range": _one_of(RANGE),
    "mean": _numbers(-1000),
    "std": _numbers(1e-6),
    "resize": _two,
    "crop": _one_of(*CROPS),
    "interpolation": _one_of(*_INTERPOLATIONS),
    "source": lambda text: text,
    "sha256": _matching(_SHA256),
}
