"""Where copies of data sets with a name usually lie, and what is said where none does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes import npz
from lcaudit.probes._contract import Dataset, Samples
from lcaudit.probes._files import named_after

_OWN = ("--data-root", "LCAUDIT_DATA")
_USUAL = ("./data", "~/data", "~/datasets", "~/.cache/torch", "~/.keras/datasets")


class NotHere(ProbeUnavailable):
    """No copy lies in any of the places looked at."""


@dataclass(frozen=True, slots=True)
class Local:
    """How copies of one data set are looked for.

    Attributes:
        name: of the data set. splits: that it has, the usual one first.
        folders: below each place. archives: names of packed copies, which are named and not read.
        own: (folder, split) → samples of one of the data set's own layouts, or ``None``.
        pattern, shapes: as of :class:`lcaudit.probes._contract.Dataset`, for ``.npz`` files; no shapes, no such files.
        get: what to do to have a copy.
    """

    name: str
    splits: tuple[str, ...]
    folders: tuple[str, ...]
    own: Callable[[Path, str], Samples | None]
    pattern: str
    get: str
    shapes: tuple[tuple[int, ...], ...] = ()
    archives: tuple[str, ...] = ()

    def dataset(self, title: str, classes: tuple[str, ...], normalisation: Normalisation, **more: Any) -> Dataset:
        """The data set, of pixels from 0 to 255, that these copies are of; ``more``: its other attributes."""
        return Dataset(title, classes, 255.0, normalisation, self.pattern, self.shapes, self.open, self.at, **more)

    def open(self, root: Path | None, split: str | None) -> Samples:
        """The first local copy that has the split, the usual one by default.

        Raises:
            NotHere: there is none; the message lists the places looked at. ProbeUnavailable: no such split, or a copy
                that is still packed. MalformedInput, UnsafeCheckpoint, LimitExceeded: one that cannot be read.
        """
        if split not in (None, *self.splits):
            shown = " and ".join([", ".join(self.splits[:-1]), self.splits[-1]] if self.splits[1:] else self.splits)
            options = " or ".join(f"--split {one}" for one in sorted(self.splits, reverse=True))
            raise ProbeUnavailable(f"{self.name} has no split {display_name(split)}, it has {shown}", f"pass {options}")
        places = _places(root)
        for label, place in places:
            for folder in self.folders:
                found = self.at(place / folder, split, plain=label == "--data-root")
                if found is not None:
                    return replace(found, notes=(*found.notes, f"found under {label}"))
        archives = [place / folder / name for _, place in places for folder in self.folders for name in self.archives]
        packed = next((archive for archive in archives if archive.is_file()), None)
        if packed is not None:
            raise ProbeUnavailable(
                f"{self.name} lies in {display_name(packed)}, still packed",
                f"extract it: tar -xzf {display_name(packed)} -C {display_name(packed.parent)}",
            )
        looked = [f"{label} {place}" if label in _OWN else label for label, place in places]
        raise NotHere(
            f"{self.name} ({split or self.splits[0]}) was not found; looked under "
            f"{', '.join(map(display_name, looked))}",
            f"{self.get} into one of them, or pass --data-root, or --data with an .npz file or a folder of images",
        )

    def at(self, folder: Path, split: str | None, plain: bool = False) -> Samples | None:
        """The data set in one of its own layouts in ``folder``, or ``None``.

        A bare ``test.npz`` counts where ``plain`` says so or the folder is named after the data set.
        """
        wanted = split or self.splits[0]
        found = self.own(folder, wanted) if wanted in self.splits else None
        if found is not None or not self.shapes:
            return found
        plain = plain or named_after(self.pattern, folder.absolute().name)
        stems = dict.fromkeys((self.name, self.name.replace("-", "_")))
        names = [f"{stem}{end}.npz" for stem in stems for end in (f"_{wanted}", f"-{wanted}", "")]
        for name in (*names, *((f"{wanted}.npz",) if plain else ())):
            if (folder / name).is_file():
                samples = npz.open_npz(folder / name, split)
                if samples.shape in self.shapes:
                    return samples
                raise ProbeUnavailable(
                    f"{display_name(folder / name)}: samples of shape {samples.shape}, those of {self.name} are "
                    f"{' × '.join(map(str, self.shapes[0]))}",
                    "pass the right file to --data",
                )
        return None


def _places(root: Path | None) -> list[tuple[str, Path]]:
    """(how to call it, where it is), in the order in which they are searched."""
    named = [("--data-root", root)] if root is not None else []
    named += [("LCAUDIT_DATA", Path(part)) for part in os.environ.get("LCAUDIT_DATA", "").split(os.pathsep) if part]
    return [*named, *((place, Path(os.path.expanduser(place))) for place in _USUAL)]  # noqa: PTH111, never raises
