"""Resizing and cutting pictures to a network's size, as the libraries do that trained it.

Source: torchvision's ``Resize`` and ``CenterCrop``, and timm's ``transforms_imagenet_eval``, which both hand
pictures to Pillow.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lcaudit.core.errors import UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.core.types import INTERPOLATIONS, Shaping

if TYPE_CHECKING:
    from PIL.Image import Image

    from lcaudit.core.types import Network

_MOST_SIDE = 8192


def shaped(picture: Image, shaping: Shaping) -> Image:
    """``picture`` resized, then cut out of the middle; what lies beyond it is filled."""
    from PIL import Image as module

    height, width = _resized(picture.height, picture.width, shaping)
    if (picture.width, picture.height) != (width, height):
        picture = picture.resize((width, height), module.Resampling[shaping.interpolation.upper()])
    rows, columns = shaping.size
    if (height, width) == (rows, columns):
        return picture
    if height < rows or width < columns:
        canvas = module.new(picture.mode, (max(width, columns), max(height, rows)), _fill(picture, shaping))
        canvas.paste(picture, ((canvas.width - width) // 2, (canvas.height - height) // 2))
        picture, (width, height) = canvas, canvas.size
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    return picture.crop((left, top, left + columns, top + rows))


def _resized(height: int, width: int, shaping: Shaping) -> tuple[int, int]:
    rows, columns = shaping.resize
    if shaping.mode == "squash":
        return rows, columns
    if shaping.mode == "border":
        ratio = max(height / rows, width / columns)
    elif rows == columns:  # torchvision cuts fractions of a pixel off the longer side
        return (rows, rows * width // height) if height <= width else (columns * height // width, columns)
    else:
        ratio = min(height / rows, width / columns)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def _fill(picture: Image, shaping: Shaping) -> Any:
    bands = len(picture.getbands())
    if shaping.mode != "border":
        return 0 if bands == 1 else (0,) * bands
    mean = [round(255 * value) for value in shaping.normalisation.mean]
    return mean[0] if bands == 1 else tuple(mean * bands if len(mean) == 1 else mean)


def in_words(shaping: Shaping) -> str:
    """What :func:`shaped` does, and who says so."""
    rows, columns = shaping.size
    by = f"{shaping.interpolation}, antialiased" if shaping.interpolation != "nearest" else "nearest"
    height, width = shaping.resize
    if shaping.mode == "squash":
        done = f"resized to {height} × {width}: {by}, aspect not kept"
    elif shaping.mode == "border":
        done = f"resized to fit into {height} × {width}: {by}, the rest filled with the mean colour"
    else:
        to = f"so that the shorter side has {height}" if height == width else f"to cover {height} × {width}"
        done = f"resized {to}: {by}"
    cut = (
        "" if shaping.mode == "squash" and shaping.size == shaping.resize else f"; the middle {rows} × {columns} taken"
    )
    assumed = "" if shaping.declared else "assumed: "
    return done + cut + (f" ({assumed}{shaping.source})" if shaping.source else "")


def chosen(network: Network, size: tuple[int, ...], interpolation: str) -> tuple[tuple[int, ...], Shaping | None]:
    """(shape of one input, how pictures come to it) after ``--input-size`` and ``--interpolation``.

    Args:
        size: (height, width), ``()`` for the network's own. interpolation: ``""`` for the network's own.

    Raises:
        UsageError: no image network, or one that does not take this size.
    """
    wanted, shaping = network.record.input_shape, network.shaping
    if (size or interpolation) and len(wanted) not in (0, 3):
        raise UsageError(
            f"--input-size and --interpolation are for pictures; the network takes {wanted}", "leave them out"
        )
    if interpolation and interpolation not in INTERPOLATIONS:
        raise UsageError(
            f"--interpolation {display_name(interpolation, 40)}: unknown", f"one of {', '.join(INTERPOLATIONS)}"
        )
    if size:
        if len(size) != 2 or not all(1 <= side <= _MOST_SIDE for side in size):
            raise UsageError(f"--input-size {display_name(size, 40)}: expected 1 to {_MOST_SIDE} pixels", "pass 224")
        wanted = (*(wanted[:1] or (0,)), *size)
        _check_taken(network, wanted)
        if shaping:
            sides = zip(size, shaping.resize, shaping.size, strict=True)
            height, width = (round(new * resized / cut) if cut else new for new, resized, cut in sides)
            source = f"--input-size; else {shaping.source}"
            shaping = replace(shaping, size=(size[0], size[1]), resize=(height, width), source=source)
    if shaping is None and (interpolation or size) and len(wanted) == 3 and all(wanted[1:]):
        shaping = replace(squashing((wanted[1], wanted[2])), source="--input-size" if size else "--interpolation")
    if interpolation and shaping:
        shaping = replace(shaping, interpolation=interpolation)
    return wanted, shaping


def squashing(size: tuple[int, int]) -> Shaping:
    """What is done to pictures where nothing says otherwise."""
    return Shaping(size, size, "squash", "bilinear", Normalisation((0.0,), (1.0,), ""), True, "")


def _check_taken(network: Network, wanted: tuple[int, ...]) -> None:
    """One forward pass of zeros."""
    import torch

    shape = (1, wanted[0] or 3, *wanted[1:])
    reference = next((value for value in network.module.parameters()), torch.zeros(()))
    said = ""
    with torch.no_grad():
        try:
            network.module(torch.zeros(shape, dtype=reference.dtype))
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            said = display_name(str(error).strip().split("\n")[0], 120)
    if said:
        raise UsageError(
            f"--input-size: {network.record.title} does not take {wanted[1]} × {wanted[2]} pixels: {said}",
            f"leave it out: its own size is {' × '.join(map(str, network.record.input_shape[1:]))}",
        )
