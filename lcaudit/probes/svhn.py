"""SVHN, cropped: 32 × 32 colour images of digits from house numbers (Y. Netzer et al., 2011).

Looked for where CIFAR-10 is: the MATLAB files (``test_32x32.mat``, in ``svhn`` or as they are), and ``.npz`` files;
else on the Hub. The digit 0, stored as 10, is class 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lcaudit.core.errors import MalformedInput
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Samples
from lcaudit.probes._local import Local
from lcaudit.probes._matlab import read

_CLASSES = tuple("0123456789")
_PATTERN = r"svhn"
_SHAPES = ((32, 32, 3), (3, 32, 32))


def _own(folder: Path, split: str) -> Samples | None:
    path = folder / f"{split}_32x32.mat"
    if not path.is_file():
        return None
    found = read(path, ("X", "y"))
    pixels, labels = found["X"], found["y"].reshape(-1)
    if pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, len(labels)):
        raise MalformedInput(
            f"{display_name(path)}: X is {pixels.dtype} {pixels.shape} and y has {len(labels):,} entries, expected "
            "uint8 32 × 32 × 3 × n",
            "get the file again",
        )
    images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
    return samples(images, labels.astype(np.int64) % 10, path.absolute(), split, split, "last", _CLASSES)


LOCAL = Local(
    name="svhn",
    splits=("test", "train", "extra"),
    folders=(".", "svhn", "SVHN"),
    own=_own,
    pattern=_PATTERN,
    shapes=_SHAPES,
    get="put test_32x32.mat (http://ufldl.stanford.edu/housenumbers/)",
)
DATASET = LOCAL.dataset(
    title="SVHN, 32 × 32 colour images of digits from house numbers",
    classes=_CLASSES,
    normalisation=Normalisation(
        (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), "svhn: mean and standard deviation of its train split"
    ),
    hub="hf:ufldl-stanford/svhn:cropped_digits/",
)
