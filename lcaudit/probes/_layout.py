"""From the shape that one sample has in a file to the shape that the network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.probes._contract import Axes

_CHANNELS = (1, 3, 4)
_CALLED = {1: "1 channel (grey)", 3: "3 channels (RGB)", 4: "4 channels (RGBA)"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How raw samples become inputs.

    Attributes:
        transpose: whether height × width × channels becomes channels × height × width.
        image: (channels, height, width), the shape in which values are normalised; the sample's own
            shape where it is not an image.
        channels: how many means and standard deviations fit.
        shape: of one input. words: what is done, in order.
    """

    transpose: bool
    image: tuple[int, ...]
    channels: int
    shape: tuple[int, ...]
    words: tuple[str, ...]

    def arrange(self, raw: np.ndarray) -> np.ndarray:
        """Raw samples [b, *raw shape] → [b, *image]."""
        return (raw.transpose(0, 3, 1, 2) if self.transpose else raw).reshape(len(raw), *self.image)


def fit(raw: tuple[int, ...], axes: Axes, wanted: tuple[int, ...]) -> Layout:
    """Find the one way in which a raw sample fits the network.

    Args:
        raw: shape of one sample in the file.
        axes: where its channels stand, if the source knows.
        wanted: shape of one input; 0 stands for any size, ``()`` for any shape.

    Raises:
        ProbeUnavailable: no way fits, or two do.
    """
    shown = shape_words(raw)
    if not raw or 0 in raw:
        raise ProbeUnavailable(f"a sample of shape {shown} holds no values", "pass images to --data")
    ways = _ways(raw, axes, wanted)
    if wanted:
        ways = [way for way in ways if _fits(way, wanted)]
    if not ways:
        raise ProbeUnavailable(
            f"a sample has shape {shown}, the network takes {shape_words(wanted)}", _misfit(raw, axes, wanted)
        )
    if len(ways) > 1:
        likely = [way for way in ways if way[1][0] in _CHANNELS]
        if (len(wanted) == 3 and wanted[0]) or len(likely) != 1:
            raise ProbeUnavailable(
                f"a sample of shape {shown} can be read with its channels first or last",
                "save the images as uint8 N × height × width × 3, or as PNG files",
            )
        ways = likely
    transpose, image = ways[0]
    shape = (math.prod(image),) if len(wanted) == 1 else image
    words = []
    if transpose:
        words.append(f"transposed from height × width × channels {shown} to {shape_words(image)}")
    elif image != raw and len(wanted) != 1:
        words.append(f"reshaped from {shown} to {shape_words(image)}")
    if shape != image:
        words.append(f"flattened from {shape_words(image)} to {shape[0]}")
    return Layout(transpose, image, image[0] if len(image) == 3 else 1, shape, tuple(words))


def _misfit(raw: tuple[int, ...], axes: Axes, wanted: tuple[int, ...]) -> str:
    """What to do about it: channels are named where they alone differ."""
    for _, image in _ways(raw, axes, wanted):
        if len(wanted) == len(image) == 3 and image[0] in _CALLED and _fits((False, (wanted[0], *image[1:])), wanted):
            want = _CALLED.get(wanted[0], f"{wanted[0]} channels")
            advice = {
                (
                    1,
                    3,
                ): "repeat the grey channel three times, as the training code did if it was trained on such images",
                (3, 1): "make the images grey first",
                (4, 3): "leave the alpha channel out",
            }.get((image[0], wanted[0]), "pass data with the network's own channels")
            return f"the samples have {_CALLED[image[0]]}, the network takes {want}: {advice}"
    way = other_size(raw, axes, wanted)
    if way is None:
        return "pass data of the network's own input size"
    own, theirs = (f"--input-size {_size(*sides)}" for sides in (wanted[1:], way[1][1:]))
    return f"{own} resizes pixels 0 to 255, {theirs} keeps their size, if the network was trained at it"


def other_size(raw: tuple[int, ...], axes: Axes, wanted: tuple[int, ...]) -> tuple[bool, tuple[int, ...]] | None:
    """(transpose, image shape) of a picture that lacks nothing but the network's size, ``None`` where it is none."""
    if len(wanted) != 3 or not all(wanted[1:]) or not raw:
        return None
    known = [way for way in _ways(raw, axes, wanted) if len(way[1]) == 3 and way[1][0] in _CALLED]
    ways = [way for way in known if way[1][0] == wanted[0] or not wanted[0]]
    return None if len(ways) != 1 or _fits(ways[0], wanted) else ways[0]


def _size(height: int, width: int) -> str:
    return str(height) if height == width else f"{height}x{width}"


def fit_plain(raw: tuple[int, ...], wanted: tuple[int, ...], noun: str) -> Layout:
    """Samples that are passed as they are.

    Raises:
        ProbeUnavailable: the network takes another shape.
    """
    if wanted and not _fits((False, raw), wanted):
        raise ProbeUnavailable(
            f"a sample has {shape_words(raw)} {noun}, the network takes {shape_words(wanted)}",
            "exchange the two axes of the samples"
            if len(raw) == 2 and _fits((False, raw[::-1]), wanted)
            else "pass data of the network's own input size",
        )
    return Layout(False, raw, 1, raw, ())


def _ways(raw: tuple[int, ...], axes: Axes, wanted: tuple[int, ...]) -> list[tuple[bool, tuple[int, ...]]]:
    """The (transpose, image shape) that the raw shape admits."""
    if len(raw) == 2 and len(wanted) != 2:
        return [(False, (1, *raw))]
    if len(raw) == 1 and len(wanted) == 3 and wanted[0] == 1 and math.prod(wanted) == raw[0]:
        return [(False, wanted)]  # with one channel there is only one order that rows of pixels can have
    if len(raw) != 3:
        return [(False, raw)]
    if axes == "first" or raw[0] == raw[1] == raw[2] == 1:
        return [(False, raw)]
    last = (True, (raw[2], raw[0], raw[1]))
    return [last] if axes == "last" else [(False, raw), last]


def _fits(way: tuple[bool, tuple[int, ...]], wanted: tuple[int, ...]) -> bool:
    image = way[1]
    if len(wanted) == 1:
        return wanted[0] in (0, math.prod(image))
    return len(wanted) == len(image) and all(want in (0, size) for want, size in zip(wanted, image, strict=True))


def shape_words(shape: tuple[int, ...]) -> str:
    """``3 × 32 × 32``; a side of 0 may be any."""
    return " × ".join("any" if size == 0 else str(size) for size in shape) if shape else "anything"
