"""What a source of data and a named data set promise; free of torch.

A file of this folder defines ``SOURCE`` (a kind of file or folder) or ``DATASET`` (a data set with a
name). Both end in :class:`Samples`, so everything after reading is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lcaudit.core.hub_address import HubRecord
from lcaudit.core.measurements import Normalisation
from lcaudit.core.types import Shaping

#: Where the channels of one raw sample stand; ``unknown`` is settled by shape.
Axes = Literal["first", "last", "unknown"]


@dataclass(frozen=True, slots=True)
class Pixels:
    """The chosen samples, ready to be read.

    Attributes:
        positions: int64, those of the chosen samples that can be used, in order of use.
        shape: of one raw sample. axes: where its channels stand.
        read: positions → raw values [b, *shape], a fresh array.
        kind: NumPy kind of the raw values, ``u``, ``i``, ``b`` or ``f``.
        low, high: smallest and largest value. whole: whether all values are whole numbers.
        notes: what was done to the samples before ``read`` returns them, in words.
    """

    positions: np.ndarray
    shape: tuple[int, ...]
    axes: Axes
    read: Callable[[np.ndarray], np.ndarray]
    kind: str
    low: float
    high: float
    whole: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """An opened source, in the data set's own order.

    Attributes:
        source: base name of the file or folder that was read.
        count: samples available.
        labels: int64 or float64, [count] or [count, …], or ``None``.
        classes: names of the classes, empty if unknown.
        split: what file or folder says, or ``unknown``.
        sha256: of the content, independent of the container.
        shape: of one raw sample where it is known before decoding, else ``()``.
        pixels: (chosen positions, shape the network wants) → :class:`Pixels`.
        pictures: the same of pictures of any size, resized and cut as the third argument says; ``None`` for arrays.
        notes: what was found and left out, in words.
        kind, bits: NumPy kind of the raw values, and how many bits one takes.
        tokens: whether the source says that these are token ids.
        mask: bool [count, T], true where a token is real; ``None`` if the source says nothing of padding.
        hub: the repository that it came from, if any.
        texts: positions → texts, where samples are texts: then ``pixels`` is never asked.
        running: the same texts as parts of one that reads on, in order; ``None`` where each stands for itself.
    """

    source: str
    count: int
    labels: np.ndarray | None
    classes: tuple[str, ...]
    split: str
    sha256: str
    shape: tuple[int, ...]
    pixels: Callable[[np.ndarray, tuple[int, ...]], Pixels]
    notes: tuple[str, ...] = ()
    kind: str = "u"
    bits: int = 8
    tokens: bool = False
    mask: np.ndarray | None = None
    pictures: Callable[[np.ndarray, tuple[int, ...], Shaping], Pixels] | None = None
    hub: HubRecord | None = None
    texts: Callable[[np.ndarray], list[str]] | None = None
    running: Callable[[], list[str]] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of file or folder; a file of this folder defines one as ``SOURCE``.

    Attributes:
        title: in words, for messages, e.g. ``an .npz file with images and labels``.
        accepts: (path, its first 16 bytes, or ``b""`` for a folder) → whether it is of this kind, by content.
        open: (path, split or ``None``) → samples.
        open_columns: the same, with the user's choice of columns by use, ``image``, ``text`` and ``label``; ``None``
            if it has no columns to choose from.
    """

    title: str
    accepts: Callable[[Path, bytes], bool]
    open: Callable[[Path, str | None], Samples]
    open_columns: Callable[[Path, str | None, Mapping[str, str]], Samples] | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set with a name; a file of this folder defines one as ``DATASET``.

    Attributes:
        title: in words, for listings.
        classes: names of the classes in order of label.
        scale: largest raw value, which becomes 1.
        normalisation: used where neither the user nor the network's family says otherwise.
        pattern: regular expression that finds the data set's name in a file or folder name.
        shapes: raw shapes that one sample may have in a file that is taken for this data set.
        open: (``--data-root`` or ``None``, split or ``None``) → samples.
        at: (folder, split or ``None``) → samples if the folder holds one of the data set's own layouts.
        hub: where the Hub has it, up to the split; ``""`` for nowhere. columns: which of its columns are meant, by use,
            where several could be.
        width: how many classes, where ``classes`` has no names for them.
        within: for networks of so many classes, the class among those that each of the data set's own is.
    """

    title: str
    classes: tuple[str, ...]
    scale: float
    normalisation: Normalisation
    pattern: str
    shapes: tuple[tuple[int, ...], ...]
    open: Callable[[Path | None, str | None], Samples]
    at: Callable[[Path, str | None], Samples | None]
    hub: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    width: int = 0
    within: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of classes."""
        return len(self.classes) or self.width
