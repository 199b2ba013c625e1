"""Reading NumPy's array format with every length checked before memory is taken.

Source: NumPy enhancement proposal 1 (format versions 1.0 and 2.0). ``numpy.load`` would follow an
8 TiB shape into a MemoryError and read a version-2 header of any length.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import BinaryIO

import numpy as np

from lcaudit.core.errors import LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.text import display_name
from lcaudit.probes._files import MOST_BYTES

MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000
_CHUNK = 2**22


def read(stream: BinaryIO, size: int, name: str) -> np.ndarray:
    """The array in ``stream``, native byte order, C order, writable.

    Args:
        stream: at the start of the ``.npy`` data.
        size: bytes of the whole ``.npy`` data.
        name: of the file or member, for messages.

    Raises:
        MalformedInput: header or length are wrong, or values are not numbers.
        UnsafeCheckpoint: Python objects, which only unpickling could read.
        LimitExceeded: more than ``MOST_BYTES``.
    """
    shown = display_name(name)
    shape, fortran, dtype, start = _header(stream, shown)
    if dtype.hasobject:
        raise UnsafeCheckpoint(
            f"{shown} holds Python objects, which only running code from the file could read",
            "save a plain numeric array",
        )
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise MalformedInput(
            f"{shown} holds {display_name(dtype, 80)}, expected integers or floats", "save a plain numeric array"
        )
    return fill(stream, shape, dtype, size - start, shown, fortran)


def fill(
    stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, present: int, shown: str, fortran: bool = False
) -> np.ndarray:
    """Read an array of ``shape`` from ``stream``, which must hold exactly its ``present`` bytes.

    Raises:
        MalformedInput: shape and bytes disagree. LimitExceeded: more than ``MOST_BYTES``.
    """
    bytes_declared = math.prod(shape) * dtype.itemsize
    if len(shape) > 8 or bytes_declared != present:
        raise MalformedInput(
            f"{shown} declares {display_name('×'.join(map(str, shape)) or 'one', 60)} {dtype} values "
            f"({bytes_declared:.4g} bytes), {present:,} bytes are there",
            "the file is damaged or truncated; write it again",
        )
    if bytes_declared > MOST_BYTES:
        raise LimitExceeded(
            f"{shown} takes {bytes_declared:,} bytes in memory, the cap is {MOST_BYTES:,}", "pass fewer samples"
        )
    array = np.empty(math.prod(shape), dtype)
    target = memoryview(array.view(np.uint8))
    done = 0
    while done < bytes_declared:
        block = stream.read(min(_CHUNK, bytes_declared - done))
        if not block:
            raise MalformedInput(f"{shown} ends after {done:,} of {bytes_declared:,} bytes", "write the file again")
        target[done : done + len(block)] = block
        done += len(block)
    if dtype.kind == "b":
        array = array.view(np.uint8) != 0  # any other byte than 0 and 1 would be an undefined truth value
    array = array.astype(dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(array.reshape(shape, order="F" if fortran else "C"))


def _header(stream: BinaryIO, shown: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, Fortran order, dtype, length of the header)."""
    start = stream.read(8)
    version = start[6:8]
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(version)
    if len(start) < 8 or start[:6] != MAGIC or width is None:
        raise MalformedInput(f"{shown} is not an .npy array of format 1.0 or 2.0", "save it with numpy.save")
    length = stream.read(width)
    number = int.from_bytes(length, "little")
    if number > _MOST_HEADER:
        raise MalformedInput(f"{shown}: the header claims {number:,} bytes, the cap is {_MOST_HEADER:,}")
    text = io.BytesIO(length + stream.read(number))
    parse = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers that Python 2 wrote are valid, and numpy says so each time
            shape, fortran, dtype = parse(text, max_header_size=_MOST_HEADER)
    except Exception:  # NumPy lets through whatever Python's tokeniser and parser raise
        raise MalformedInput(f"{shown}: the .npy header cannot be read", "save it with numpy.save") from None
    if not all(type(side) is int and side >= 0 for side in shape):
        raise MalformedInput(f"{shown}: impossible shape {display_name(shape, 80)}", "save it with numpy.save")
    return shape, bool(fortran), dtype, 8 + width + number
