"""From named arrays to samples: which is the images, which the labels, and are they sound."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.text import count as number
from lcaudit.core.text import display_name, one_line
from lcaudit.probes._contract import Axes, Pixels, Samples
from lcaudit.probes._files import named_split

_TOKENS = ("input_ids", "tokens")
_IMAGES = ("images", "x", "inputs", "data", *_TOKENS, "arr_0")
_LABELS = ("labels", "y", "targets", "arr_1")
_MASK = "attention_mask"
_SPLITS = ("test", "val", "train")
_BLOCK = 2**24


def choose(keys: Iterable[str], split: str | None, name: str) -> tuple[str, str | None, str]:
    """(key of the samples, key of the labels or ``None``, split or ``unknown``).

    One of ``_IMAGES`` with one of ``_LABELS``, capitals or not; or each followed by ``_test``, ``_val`` or
    ``_train``, of which ``split`` takes its own and otherwise the first.

    Raises:
        ProbeUnavailable: none of these, or several.
    """
    keys = list(keys)
    wanted = (split,) if split in _SPLITS else _SPLITS
    for ending, said in (("", named_split(name)), *((f"_{part}", part) for part in wanted)):
        images = [key for key in keys if key.lower() in tuple(stem + ending for stem in _IMAGES)]
        labels = [key for key in keys if key.lower() in tuple(stem + ending for stem in _LABELS)]
        if len(images) > 1 or len(labels) > 1:
            raise ProbeUnavailable(
                f"{display_name(name)} holds {one_line(images + labels)}: which are the images and labels is not clear",
                "keep one array named images and one named labels",
            )
        if images:
            return images[0], labels[0] if labels else None, said
    raise ProbeUnavailable(
        f"{display_name(name)} holds {one_line(keys) or 'nothing'}, expected an array named images, x or input_ids"
        + (f" (or with _{split} after it)" if split else ""),
        f"name the samples {_either(_IMAGES)}, the labels {_either(_LABELS)}, each with _test, _val or _train after it "
        f"or not, and a padding mask of tokens {_MASK}; capitals do not matter",
    )


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def samples(
    images: np.ndarray,
    labels: np.ndarray | None,
    path: Path,
    split: str,
    asked: str | None,
    axes: Axes = "unknown",
    classes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    tokens: bool = False,
    mask: np.ndarray | None = None,
) -> Samples:
    """Check arrays that were read, and wrap them. ``split``: what the file says; ``asked``: ``--split``.

    ``tokens``: whether their name says that they are token ids; ``mask``: true or 1 where a token is real.

    Raises:
        ProbeUnavailable: NaN or infinite pixels, or labels that are no numbers, one or more for each sample.
        UsageError: file and ``--split`` contradict each other.
    """
    if images.ndim < 2 or not images.size:
        raise ProbeUnavailable(
            f"{display_name(path.name)}: images have shape {images.shape}, expected samples first and none empty",
            "save images as N × height × width × channels",
        )
    low, high, whole = _range(images, path.name)
    checked = None if labels is None else _labels(labels, len(images), path.name)
    digest = hashlib.sha256(f"{images.dtype.newbyteorder('<').str} {images.shape}\n".encode())
    for block in _blocks(images):
        digest.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).reshape(-1).view(np.uint8))
    if checked is not None and (checked.ndim > 1 or checked.dtype.kind == "f"):
        digest.update(f"{checked.dtype.newbyteorder('<').str} {checked.shape}\n".encode())
    real = None if mask is None else _real(mask, images.shape, path.name)
    if real is not None:
        digest.update(b"mask" + np.packbits(real).tobytes())
    digest.update(b"unlabelled" if checked is None else checked.astype(checked.dtype.newbyteorder("<")).tobytes())

    def pixels(positions: np.ndarray, wanted: tuple[int, ...]) -> Pixels:
        return Pixels(positions, images.shape[1:], axes, images.__getitem__, images.dtype.kind, low, high, whole)

    return Samples(
        source=path.name,
        count=len(images),
        labels=checked,
        classes=classes,
        split=agreed_split(split, asked, path.name),
        sha256=digest.hexdigest(),
        shape=images.shape[1:],
        pixels=pixels,
        notes=(*split_notes(split, asked), *notes),
        kind=images.dtype.kind,
        bits=8 * images.dtype.itemsize,
        tokens=tokens,
        mask=real,
    )


def _real(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The mask as bool [N, T].

    Raises:
        ProbeUnavailable: another shape than the samples', other values than 0 and 1, or a sample of padding only.
    """
    shown = display_name(name)
    if mask.ndim != 2 or mask.shape != shape[:2]:
        raise ProbeUnavailable(
            f"{shown}: attention_mask has shape {mask.shape}, the samples have {shape}",
            "save attention_mask as samples × tokens, 1 where a token is real and 0 where it is padding",
        )
    real = mask.astype(bool)
    if not np.array_equal(mask, real):
        raise ProbeUnavailable(
            f"{shown}: attention_mask holds other values than 0 and 1",
            "save 1 where a token is real and 0 where it is padding",
        )
    if not real.any(1).all():
        raise ProbeUnavailable(
            f"{shown}: sample {int(np.argmin(real.any(1)))} has no real token in attention_mask",
            "remove the samples that are padding only",
        )
    return real


def agreed_split(said: str, asked: str | None, name: str) -> str:
    """What file and user say together about the split.

    Raises:
        UsageError: they contradict each other, or the user asks a file without splits for one that is none.
    """
    if asked and said == "unknown" and named_split(asked) == "unknown":
        raise UsageError(
            f"--split {display_name(asked, 40)}: {display_name(name)} has no splits",
            "leave --split out, or say what the data are: --split test, val or train",
        )
    if asked and said not in ("unknown", asked):
        raise UsageError(
            f"--split {display_name(asked, 40)}, but {display_name(name)} says {said}", f"pass --split {said}, or none"
        )
    return asked or said


def split_notes(said: str, asked: str | None) -> tuple[str, ...]:
    """What ``--split`` did to data without splits: it gave them a name."""
    if not asked or said != "unknown":
        return ()
    return (f"--split {display_name(asked, 40)} only names the data: they have no splits to choose from",)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _BLOCK // max(1, array[:1].nbytes))
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _range(images: np.ndarray, name: str) -> tuple[float, float, bool]:
    """(smallest, largest, whether all are whole numbers), block by block."""
    low, high, whole, first = np.inf, -np.inf, True, 0
    for block in _blocks(images):
        if images.dtype.kind == "f":
            bad = ~(np.abs(block) <= np.finfo(np.float32).max)
            if bad.any():
                place = np.argwhere(bad)[0]
                value = float(block[tuple(place)])
                raise ProbeUnavailable(
                    f"{display_name(name)}: image {first + int(place[0])} holds {value:g}, expected finite pixels",
                    "remove the damaged samples",
                )
            whole = whole and bool((block == np.floor(block)).all())
        low, high, first = min(low, float(block.min())), max(high, float(block.max())), first + len(block)
    return low, high, whole


def _labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    shown = display_name(name)
    if labels.ndim < 1 or labels.dtype.kind not in "iubf":
        raise ProbeUnavailable(
            f"{shown}: labels are {labels.dtype}, shape {labels.shape}; expected numbers, samples first",
            "save one integer class number for each sample",
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # keras stores a column
    if len(labels) != count:
        raise ProbeUnavailable(
            f"{shown}: {number(len(labels), 'label')} for {number(count, 'sample')}", "save one label for each sample"
        )
    if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
        raise ProbeUnavailable(f"{shown}: label {labels.max()} is no class number", "save class numbers from 0")
    return labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)


Reader = Callable[[str], np.ndarray]


def from_container(keys: Iterable[str], read: Reader, path: Path, split: str | None) -> Samples:
    """Samples of a file with named arrays; only samples, labels and a padding mask are read."""
    keys = list(keys)
    images_key, labels_key, said = choose(keys, split, path.name)
    images = read(images_key)
    labels = None if labels_key is None else read(labels_key)
    stem, ending = _stem(images_key.lower())
    mask_key = next((key for key in keys if key.lower() == _MASK + ending), None)
    mask = read(mask_key) if mask_key else None
    notes = (f"images from {display_name(images_key)}",) if labels_key is None else ()
    if stem == "arr_0":
        notes = (f"images from arr_0, labels from {display_name(labels_key)}" if labels_key else "images from arr_0",)
    return samples(images, labels, path, said, split, notes=notes, tokens=stem in _TOKENS, mask=mask)


def _stem(key: str) -> tuple[str, str]:
    """``x_test`` → ``("x", "_test")``."""
    ending = next((f"_{part}" for part in _SPLITS if key.endswith(f"_{part}")), "")
    return key.removesuffix(ending), ending
