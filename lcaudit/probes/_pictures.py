"""Decoding image files, with Pillow, from bytes that are not trusted."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lcaudit.core.errors import EnvironmentFailure, ProbeUnavailable
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Shaping
from lcaudit.probes._contract import Pixels
from lcaudit.probes._shaping import in_words, shaped, squashing

#: Largest file and largest image (50 megapixels) that is decoded.
MOST_FILE = 64 * 2**20
MOST_PIXELS = 50_000_000
_MOST_BROKEN = 0.01
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}


class BrokenImage(Exception):
    """Why one file is not an image that can be used."""


def looks_like_image(path: Path, start: bytes) -> bool:
    """Whether content or name claims to be an image: the one that lies is a broken image, not another file."""
    known = start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"))
    return known or (start[:4] == b"RIFF" and start[8:12] == b"WEBP") or path.suffix.lower() in _SUFFIXES


def pillow() -> Any:
    """The ``PIL.Image`` module.

    Raises:
        EnvironmentFailure: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise EnvironmentFailure(
            "images need Pillow, which is not installed", "type: pip install 'lcaudit[vision]'"
        ) from None
    return Image


def decode(content: bytes, channels: int, shaping: Shaping | None) -> np.ndarray:
    """One image as uint8 [height, width, channels].

    Args:
        content: of a file, at most ``MOST_FILE`` bytes.
        channels: 1, 3 or 4; 0 keeps grey images grey and makes all others RGB.
        shaping: how it is resized and cut; ``None`` keeps the image's own size.

    Raises:
        BrokenImage: what is wrong with the file.
    """
    image_module = pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise BrokenImage(f"{image.width * image.height:,} pixels, the cap is {MOST_PIXELS:,}")
                if image.mode not in _EIGHT_BIT:
                    raise BrokenImage(f"pixels of mode {image.mode}, expected 8 bits for each channel")
                mode = _MODES.get(channels) or ("L" if image.mode in ("1", "L") else "RGB")
                flat = image.convert(mode)
                pixels = np.array(flat if shaping is None else shaped(flat, shaping), np.uint8)
    except BrokenImage:
        raise
    except (image_module.DecompressionBombWarning, image_module.DecompressionBombError):
        raise BrokenImage(f"more pixels than the cap of {MOST_PIXELS:,}") from None
    except image_module.UnidentifiedImageError:
        raise BrokenImage(f"not a readable {', '.join(_FORMATS)} image") from None
    except Exception as error:  # decoders raise what they like on damaged files
        raise BrokenImage(f"cannot be decoded ({type(error).__name__}: {error})") from None
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def decoded(
    content: Callable[[int], bytes],
    name: Callable[[int], str],
    source: str,
    positions: np.ndarray,
    wanted: tuple[int, ...],
    shaping: Shaping | None,
) -> Pixels:
    """Encoded images as samples: every chosen one is decoded once, so that what is left out is known before anything
    is measured.

    Args:
        content, name: position → bytes of the file, and what to call it. source: what to call all of them.
        wanted: shape that the network takes. shaping: how images are brought to it; ``None``: squashed.

    Raises:
        ProbeUnavailable: more than 1 % cannot be decoded, or images of several sizes where the network takes any.
    """
    channels, height, width = wanted if len(wanted) == 3 else (0, 0, 0)
    target = (height, width) if height and width else None
    sizes: dict[tuple[int, ...], int] = {}
    broken: list[str] = []
    usable, low, high = [], 255, 0
    for position in positions:
        try:
            image = decode(content(position), channels, None)
        except BrokenImage as error:
            broken.append(f"{name(position)} ({error})")
            continue
        usable.append(position)
        low, high = min(low, int(image.min())), max(high, int(image.max()))
        sizes[image.shape] = sizes.get(image.shape, 0) + 1
    if len(broken) > _MOST_BROKEN * len(positions):
        raise ProbeUnavailable(
            f"{len(broken)} of {len(positions)} images cannot be used: {one_line(broken, 3)}",
            "replace or remove them",
        )
    kinds = {shape[2] for shape in sizes}
    channels = channels or max(kinds)
    shapes = sorted({shape[:2] for shape in sizes})
    if shaping is None and target is None and len(shapes) > 1:
        raise ProbeUnavailable(
            f"images of {len(shapes)} sizes, {shapes[0][0]} × {shapes[0][1]} and {shapes[-1][0]} × {shapes[-1][1]} "
            "among them, and the network takes any",
            "resize the images to one size first",
        )
    notes = [f"decoded with Pillow to {'grey' if channels == 1 else 'RGB' if channels == 3 else 'RGBA'}"]
    if shaping is not None:
        notes.append(in_words(shaping))
    elif target is not None and shapes != [target]:
        shaping = squashing(target)
        other = sum(number for shape, number in sizes.items() if shape[:2] != target)
        notes.append(f"{count(other, 'image')} {in_words(shaping)}")
    if broken:
        notes.append(f"left out, cannot be decoded: {one_line(broken)}")

    def read(chosen: np.ndarray) -> np.ndarray:
        try:
            return np.stack([decode(content(position), channels, shaping) for position in chosen])
        except (BrokenImage, ValueError) as error:
            raise ProbeUnavailable(
                f"{display_name(source)} changed while it was read: {display_name(error, 80)}", "run again"
            ) from None

    shape = (*(shaping.size if shaping else shapes[0]), channels)
    return Pixels(np.array(usable, np.int64), shape, "last", read, "u", low, high, True, tuple(notes))
