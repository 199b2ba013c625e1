"""``preprocessor_config.json`` beside the weights: how pictures are prepared, as far as it can be believed.

Source: ``transformers.image_processing_utils`` and the ``image_processing_*.py`` of ViT, DeiT and ConvNeXT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lcaudit.architectures._transformers.values import is_number, is_whole
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.core.types import Shaping

NAME = "preprocessor_config.json"
_SOURCE = f"{NAME} beside the weights"
_MOST_SIDE = 8192
#: Pillow's numbers.
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
#: ConvNeXT's own: a share that is cut out where the picture is smaller than this.
_CUT_BELOW = 384


def shaping_of(said: Mapping[str, Any], channels: int) -> tuple[Shaping | None, str]:
    """What it says, or ``None`` and why it is not believed; no reason where there is no such file."""
    if not said:
        return None, ""
    normalisation = _normalisation(said, channels)
    if normalisation is None:
        return None, f"{NAME} has no mean and deviation for {channels} channels"
    factor = said.get("rescale_factor", 1 / 255)
    if said.get("do_rescale", True) is not True or not is_number(factor) or abs(factor * 255 - 1) > 1e-3:
        return None, f"{NAME} scales pixels by {display_name(factor, 20)}, expected 1/255"
    resample = said.get("resample", 2)
    if not is_whole(resample, 0, len(_RESAMPLE) - 1):
        return None, f"{NAME} says resample = {display_name(resample, 20)}"
    if said.get("do_resize", True) is not True:
        return None, f"{NAME} leaves the size of pictures as it is"
    shape = _shape(said)
    if shape is None:
        return None, f"{NAME} gives no size that lcaudit reads: {display_name(said.get('size'), 60)}"
    size, resize, mode = shape
    return Shaping(size, resize, mode, _RESAMPLE[resample], normalisation, True, _SOURCE), ""


def _normalisation(said: Mapping[str, Any], channels: int) -> Normalisation | None:
    if said.get("do_normalize", True) is False:
        return Normalisation((0.0,) * channels, (1.0,) * channels, _SOURCE)
    mean, std = said.get("image_mean"), said.get("image_std")
    if not _numbers(mean, channels, -10) or not _numbers(std, channels, 1e-6):
        return None
    return Normalisation(tuple(map(float, mean)), tuple(map(float, std)), _SOURCE)


def _numbers(values: Any, channels: int, least: float) -> bool:
    return (
        isinstance(values, list)
        and len(values) == channels
        and all(is_number(one) and least <= one <= 10 for one in values)
    )


def _shape(
    said: Mapping[str, Any],
) -> tuple[tuple[int, int], tuple[int, int], Literal["centre", "squash"]] | None:
    """(size cut out, size resized to, how): see :class:`lcaudit.core.types.Shaping`."""
    wanted = _sides(said.get("size"))
    shortest = said["size"].get("shortest_edge") if isinstance(said.get("size"), Mapping) else None
    cut = _sides(said.get("crop_size")) if said.get("do_center_crop") is True else None
    if said.get("do_center_crop") is True and cut is None:
        return None
    if wanted:
        # without a cut the picture is resized to it, whatever its aspect
        return (cut or wanted), wanted, "squash"
    if not is_whole(shortest, 1, _MOST_SIDE):
        return None
    share = said.get("crop_pct")
    if share is not None:  # ConvNeXT's: cut out of the middle when small, squashed when large
        if not is_number(share) or not 0.05 <= share <= 1:
            return None
        if shortest >= _CUT_BELOW:
            return (shortest, shortest), (shortest, shortest), "squash"
        resized = int(shortest / share)
        return (shortest, shortest), (resized, resized), "centre"
    return (cut, (shortest, shortest), "centre") if cut else None


def _sides(value: Any) -> tuple[int, int] | None:
    if is_whole(value, 1, _MOST_SIDE):
        return value, value
    if not isinstance(value, Mapping):
        return None
    height, width = value.get("height"), value.get("width")
    both = is_whole(height, 1, _MOST_SIDE) and is_whole(width, 1, _MOST_SIDE)
    return (height, width) if both else None
