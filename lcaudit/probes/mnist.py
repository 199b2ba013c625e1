"""MNIST: 28 × 28 grey images of handwritten digits (Y. LeCun, C. Cortes and C. J. C. Burges).

Looked for where CIFAR-10 is: the IDX files, plain or packed (``MNIST/raw``, ``mnist``), and ``.npz`` files
(``mnist.npz``); else on the Hub.
"""

from __future__ import annotations

from functools import partial

from lcaudit.core.measurements import Normalisation
from lcaudit.probes._idx import SHAPES, open_idx
from lcaudit.probes._local import Local

_CLASSES = tuple("0123456789")
_PATTERN = r"(?<!fashion[-_ ])(?<!fashion)mnist"

LOCAL = Local(
    name="mnist",
    splits=("test", "train"),
    folders=(".", "MNIST", "mnist"),
    own=partial(open_idx, pattern=_PATTERN, inside="MNIST", classes=_CLASSES),
    pattern=_PATTERN,
    shapes=SHAPES,
    get="put the IDX files (t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz), in a folder mnist,",
)
DATASET = LOCAL.dataset(
    title="MNIST, 28 × 28 grey images of handwritten digits",
    classes=_CLASSES,
    normalisation=Normalisation((0.1307,), (0.3081,), "mnist: mean and standard deviation of its train split"),
    hub="hf:ylecun/mnist",
)
