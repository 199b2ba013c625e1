"""IDX files, in which MNIST and its likes are given out, plain or packed with gzip.

Two zero bytes, 8 for unsigned bytes, the number of axes, their lengths as big-endian 32-bit integers, then the
numbers (LeCun, Cortes and Burges, "The MNIST database").
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np

from lcaudit.core.errors import MalformedInput
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Samples
from lcaudit.probes._files import named_after, read_whole

SHAPES = ((28, 28), (1, 28, 28), (28, 28, 1))
_MOST = 256 * 2**20
_PARTS = {"test": "t10k", "train": "train"}


def open_idx(folder: Path, split: str, *, pattern: str, inside: str, classes: tuple[str, ...]) -> Samples | None:
    """Images and labels of one split, or ``None``.

    All data sets of this kind have the same file names: only folders count that are named after this one, by
    ``pattern``, themselves or above ``raw``, and torchvision's ``inside/raw``.

    Raises:
        MalformedInput, LimitExceeded: they are there and cannot be read.
    """
    here = folder.parent if folder.name == "raw" else folder
    own = (folder, folder / "raw") if named_after(pattern, here.absolute().name) else ()
    for place in (*own, folder / inside / "raw"):
        pair = [_there(place, f"{_PARTS[split]}-{what}", axes) for what, axes in (("images", 3), ("labels", 1))]
        if pair[0] and pair[1]:
            images, labels = _read(pair[0], 3), _read(pair[1], 1)
            if len(images) != len(labels):
                raise MalformedInput(
                    f"{display_name(pair[0])} holds {len(images):,} images, {display_name(pair[1].name)} "
                    f"{len(labels):,} labels",
                    "get both files again",
                )
            return samples(images, labels.astype(np.int64), place.absolute(), split, split, "unknown", classes)
    return None


def _there(folder: Path, stem: str, axes: int) -> Path | None:
    names = [f"{stem}{mark}idx{axes}-ubyte{packed}" for packed in ("", ".gz") for mark in "-."]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path, axes: int) -> np.ndarray:
    content = read_whole(path, _MOST)
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(content, path)
    if content[:4] != bytes((0, 0, 8, axes)) or len(content) < 4 + 4 * axes:
        raise MalformedInput(
            f"{display_name(path)}: begins with {content[:4].hex(' ')}, expected {bytes((0, 0, 8, axes)).hex(' ')}",
            "get the file again",
        )
    shape = tuple(int(side) for side in np.frombuffer(content, ">u4", axes, 4))
    numbers = content[4 + 4 * axes :]
    if math.prod(shape) != len(numbers):
        raise MalformedInput(
            f"{display_name(path)}: {' × '.join(map(str, shape))} numbers announced, {len(numbers):,} are there",
            "get the file again",
        )
    return np.frombuffer(numbers, np.uint8).reshape(shape)


def _unpacked(content: bytes, path: Path) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(content, _MOST)
    except zlib.error:
        found = b""
    if not stream.eof or stream.unused_data:
        raise MalformedInput(
            f"{display_name(path)}: damaged, or more than {_MOST >> 20} MiB unpacked", "get the file again"
        )
    return found
