"""ImageNet's 1000 classes (ILSVRC 2012), as a folder of pictures with one subfolder for each class.

Looked for where CIFAR-10 is: ``imagenet``, ``ILSVRC2012`` or ``ILSVRC/Data/CLS-LOC``, with ``val`` and ``train``, each
with a folder for every class, named by its WordNet number: sorted by name, these are the classes 0 to 999. Nothing is
downloaded: the Hub gives it to those only who agreed to its terms, and all of it at once.
"""

from __future__ import annotations

from pathlib import Path

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes import image_folder
from lcaudit.probes._contract import Samples
from lcaudit.probes._local import Local

_CLASSES = 1000
_PATTERN = r"imagenet|ilsvrc(?:2012)?"
#: The first two classes' folders.
_FIRST = ("n01440764", "n01443537")


def _own(folder: Path, split: str) -> Samples | None:
    parted = all((folder / split / name).is_dir() for name in _FIRST)
    if not parted and not all((folder / name).is_dir() for name in _FIRST):
        return None
    found = image_folder.open_folder(folder, split if parted else None)
    if len(found.classes) != _CLASSES:
        raise ProbeUnavailable(
            f"{display_name(folder)} has {len(found.classes)} folders of classes, ImageNet has {_CLASSES}",
            "extract the archives again, one folder for each class",
        )
    return found


LOCAL = Local(
    name="imagenet",
    splits=("val", "train"),
    folders=("imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k", "ILSVRC/Data/CLS-LOC"),
    own=_own,
    pattern=_PATTERN,
    get="sort the pictures into imagenet/val, one folder for each class,",
)
DATASET = LOCAL.dataset(
    title="ImageNet's 1000 classes, a folder of pictures",
    classes=(),
    width=_CLASSES,
    normalisation=Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "imagenet: its usual mean and std"),
)
