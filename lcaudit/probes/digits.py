"""Handwritten digits, shipped with lcaudit: 1797 grey images of 8 × 8 pixels in ten classes.

Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998,
DOI 10.24432/C50P49, CC BY 4.0, in the order of scikit-learn's ``load_digits``. Pixels are 0 to 16 and are
divided by 16. The split is ours and fixed: ``numpy.random.default_rng(0).permutation(1797)``, its first
1000 entries for ``train``, the other 797 for ``test``. It needs no download and no option, so it is the
probe of the demonstration and of the tests.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Dataset, Samples

TRAIN_SAMPLES = 1000
#: Largest pixel value.
SCALE = 16.0
#: Mean and standard deviation of the pixels / 16 over the train split, rounded to four digits.
MEAN = (0.305,)
STD = (0.3757,)


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split, in the split's own order.

    Args:
        split: ``train`` or ``test``.

    Returns:
        images uint8 [n, 8, 8] with values 0 to 16, labels int64 [n] with values 0 to 9.

    Raises:
        ProbeUnavailable: there is no such split.
    """
    if split not in ("train", "test"):
        raise ProbeUnavailable(
            f"digits has no split {display_name(split)!r}, it has train and test", "pass --split train or --split test"
        )
    with (
        resources.files("lcaudit.probes").joinpath("data", "digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        images, labels = archive["images"], archive["labels"]
    order = np.random.default_rng(0).permutation(len(images))
    chosen = order[:TRAIN_SAMPLES] if split == "train" else order[TRAIN_SAMPLES:]
    return images[chosen], labels[chosen].astype(np.int64)


def open_digits(root: Path | None, split: str | None) -> Samples:
    """The shipped samples of one split, ``test`` by default; ``root`` is not needed."""
    split = split or "test"
    images, labels = load(split)
    unused = ("--data-root has no effect: digits ships with lcaudit",) if root is not None else ()
    return samples(images, labels, Path("digits"), split, split, "unknown", DATASET.classes, unused)


DATASET = Dataset(
    title="1797 handwritten digits of 8 × 8 pixels, shipped with lcaudit",
    classes=tuple("0123456789"),
    scale=SCALE,
    normalisation=Normalisation(MEAN, STD, "digits: mean and standard deviation of its train split"),
    pattern=r"digits",
    shapes=((8, 8), (1, 8, 8), (8, 8, 1), (64,)),
    open=open_digits,
    at=lambda folder, split: None,
)
