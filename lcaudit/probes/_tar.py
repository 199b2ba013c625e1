"""Where the members of a ``.tar`` file lie; nothing is extracted, and nothing but plain files is known.

Read here and not with :mod:`tarfile`, which believes sizes of headers and takes a damaged one for the end. Formats:
POSIX ustar and pax (Open Group 2018, "pax Interchange Format") and GNU's long names. Links, devices and sparse files
are refused, since what they hold does not lie where they stand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import display_name

BLOCK = 512
_MOST_MEMBERS = 2_000_000
#: Largest header that carries a long name.
_MOST_EXTENDED = 2**16
_FILE, _FOLDER, _PAX, _PAX_OF_ALL, _GNU_NAME = (b"0", b"\0", b"7"), b"5", b"x", b"g", b"L"
_KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"}
_HINT = "write it again with plain files only: tar --format=ustar -cf probe.tar FILES"


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file: its name as the archive has it, and where its bytes begin."""

    name: str
    start: int
    size: int


def members(stream: BinaryIO, shown: str) -> Iterator[Member]:
    """Plain files of an open archive, in order.

    Args:
        shown: what to call it.

    Raises:
        MalformedInput: damaged, cut short, or with members of another kind. LimitExceeded: too many of them.
    """
    end = os.fstat(stream.fileno()).st_size
    place, number, longer, sized = 0, 0, "", -1
    while True:
        stream.seek(place)
        header = stream.read(BLOCK)
        if len(header) < BLOCK or header == bytes(BLOCK):
            if number == 0:
                raise MalformedInput(f"{shown} is an archive without files", _HINT)
            if header.strip(b"\0"):
                raise MalformedInput(f"{shown}: cut short at byte {place:,}", "download or write it again")
            return
        if _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise MalformedInput(f"{shown}: the header at byte {place:,} is damaged", "download or write it again")
        kind, size = header[156:157], _number(header[124:136])
        extended = kind in (_PAX, _GNU_NAME, _PAX_OF_ALL)
        if sized >= 0 and not extended:
            size, sized = sized, -1
        start = place + BLOCK
        if size < 0 or start + size > end:
            raise MalformedInput(f"{shown}: a member at byte {place:,} is longer than the file", "download it again")
        place = start + -(-size // BLOCK) * BLOCK
        number += 1
        if number > _MOST_MEMBERS:
            raise LimitExceeded(f"{shown}: more than {_MOST_MEMBERS:,} members", "pass a smaller archive")
        if extended:
            if size > _MOST_EXTENDED:
                raise LimitExceeded(f"{shown}: a name of {size:,} bytes", _HINT)
            if kind == _GNU_NAME:
                longer = stream.read(size).rstrip(b"\0").decode("utf-8", "replace")
            elif kind == _PAX:
                fields = _fields(stream.read(size), shown)
                if any(key.startswith("GNU.sparse") for key in fields):
                    raise MalformedInput(f"{shown}: a member is {_KINDS[b'S']}", _HINT)
                longer = fields.get("path", longer)
                sized = int(fields["size"]) if fields.get("size", "").isdecimal() else sized
            continue
        name, longer = longer or _name(header), ""
        if kind in _FILE and not name.endswith("/"):
            yield Member(name, start, size)
        elif kind != _FOLDER and not name.endswith("/"):
            called = _KINDS.get(kind, f"of the unknown kind {kind!r}")
            raise MalformedInput(f"{shown}: {display_name(name, 80)} is {called}, expected a plain file", _HINT)


def _name(header: bytes) -> str:
    """The name in a ustar header, with the prefix that longer ones have."""
    name, prefix = (part.split(b"\0", 1)[0].decode("utf-8", "replace") for part in (header[:100], header[345:500]))
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _number(field: bytes) -> int:
    """Octal, or GNU's binary form for what does not fit; −1 for neither."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    return int(digits or b"0", 8) if not digits.strip(b"01234567") else -1


def _fields(content: bytes, shown: str) -> dict[str, str]:
    """``length key=value`` records of a pax header."""
    found: dict[str, str] = {}
    place = 0
    while place < len(content):
        digits, _, _ = content[place : place + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = content[place + len(digits) + 1 : place + length - 1]
        if length < len(digits) + 2 or place + length > len(content) or b"=" not in record:
            raise MalformedInput(f"{shown}: a pax header is damaged", "download or write it again")
        key, _, value = record.partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        place += length
    return found
