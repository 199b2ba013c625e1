"""From what the user typed to samples: a data set by name, or a file or folder by content."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from lcaudit.core import hub, plugins
from lcaudit.core.errors import (
    EnvironmentFailure,
    HubUnavailable,
    HubUnreachable,
    MalformedInput,
    ProbeUnavailable,
    UsageError,
)
from lcaudit.core.text import display_name
from lcaudit.probes._contract import Dataset, Samples, Source
from lcaudit.probes._files import named_after, open_regular
from lcaudit.probes._hub import open_repository
from lcaudit.probes._local import NotHere

_PACKAGE = "lcaudit.probes"
#: What a first glance at other files says.
_OTHER = (
    (b"\x1f\x8b", "a gzip archive; extract it first"),
    (b"\x80", "a pickle, which lcaudit does not load as data"),
    (b"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
    (b"<", "an HTML or XML page, perhaps a failed download"),
    (b"\x89PNG", "one image; pass its folder"),
    (b"\xff\xd8\xff", "one image; pass its folder"),
)


@cache
def _registry(constant: str) -> dict[str, Dataset | Source]:
    modules = {name: importlib.import_module(f"{_PACKAGE}.{name}") for name in plugins.names(_PACKAGE)}
    return {name: getattr(module, constant) for name, module in modules.items() if hasattr(module, constant)}


def datasets() -> dict[str, Dataset]:
    """The data sets that have a name, by name."""
    entries = _registry("DATASET").items()
    return {name.replace("_", "-"): entry for name, entry in entries if isinstance(entry, Dataset)}


def sources() -> dict[str, Source]:
    """The kinds of file and folder that can be read, by name."""
    return {name: entry for name, entry in _registry("SOURCE").items() if isinstance(entry, Source)}


def find(
    data: str, root: Path | None, split: str | None, columns: Mapping[str, str], most: int, progress: hub.Progress
) -> tuple[Samples, str, Path | None, tuple[str, ...]]:
    """(samples, data set named by the user or ``""``, path, or name of a repository, or ``None``, notes).

    A name wins over a file of the same name; a path with a separator is always a path; what exists here is never
    looked for on the Hub, and a name only where no copy lies here. ``CIFAR-10`` is ``cifar10`` where no file is
    called so.

    Raises:
        ProbeUnavailable: neither a known name nor something that can be read.
        UsageError: columns are named, and there are none.
        AuditError: as the source says.
    """
    path = Path(data)
    if data not in datasets() and not _exists(path):
        data = _by_letters().get(_letters(data), data)
    if data in datasets():
        _no_columns(columns, data)
        samples = _named(data, root, split, most, progress)
        also = (f"{data} was taken as the data set's name; for the path of this name type ./{data}",)
        return samples, data, None, also if path.exists() else ()
    what = "a path" if _exists(path) else "of the Hub"
    unused = (f"--data-root has no effect: --data is {what}, not the name of a data set",) if root is not None else ()
    if not data or "\0" in data or not _exists(path):
        found = open_repository(data, split, columns, most, progress)
        if found is not None:
            return replace(found, notes=(*unused, *found.notes)), "", Path(found.source), ()
        raise _nowhere(data, path)
    if path.is_dir():
        _no_columns(columns, data)
        for name, dataset in datasets().items():
            samples = dataset.at(path, split)
            if samples is not None:
                samples = replace(samples, notes=(*unused, *samples.notes))
                return samples, name, path, (f"the folder has a layout of {name}",)
        start = b""
    else:
        with open_regular(path) as stream:
            start = stream.read(24)
    for source in sources().values():
        if source.accepts(path, start):
            if columns and source.open_columns is not None:
                samples = source.open_columns(path, split, columns)
            else:
                _no_columns(columns, data)
                samples = source.open(path, split)
            return replace(samples, notes=(*unused, *samples.notes)), "", path, ()
    seen = next((words for magic, words in _OTHER if start.startswith(magic)), "no kind of data that lcaudit reads")
    raise MalformedInput(f"{display_name(data)} is {seen}", _accepted())


def _letters(name: str) -> str:
    """What is left of a name where case and hyphens do not count."""
    return re.sub("[-_ ]", "", name.lower())


def _by_letters() -> dict[str, str]:
    return {_letters(name): name for name in datasets()}


def _nowhere(data: str, path: Path) -> ProbeUnavailable:
    """What is neither known nor here nor the Hub's."""
    said = display_name(data) or "an empty name"
    if path.suffix or data.startswith(("/", ".", "~")):
        return ProbeUnavailable(f"{said}: no such file or folder", "check the path")
    hint = f"pass one of {', '.join(datasets())}, a data set of the Hub (hf:ns/name), or a path that exists"
    near = difflib.get_close_matches(_letters(data[:40]), _by_letters(), n=1)
    if near:
        hint = f"did you mean {_by_letters()[near[0]]}? Otherwise {hint}"
    if data.count("/") == 1:
        hint = f"for the Hub's data set of this name type hf:{said}; for a path, check it"
    return ProbeUnavailable(f"{said} is neither a data set nor a path", hint)


def _named(name: str, root: Path | None, split: str | None, most: int, progress: hub.Progress) -> Samples:
    """A copy that lies here, else the Hub's."""
    dataset = datasets()[name]
    try:
        return dataset.open(root, split)
    except NotHere as missing:
        if not dataset.hub:
            raise
        try:
            found = open_repository(dataset.hub, split, dataset.columns, most, progress)
        except (HubUnavailable, HubUnreachable, EnvironmentFailure) as error:
            raise type(error)(
                f"{missing.message}; and the Hub's copy cannot be had: {error.message}",
                f"{missing.hint}; or for the Hub's copy: {error.hint}" if error.hint else missing.hint,
            ) from None
        assert found is not None, "an address of the Hub"
    if found.classes and len(found.classes) != dataset.number:
        raise ProbeUnavailable(
            f"{name} of the Hub has {len(found.classes)} classes, expected {dataset.number}",
            "pass a local copy, --data-root or a path",
        )
    return replace(found, classes=dataset.classes)


def _no_columns(columns: Mapping[str, str], data: str) -> None:
    if columns:
        raise UsageError(f"--columns: {display_name(data)} has no columns to choose from", "leave --columns out")


def recognise(path: Path, samples: Samples, shape: tuple[int, ...]) -> tuple[str, str]:
    """(data set that a file or folder holds or ``""``, how that was seen).

    By the names of its classes, or by its own name or its folder's together with the shape of a sample.
    Class names that are mere numbers tell no data set from another.
    """
    classes = {name.lower() for name in samples.classes}
    named = bool(classes) and not all(name.isdecimal() for name in classes)
    absolute = path.absolute()
    for name, dataset in datasets().items():
        if named and classes == set(dataset.classes):
            return name, f"data set recognised as {name} by the names of its {len(classes)} classes"
        for part in (absolute.name, absolute.parent.name):
            if named_after(dataset.pattern, part) and not named and shape in dataset.shapes:
                shown = " × ".join(map(str, shape))
                return (
                    name,
                    f"data set recognised as {name} by the name {display_name(part, 60)} and samples of {shown}",
                )
    return "", ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name
        return False


def _accepted() -> str:
    """All that can be passed; short enough for a hint to be shown whole."""
    kinds = "; ".join(source.title for source in sources().values())
    return (
        f"pass a data set ({', '.join(datasets())}), one of the Hub (hf:ns/name) or the path of one of these: {kinds}"
    )
