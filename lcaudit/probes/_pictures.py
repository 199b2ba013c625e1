"""Decoding one image file, with Pillow, from bytes that are not trusted."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lcaudit.core.errors import EnvironmentFailure
from lcaudit.core.types import Shaping
from lcaudit.probes._files import read_whole
from lcaudit.probes._shaping import shaped

#: Largest file and largest image (50 megapixels) that is decoded.
MOST_FILE = 64 * 2**20
MOST_PIXELS = 50_000_000
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


def decode(path: Path, channels: int, shaping: Shaping | None) -> np.ndarray:
    """One image as uint8 [height, width, channels].

    Args:
        channels: 1, 3 or 4; 0 keeps grey images grey and makes all others RGB.
        shaping: how it is resized and cut; ``None`` keeps the image's own size.

    Raises:
        BrokenImage: what is wrong with the file.
        AuditError: the file is larger than ``MOST_FILE`` or no regular file.
    """
    image_module = pillow()
    content = read_whole(path, MOST_FILE)
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
