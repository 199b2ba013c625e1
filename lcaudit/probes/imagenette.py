"""Imagenette: ten easily told classes of ImageNet, as pictures (J. Howard, fast.ai, 2019).

Looked for where CIFAR-10 is: the folders as they are given out (``imagenette2-320``, ``-160``, ``imagenette2``), with
``val`` and ``train``; else on the Hub. For a network of ImageNet's 1000 classes the labels are those classes'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name, one_line
from lcaudit.probes import image_folder
from lcaudit.probes._contract import Samples
from lcaudit.probes._local import Local

_FOLDERS = {
    "n01440764": ("tench", 0),
    "n02102040": ("english springer", 217),
    "n02979186": ("cassette player", 482),
    "n03000684": ("chain saw", 491),
    "n03028079": ("church", 497),
    "n03394916": ("french horn", 566),
    "n03417042": ("garbage truck", 569),
    "n03425413": ("gas pump", 571),
    "n03445777": ("golf ball", 574),
    "n03888257": ("parachute", 701),
}
#: A class of ImageNet that is none of these.
_OTHER = "n01443537"
_CLASSES = tuple(name for name, _ in _FOLDERS.values())
_PATTERN = r"imagenette2?"


def _own(folder: Path, split: str) -> Samples | None:
    parted = (folder / split / min(_FOLDERS)).is_dir()
    inner = folder / split if parted else folder
    if not (inner / min(_FOLDERS)).is_dir() or (inner / _OTHER).is_dir():
        return None
    found = image_folder.open_folder(folder, split if parted else None)
    if found.classes != tuple(_FOLDERS):
        missing = sorted(set(_FOLDERS).symmetric_difference(found.classes))
        raise ProbeUnavailable(
            f"{display_name(inner)} has {len(found.classes)} folders, imagenette has 10: {one_line(missing)}",
            "extract the archive again",
        )
    return replace(found, classes=_CLASSES)


LOCAL = Local(
    name="imagenette",
    splits=("val", "train"),
    folders=("imagenette2-320", "imagenette2", "imagenette2-160", "imagenette"),
    own=_own,
    pattern=_PATTERN,
    get="extract imagenette2-320.tgz (https://github.com/fastai/imagenette)",
)
DATASET = LOCAL.dataset(
    title="Imagenette, pictures of ten classes of ImageNet",
    classes=_CLASSES,
    normalisation=Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "imagenette: ImageNet's mean and std"),
    hub="hf:frgfm/imagenette:320px/",
    within={1000: tuple(index for _, index in _FOLDERS.values())},
)
