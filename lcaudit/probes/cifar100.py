"""CIFAR-100: 32 × 32 colour images in a hundred classes (A. Krizhevsky, 2009), by their fine labels.

Looked for where CIFAR-10 is: the Python files (``cifar-100-python``), the binary files (``cifar-100-binary``), and
``.npz`` files; else on the Hub.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lcaudit.core.measurements import Normalisation
from lcaudit.probes._cifar import SHAPES, binary_batch, first, python_batch
from lcaudit.probes._contract import Samples
from lcaudit.probes._local import Local

_PATTERN = r"cifar[-_ ]?100"
_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip


def _own(folder: Path, split: str) -> Samples | None:
    named = folder.name == "cifar-100-python"  # files called test and train are nobody's own
    python = ([folder] if named else []) + [folder / "cifar-100-python"]
    found = first(python, [((split,), partial(python_batch, key="fine_labels"))], split, _CLASSES)
    binary = ([folder] if folder.name == "cifar-100-binary" else []) + [folder / "cifar-100-binary"]
    return found or first(binary, [((f"{split}.bin",), partial(binary_batch, before=2))], split, _CLASSES)


LOCAL = Local(
    name="cifar100",
    splits=("test", "train"),
    folders=(".", "cifar100", "CIFAR100", "cifar-100"),
    own=_own,
    pattern=_PATTERN,
    shapes=SHAPES,
    archives=("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
    get="extract cifar-100-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html)",
)
DATASET = LOCAL.dataset(
    title="CIFAR-100, 32 × 32 colour images in a hundred classes",
    classes=_CLASSES,
    normalisation=Normalisation(
        (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), "cifar100: mean and standard deviation of its train split"
    ),
    hub="hf:uoft-cs/cifar100",
    columns={"label": "fine_label"},
)
