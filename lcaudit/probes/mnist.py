"""MNIST: 28 × 28 grey images of handwritten digits (Y. LeCun, C. Cortes and C. J. C. Burges).

Looked for where CIFAR-10 is: the IDX files, plain or packed (``MNIST/raw``, ``mnist``), and ``.npz`` files
(``mnist.npz``); else on the Hub.
"""

from __future__ import annotations

from pathlib import Path

from lcaudit.core.measurements import Normalisation
from lcaudit.probes._contract import Dataset, Samples
from lcaudit.probes._files import named_after
from lcaudit.probes._idx import SHAPES, open_idx
from lcaudit.probes._local import Local

_CLASSES = tuple("0123456789")
_PATTERN = r"(?<!fashion[-_ ])(?<!fashion)mnist"


def _own(folder: Path, split: str) -> Samples | None:
    # Fashion-MNIST's files have the same names
    here = folder.parent if folder.name == "raw" else folder
    places = (folder, folder / "raw") if named_after(_PATTERN, here.absolute().name) else ()
    return open_idx((*places, folder / "MNIST" / "raw"), split, _CLASSES)


LOCAL = Local(
    name="mnist",
    splits=("test", "train"),
    folders=(".", "MNIST", "mnist"),
    own=_own,
    pattern=_PATTERN,
    shapes=SHAPES,
    get="put the IDX files (t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz), in a folder mnist,",
)
DATASET = Dataset(
    title="MNIST, 28 × 28 grey images of handwritten digits",
    classes=_CLASSES,
    scale=255.0,
    normalisation=Normalisation((0.1307,), (0.3081,), "mnist: mean and standard deviation of its train split"),
    pattern=_PATTERN,
    shapes=SHAPES,
    open=LOCAL.open,
    at=LOCAL.at,
    hub="hf:ylecun/mnist",
)
