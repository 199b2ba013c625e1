"""Fashion-MNIST: 28 × 28 grey images of ten kinds of clothes (H. Xiao, K. Rasul and R. Vollgraf, 2017).

Looked for where CIFAR-10 is: the IDX files, plain or packed (``FashionMNIST/raw``, ``fashion-mnist``), and ``.npz``
files; else on the Hub.
"""

from __future__ import annotations

from functools import partial

from lcaudit.core.measurements import Normalisation
from lcaudit.probes._idx import SHAPES, open_idx
from lcaudit.probes._local import Local

_CLASSES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_PATTERN = r"fashion[-_ ]?mnist"

LOCAL = Local(
    name="fashion-mnist",
    splits=("test", "train"),
    folders=(".", "FashionMNIST", "fashion-mnist", "fashion_mnist"),
    own=partial(open_idx, pattern=_PATTERN, inside="FashionMNIST", classes=_CLASSES),
    pattern=_PATTERN,
    shapes=SHAPES,
    get="put the IDX files (t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz), in a folder fashion-mnist,",
)
DATASET = LOCAL.dataset(
    title="Fashion-MNIST, 28 × 28 grey images of ten kinds of clothes",
    classes=_CLASSES,
    normalisation=Normalisation((0.2860,), (0.3530,), "fashion-mnist: mean and standard deviation of its train split"),
    hub="hf:zalando-datasets/fashion_mnist",
)
