"""A WebDataset ``.tar`` of pictures: ``key.jpg`` beside ``key.cls``, or beside ``key.json`` with a field ``label``.

Members that share everything up to the first dot of their base name are one sample, as WebDataset has it. A label is a
whole number, in ``.cls`` as text. Nothing is extracted: bytes are read from where they lie. The content hash covers
keys, pictures' bytes and labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, ProbeUnavailable
from lcaudit.core.serial import parse_json
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Shaping
from lcaudit.probes import _tar
from lcaudit.probes._arrays import agreed_split, split_notes
from lcaudit.probes._contract import Pixels, Samples, Source
from lcaudit.probes._files import named_split, open_regular
from lcaudit.probes._pictures import MOST_FILE, decoded, pillow

_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp")
_LABELS = ("cls", "json")
_MOST_LABEL = 2**20
#: Digits of a class number: Python's own limit on long ones must not be met.
_MOST_DIGITS = 18


@dataclass(slots=True)
class _Sample:
    picture: _tar.Member | None = None
    label: _tar.Member | None = None


def open_webdataset(path: Path, split: str | None) -> Samples:
    """Samples of a WebDataset archive, in the order of their pictures.

    Raises:
        MalformedInput: damaged, links or devices inside, labels that are none, two pictures of one key.
        ProbeUnavailable: no pictures, or labels for some only. LimitExceeded: beyond a cap.
        EnvironmentFailure: Pillow is missing, or the file cannot be read.
    """
    pillow()
    shown = display_name(path.name)
    with open_regular(path) as stream:
        found, other = _sorted_out(_tar.members(stream, shown), shown)
        if not found:
            seen = f": it has {one_line(sorted(other))} only" if other else ""
            raise ProbeUnavailable(
                f"{shown} holds no {', '.join(_PICTURES)}{seen}", "pass a WebDataset of pictures, key.jpg with key.cls"
            )
        digest, labels, missing = hashlib.sha256(), [], []
        for key, sample in found.items():
            assert sample.picture is not None, "kept for its picture"
            content = _read(stream, sample.picture, MOST_FILE, shown)
            digest.update(b"%d %d\n" % (len(key.encode()), len(content)) + key.encode() + content)
            if sample.label:
                labels.append(_label(_read(stream, sample.label, _MOST_LABEL, shown), sample.label.name, shown))
            else:
                missing.append(key)
    if labels and missing:
        raise ProbeUnavailable(
            f"{shown}: {count(len(missing), 'picture')} of {len(found)} without a label, {one_line(missing, 3)}",
            "put key.cls beside every key.jpg, or beside none",
        )
    given = np.array(labels, np.int64) if labels else None
    digest.update(b"unlabelled" if given is None else given.astype("<i8").tobytes())
    pictures = [(key, sample.picture) for key, sample in found.items() if sample.picture]

    def pixels(positions: np.ndarray, wanted: tuple[int, ...], shaping: Shaping | None) -> Pixels:
        def content(position: int) -> bytes:
            with open_regular(path) as stream:
                return _read(stream, pictures[position][1], MOST_FILE, shown)

        return decoded(content, lambda position: pictures[position][0], path.name, positions, wanted, shaping)

    said = named_split(path.name)
    notes = ("labels from .cls or .json" if labels else "no labels",)
    notes += (f"members left out: {one_line(sorted(other))}",) if other else ()
    return Samples(
        source=path.name,
        count=len(pictures),
        labels=given,
        classes=(),
        split=agreed_split(said, split, path.name),
        sha256=digest.hexdigest(),
        shape=(),
        pixels=lambda positions, wanted: pixels(positions, wanted, None),
        pictures=pixels,
        notes=(*split_notes(said, split), *notes),
    )


def _sorted_out(members: Iterable[_tar.Member], shown: str) -> tuple[dict[str, _Sample], set[str]]:
    """(samples with a picture by key, endings of other members)."""
    found: dict[str, _Sample] = {}
    other: set[str] = set()
    for member in members:
        base, _, ending = PurePosixPath(member.name).name.partition(".")
        key = f"{member.name[: len(member.name) - len(PurePosixPath(member.name).name)]}{base}"
        if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
            raise MalformedInput(
                f"{shown}: {display_name(member.name, 80)} names a place outside the archive",
                "write it again with relative names",
            )
        ending = ending.lower()
        sample = found.setdefault(key, _Sample())
        if ending in _PICTURES:
            if sample.picture:
                raise MalformedInput(f"{shown}: two pictures of {display_name(key, 80)}", "give each key one picture")
            sample.picture = member
        elif ending in _LABELS and not (ending == "json" and sample.label):
            sample.label = member
        else:
            other.add(f".{ending}")
    return {key: sample for key, sample in found.items() if sample.picture}, other


def _read(stream: BinaryIO, member: _tar.Member, most: int, shown: str) -> bytes:
    if member.size > most:
        raise LimitExceeded(
            f"{shown}: {display_name(member.name, 80)} takes {member.size:,} bytes, the cap is {most:,}",
            "use smaller files",
        )
    stream.seek(member.start)
    content = stream.read(member.size)
    if len(content) != member.size:
        raise MalformedInput(f"{shown}: changed while it was read", "run again")
    return content


def _label(content: bytes, name: str, shown: str) -> int:
    """A class number, from ``.cls`` or from the field ``label`` of ``.json``."""
    value: object = None
    try:
        if name.lower().endswith(".json"):
            found = parse_json(content)
            value = found.get("label", found.get("cls")) if isinstance(found, dict) else found
        else:
            text = content.decode("ascii").strip()
            value = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text
    except (AuditError, UnicodeDecodeError):
        value = None
    if type(value) is not int or not 0 <= value < 10**_MOST_DIGITS:
        raise MalformedInput(
            f"{shown}: {display_name(name, 80)} holds no class number, expected a whole number from 0",
            "write it as text in key.cls, or as the field label of key.json",
        )
    return value


def _accepts(path: Path, start: bytes) -> bool:
    """By content further on than sources are shown: the checksum of the first header."""
    if path.suffix.lower() not in (".tar", "") or not start:
        return False
    with open_regular(path) as stream:
        header = stream.read(_tar.BLOCK)
    return len(header) == _tar.BLOCK and (header[257:262] == b"ustar" or path.suffix.lower() == ".tar")


SOURCE = Source(
    title="a WebDataset .tar of images",
    accepts=_accepts,
    open=open_webdataset,
)
