"""The batches in which CIFAR-10 and CIFAR-100 are given out, for Python and as plain bytes.

Nothing is unpickled: the Python batches are read by a reader that calls nothing the file names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lcaudit.core.errors import MalformedInput
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Samples
from lcaudit.probes._files import read_whole
from lcaudit.probes._pickled import read as read_pickle

SIDE = 32
SHAPES = ((SIDE, SIDE, 3), (3, SIDE, SIDE))
_VALUES = 3 * SIDE * SIDE
_MOST_BATCH = 256 * 2**20

Read = Callable[[Path], tuple[np.ndarray, np.ndarray]]


def first(
    folders: Sequence[Path], layouts: Sequence[tuple[Sequence[str], Read]], split: str, classes: tuple[str, ...]
) -> Samples | None:
    """The batches of the first folder and layout, file names with their reader, of which all files are there."""
    for base in folders:
        for names, read in layouts:
            paths = [base / name for name in names]
            if paths and all(path.is_file() for path in paths):
                parts = [read(path) for path in paths]
                pixels = np.concatenate([images for images, _ in parts]).reshape(-1, 3, SIDE, SIDE)
                images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
                labels = np.concatenate([labels for _, labels in parts])
                return samples(images, labels, base.absolute(), split, split, "last", classes)
    return None


def python_batch(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 3072] and labels int64 [n], stored under ``key``, of one pickled batch."""
    batch = read_pickle(read_whole(path, _MOST_BATCH), path.name, ("data", key))
    pixels = batch["data"]
    try:
        labels = np.asarray(batch[key])
    except (ValueError, OverflowError, RecursionError):
        raise MalformedInput(f"{display_name(path)} is no CIFAR batch: labels are no numbers") from None
    fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and labels.dtype.kind in "iu"
    if not fits or labels.ndim != 1 or pixels.shape != (len(labels), _VALUES):
        raise MalformedInput(f"{display_name(path)} is no CIFAR batch: expected uint8 n × 3072 and n labels")
    return pixels, labels.astype(np.int64)


def binary_batch(path: Path, before: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of one binary batch: ``before`` bytes of labels, the last of which counts, and 3072 of pixels."""
    content = np.frombuffer(read_whole(path, _MOST_BATCH), np.uint8)
    if not len(content) or len(content) % (_VALUES + before):
        raise MalformedInput(f"{display_name(path)}: {len(content):,} bytes are no multiple of {_VALUES + before}")
    rows = content.reshape(-1, _VALUES + before)
    return rows[:, before:], rows[:, before - 1].astype(np.int64)
