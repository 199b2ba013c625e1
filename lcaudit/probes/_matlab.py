"""Arrays of numbers in MATLAB 5 files, in which SVHN is given out; nothing else of the format.

A header of 128 bytes, then elements: a type, a length, and that many bytes padded to eight; short ones pack type and
length into four bytes. Packed elements hold another one, compressed with zlib; a matrix holds its flags, sides and
name, then its numbers with the first side running fastest (MathWorks, "MAT-File Format", level 5).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import display_name
from lcaudit.probes._files import read_whole

#: Largest file, and what one array may take unpacked: SVHN's largest split has 1.6 GB.
_MOST_FILE, _MOST_ARRAY = 2 * 2**30, 2 * 2**30
_MATRIX, _PACKED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_COMPLEX = 0x0800
_MOST_ELEMENTS = 1000


def read(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays called ``wanted``.

    Raises:
        MalformedInput: it is no such file, or lacks one of them. LimitExceeded: too large.
    """
    content = memoryview(read_whole(path, _MOST_FILE))
    shown = display_name(path)
    if len(content) < 128 or bytes(content[126:128]) not in (b"IM", b"MI"):
        raise MalformedInput(f"{shown} is no MATLAB 5 file", "get the file again")
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    found: dict[str, np.ndarray] = {}
    for number, (kind, data) in enumerate(_elements(content[128:], order, shown)):
        if number > _MOST_ELEMENTS:
            raise LimitExceeded(f"{shown}: more than {_MOST_ELEMENTS} elements", "get the file again")
        if kind == _PACKED:
            ((kind, data), *_) = list(_elements(_unpacked(data, shown), order, shown)) or [(0, data)]
        if kind == _MATRIX:
            found |= _matrix(data, order, wanted, shown)
        if found.keys() >= set(wanted):
            return found
    missing = [name for name in wanted if name not in found]
    raise MalformedInput(f"{shown} holds no array {' and no '.join(missing)}", "get the file again")


def _elements(content: memoryview, order: str, shown: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of one after the other."""
    place = 0
    while place + 8 <= len(content):
        first, length = (int(one) for one in np.frombuffer(content, f"{order}u4", 2, place))
        if first >> 16:  # a short one
            kind, length, start, following = first & 0xFFFF, first >> 16, place + 4, place + 8
        else:
            kind, start = first, place + 8
            following = start + length + (-length % 8 if kind != _PACKED else 0)
        if start + length > len(content):
            raise MalformedInput(f"{shown}: ends within an element", "get the file again")
        yield kind, content[start : start + length]
        place = following


def _unpacked(data: memoryview, shown: str) -> memoryview:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, _MOST_ARRAY)
    except zlib.error:
        raise MalformedInput(f"{shown}: a packed element is damaged", "get the file again") from None
    if stream.unconsumed_tail or not stream.eof:
        raise LimitExceeded(f"{shown}: an array of more than {_MOST_ARRAY >> 30} GiB, or damaged", "get the file again")
    return memoryview(found)


def _matrix(data: memoryview, order: str, wanted: tuple[str, ...], shown: str) -> dict[str, np.ndarray]:
    """The array by its name, if it is one of ``wanted``."""
    parts = []
    for part in _elements(data, order, shown):
        parts.append(part)
        if len(parts) == 4:
            break
    if len(parts) < 3:
        return {}
    name = bytes(parts[2][1]).decode("ascii", "replace")
    if name not in wanted:
        return {}
    flags = np.frombuffer(bytes(parts[0][1][:4]).ljust(4, b"\0"), f"{order}u4")
    sides = tuple(int(side) for side in np.frombuffer(parts[1][1], f"{order}i4")) if len(parts[1][1]) % 4 == 0 else ()
    kind = parts[3][0] if len(parts) > 3 else 0
    if kind not in _TYPES or int(flags[0]) & _COMPLEX or not sides or min(sides) < 0:
        raise MalformedInput(f"{shown}: {display_name(name, 20)} is no array of real numbers", "get the file again")
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    numbers = parts[3][1]
    if math.prod(sides) * dtype.itemsize != len(numbers):
        raise MalformedInput(
            f"{shown}: {display_name(name, 20)} has {' × '.join(map(str, sides))} numbers announced, "
            f"{len(numbers) // dtype.itemsize:,} are there",
            "get the file again",
        )
    return {name: np.frombuffer(numbers, dtype).reshape(sides, order="F")}
