"""CIFAR-10: 32 × 32 colour images in ten classes, from a local copy (A. Krizhevsky, 2009).

Looked for, in this order, under ``--data-root``, the folders in ``LCAUDIT_DATA``, ``./data``, ``~/data``,
``~/datasets``, ``~/.cache/torch`` and ``~/.keras/datasets``: the Python batches (``cifar-10-batches-py``),
the binary batches (``cifar-10-batches-bin``), and ``.npz`` files (``cifar10/test.npz``, ``cifar10.npz``, …)
with ``images`` and ``labels`` or ``x_test`` and ``y_test``. Nothing is downloaded and nothing is unpickled:
the Python batches are read by a reader that calls nothing the file names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lcaudit.core.errors import MalformedInput, ProbeUnavailable
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes import npz
from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Dataset, Samples
from lcaudit.probes._files import named_after, read_whole
from lcaudit.probes._pickled import read as read_pickle

_SIDE, _VALUES = 32, 3072
_MOST_BATCH = 64 * 2**20
_PARTS = {"test": ("test_batch",), "train": tuple(f"data_batch_{part}" for part in range(1, 6))}
_FOLDERS = (".", "cifar10", "CIFAR10", "cifar-10", "cifar-10-batches-py-target")
_OWN = ("--data-root", "LCAUDIT_DATA")
_USUAL = ("./data", "~/data", "~/datasets", "~/.cache/torch", "~/.keras/datasets")
_ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "cifar-10-batches-py.tar.gz")


def open_cifar10(root: Path | None, split: str | None) -> Samples:
    """The first local copy that has the split (``test`` by default).

    Raises:
        ProbeUnavailable: there is none; the message lists the places looked at.
        MalformedInput, UnsafeCheckpoint, LimitExceeded: a copy was found and cannot be read.
    """
    if split not in (None, *_PARTS):
        raise ProbeUnavailable(
            f"cifar10 has no split {display_name(split)}, it has train and test", "pass --split train or --split test"
        )
    places = _places(root)
    for label, place in places:
        for folder in _FOLDERS:
            found = at(place / folder, split, plain=label == "--data-root")
            if found is not None:
                return replace(found, notes=(*found.notes, f"found under {label}"))
    archives = [place / folder / name for _, place in places for folder in _FOLDERS for name in _ARCHIVES]
    packed = next((archive for archive in archives if archive.is_file()), None)
    if packed is not None:
        raise ProbeUnavailable(
            f"cifar10 lies in {display_name(packed)}, still packed",
            f"extract it: tar -xzf {display_name(packed)} -C {display_name(packed.parent)}",
        )
    looked = [f"{label} {place}" if label in _OWN else label for label, place in places]
    raise ProbeUnavailable(
        f"cifar10 ({split or 'test'}) was not found; looked under {', '.join(map(display_name, looked))}",
        "extract cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) into one of them, "
        "or pass --data-root, or --data with an .npz file or a folder of images",
    )


def at(folder: Path, split: str | None, plain: bool = False) -> Samples | None:
    """CIFAR-10 in one of its own layouts in ``folder``, or ``None``.

    A bare ``test.npz`` counts where ``plain`` says so or the folder is named after the data set.
    """
    wanted = split or "test"
    plain = plain or named_after(DATASET.pattern, folder.absolute().name)
    for base in (folder, folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin"):
        for suffix, read in (("", _python_batch), (".bin", _binary_batch)):
            paths = [base / f"{part}{suffix}" for part in _PARTS.get(wanted, ())]
            if paths and all(path.is_file() for path in paths):
                return _batches(paths, read, wanted)
    names = (f"cifar10_{wanted}.npz", f"cifar10-{wanted}.npz", "cifar10.npz", *((f"{wanted}.npz",) if plain else ()))
    for name in names:
        if (folder / name).is_file():
            found = npz.open_npz(folder / name, split)
            if found.shape in DATASET.shapes:
                return found
            raise ProbeUnavailable(
                f"{display_name(folder / name)}: samples of shape {found.shape}, CIFAR-10's are 32 × 32 × 3",
                "pass the right file to --data",
            )
    return None


def _places(root: Path | None) -> list[tuple[str, Path]]:
    """(how to call it, where it is), in the order in which they are searched."""
    named = [("--data-root", root)] if root is not None else []
    named += [("LCAUDIT_DATA", Path(part)) for part in os.environ.get("LCAUDIT_DATA", "").split(os.pathsep) if part]
    return [*named, *((place, Path(os.path.expanduser(place))) for place in _USUAL)]  # noqa: PTH111, never raises


def _batches(paths: list[Path], read: Callable[[Path], tuple[np.ndarray, np.ndarray]], split: str) -> Samples:
    parts = [read(path) for path in paths]
    pixels = np.concatenate([images for images, _ in parts]).reshape(-1, 3, _SIDE, _SIDE)
    images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    labels = np.concatenate([labels for _, labels in parts])
    return samples(images, labels, paths[0].parent.absolute(), split, split, "last", DATASET.classes)


def _python_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 3072] and labels int64 [n] of one pickled batch."""
    batch = read_pickle(read_whole(path, _MOST_BATCH), path.name, ("data", "labels"))
    pixels = batch["data"]
    try:
        labels = np.asarray(batch["labels"])
    except (ValueError, OverflowError, RecursionError):
        raise MalformedInput(f"{display_name(path)} is no CIFAR-10 batch: labels are no numbers") from None
    fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and labels.dtype.kind in "iu"
    if not fits or labels.ndim != 1 or pixels.shape != (len(labels), _VALUES):
        raise MalformedInput(f"{display_name(path)} is no CIFAR-10 batch: expected uint8 n × 3072 and n labels")
    return pixels, labels.astype(np.int64)


def _binary_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same of one binary batch: a byte of label and 3072 of pixels for each image."""
    content = np.frombuffer(read_whole(path, _MOST_BATCH), np.uint8)
    if not len(content) or len(content) % (_VALUES + 1):
        raise MalformedInput(f"{display_name(path)}: {len(content):,} bytes are no multiple of {_VALUES + 1}")
    rows = content.reshape(-1, _VALUES + 1)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


DATASET = Dataset(
    title="CIFAR-10, 32 × 32 colour images in ten classes, from a local copy",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    scale=255.0,
    normalisation=Normalisation(
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "cifar10: mean and standard deviation of its train split"
    ),
    pattern=r"cifar[-_ ]?10",
    shapes=((_SIDE, _SIDE, 3), (3, _SIDE, _SIDE)),
    open=open_cifar10,
    at=at,
)
