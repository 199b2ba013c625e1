"""A folder of images: one subfolder for each class, or all images in one folder without labels.

Subfolders sorted by name are the classes 0, 1, … (torchvision's ``ImageFolder`` does the same). Where the
subfolders are named ``test``, ``val`` or ``train``, the split chooses one. PNG, JPEG, WebP and BMP files
are read, decoded a batch at a time. Hidden files, FIFOs, devices and links that lead out of the folder
are left out. An image that cannot be decoded is left out and named; beyond 1 % of them is an error.

The content hash covers relative names and bytes of the files, not decoded pixels: decoding twice would
cost more than the rest of reading.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np

from lcaudit.core.errors import LimitExceeded, ProbeUnavailable
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Shaping
from lcaudit.probes._arrays import agreed_split, split_notes
from lcaudit.probes._contract import Pixels, Samples, Source
from lcaudit.probes._files import named_split, read_whole
from lcaudit.probes._pictures import MOST_FILE, decoded, looks_like_image, pillow

_MOST_IMAGES = 200_000


def open_folder(path: Path, split: str | None) -> Samples:
    """Samples of an image folder, in order of relative file name.

    Raises:
        ProbeUnavailable: no images, or a class without images. LimitExceeded: more than 200 000.
        UsageError: the folder's name and ``--split`` contradict each other.
        EnvironmentFailure: Pillow is not installed.
    """
    pillow()
    root, said, unchosen = _split_folder(path, split)
    folders = [entry for entry in _entries(root) if entry.is_dir() and _inside(entry, path)]
    if folders:
        found = [(folder.name, _files(folder, path)) for folder in folders]
        empty = [name for name, files in found if not files]
        if empty and len(empty) < len(found):
            raise ProbeUnavailable(
                f"{display_name(path)}: no files in {one_line(empty)}", "every subfolder is a class and needs images"
            )
    if not folders or not any(files for _, files in found):
        folders, found = [], [("", _files(root, path))]
    digest, images, labels, other = hashlib.sha256(), [], [], 0
    for label, (_, files) in enumerate(found):
        for file in files:
            content = read_whole(file, MOST_FILE) if file.stat().st_size <= MOST_FILE else b""
            if not content or not looks_like_image(file, content[:16]):
                other += 1
                continue
            relative = file.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
            digest.update(b"%d %s %d\n" % (len(relative), relative, len(content)))
            digest.update(content)
            images.append(file)
            labels.append(label)
    present = set(labels)
    if not images or (folders and len(present) < len(found)):
        missing = [name for label, (name, _) in enumerate(found) if label not in present]
        where = f" in {one_line(missing)}" if folders and images else ""
        raise ProbeUnavailable(
            f"{display_name(path)}: no PNG, JPEG, WebP or BMP images{where}",
            "pass a folder with one subfolder of images for each class, or a flat folder of images",
        )
    notes = unchosen
    notes += (
        (f"{count(other, 'file')} left out: empty, no images, or larger than {MOST_FILE >> 20} MiB",) if other else ()
    )

    def pixels(positions: np.ndarray, wanted: tuple[int, ...], shaping: Shaping | None) -> Pixels:
        return decoded(
            lambda position: read_whole(images[position], MOST_FILE),
            lambda position: images[position].relative_to(root).as_posix(),
            str(root),
            positions,
            wanted,
            shaping,
        )

    return Samples(
        source=path.absolute().name,
        count=len(images),
        labels=np.array(labels, np.int64) if folders else None,
        classes=tuple(name for name, _ in found) if folders else (),
        split=said,
        sha256=digest.hexdigest(),
        shape=(),
        pixels=lambda positions, wanted: pixels(positions, wanted, None),
        pictures=pixels,
        notes=notes,
    )


def _split_folder(path: Path, split: str | None) -> tuple[Path, str, tuple[str, ...]]:
    """(the folder that holds the classes, the split, notes)."""
    parts = {named_split(entry.name): entry for entry in _entries(path) if entry.is_dir() and _inside(entry, path)}
    if not parts or "unknown" in parts:
        said = named_split(path.absolute().name)
        return path, agreed_split(said, split, path.name), split_notes(said, split)
    chosen = split or next(part for part in ("test", "val", "train") if part in parts)
    if chosen not in parts:
        raise ProbeUnavailable(
            f"{display_name(path)} has the splits {one_line(sorted(parts))}, not {display_name(chosen, 40)}",
            f"pass --split {min(parts)}",
        )
    return parts[chosen], chosen, ()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ProbeUnavailable(f"{display_name(folder)}: {error.strerror}", "check its permissions") from None


def _inside(entry: Path, root: Path) -> bool:
    """A link may lead to another place of the same folder only."""
    return not entry.is_symlink() or entry.resolve().is_relative_to(root.resolve())


def _files(folder: Path, root: Path) -> list[Path]:
    files = [entry for entry in _entries(folder) if _inside(entry, root) and _regular(entry)]
    if len(files) > _MOST_IMAGES:
        raise LimitExceeded(f"{display_name(folder)}: more than {_MOST_IMAGES:,} files", "pass a smaller folder")
    return files


def _regular(entry: Path) -> bool:
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a link to nowhere
        return False


SOURCE = Source(
    title="a folder of images",
    accepts=lambda path, start: path.is_dir(),
    open=open_folder,
)
