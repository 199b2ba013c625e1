"""Arrays of pictures of another size than the network's: resized and cut as files of pictures are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lcaudit.core.types import Shaping
from lcaudit.probes._contract import Pixels
from lcaudit.probes._layout import other_size
from lcaudit.probes._pictures import pillow
from lcaudit.probes._scale import scaling
from lcaudit.probes._shaping import in_words, shaped


def resized(pixels: Pixels, wanted: tuple[int, ...], shaping: Shaping | None, largest: float | None) -> Pixels:
    """``pixels`` at the network's size, each picture handed to Pillow when it is read, with a note that says so.

    As they are where the network takes that, where nothing says how they come to its size, and where they are no
    pixels 0 to 255: Pillow's results are rounded to these, so that arrays give what files of the same pictures do.

    Args:
        wanted: shape of one input, 0 for any size. shaping: how pictures come to it.
        largest: raw value that means 1 in the recognised data set, or ``None``.

    Raises:
        EnvironmentFailure: Pillow is not installed.
        ProbeUnavailable: whole numbers that are no pixel values.
    """
    way = other_size(pixels.shape, pixels.axes, wanted)
    if way is None or shaping is None or not all(shaping.size) or scaling(pixels, largest).divisor != 255:
        return pixels
    if pixels.kind == "f" and not pixels.whole:
        return pixels
    transpose, (channels, _, _) = way
    module = pillow()

    def read(chosen: np.ndarray) -> np.ndarray:
        raw = pixels.read(chosen)
        if not transpose:
            raw = raw.reshape(len(raw), *way[1]).transpose(0, 2, 3, 1)
        pictures = (np.ascontiguousarray(one[:, :, 0] if channels == 1 else one, np.uint8) for one in raw)
        done = np.stack([np.asarray(shaped(module.fromarray(one), shaping)) for one in pictures])
        return done.reshape(*done.shape[:3], channels)

    said = in_words(shaping)
    return replace(
        pixels,
        shape=(*shaping.size, channels),
        axes="last",
        read=read,
        kind="u",
        notes=(*pixels.notes, f"every picture of {way[1][1]} × {way[1][2]} {said}"),
    )
