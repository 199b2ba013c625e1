"""CIFAR-10: 32 × 32 colour images in ten classes (A. Krizhevsky, 2009).

Looked for, in this order, under ``--data-root``, the folders in ``LCAUDIT_DATA``, ``./data``, ``~/data``,
``~/datasets``, ``~/.cache/torch`` and ``~/.keras/datasets``: the Python batches (``cifar-10-batches-py``),
the binary batches (``cifar-10-batches-bin``), and ``.npz`` files (``cifar10/test.npz``, ``cifar10.npz``, …)
with ``images`` and ``labels`` or ``x_test`` and ``y_test``; else on the Hub.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lcaudit.core.measurements import Normalisation
from lcaudit.probes._cifar import SHAPES, binary_batch, first, python_batch
from lcaudit.probes._contract import Samples
from lcaudit.probes._local import Local

_PARTS = {"test": ("test_batch",), "train": tuple(f"data_batch_{part}" for part in range(1, 6))}
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PATTERN = r"cifar[-_ ]?10"


def _own(folder: Path, split: str) -> Samples | None:
    parts = _PARTS[split]
    layouts = [
        (parts, partial(python_batch, key="labels")),
        ([f"{part}.bin" for part in parts], partial(binary_batch, before=1)),
    ]
    return first((folder, folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin"), layouts, split, _CLASSES)


LOCAL = Local(
    name="cifar10",
    splits=("test", "train"),
    folders=(".", "cifar10", "CIFAR10", "cifar-10", "cifar-10-batches-py-target"),
    own=_own,
    pattern=_PATTERN,
    shapes=SHAPES,
    archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "cifar-10-batches-py.tar.gz"),
    get="extract cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html)",
)
DATASET = LOCAL.dataset(
    title="CIFAR-10, 32 × 32 colour images in ten classes",
    classes=_CLASSES,
    normalisation=Normalisation(
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "cifar10: mean and standard deviation of its train split"
    ),
    hub="hf:uoft-cs/cifar10",
)
