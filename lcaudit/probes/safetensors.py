"""A ``.safetensors`` file with the tensors ``images`` (or ``x``, ``input_ids``, …) and ``labels`` (or ``y``, …).

The header is checked here, more strictly than the format's own library does, and the bytes are read,
never mapped: a file that shrinks while it is read gives a message instead of a crash.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lcaudit.core.errors import MalformedInput
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import from_container
from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._files import open_regular
from lcaudit.probes._npy import fill

_MOST_HEADER = 2**20
_DTYPES = {
    "BOOL": "|b1",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}


def open_safetensors(path: Path, split: str | None) -> Samples:
    """Samples of a safetensors file.

    Raises:
        MalformedInput: the header is wrong, or lengths disagree. LimitExceeded: a tensor is too large.
        ProbeUnavailable: tensors are missing or cannot be used.
    """
    shown = display_name(path.name)
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_MOST_HEADER, size - 8):
            raise MalformedInput(f"{shown}: the header claims {length:,} bytes, the file has {size:,}")
        header = parse_json(stream.read(length))
        if not isinstance(header, dict):
            raise MalformedInput(f"{shown}: the header is not a JSON object")
        header.pop("__metadata__", None)
        return from_container(header, lambda key: _tensor(stream, header[key], key, 8 + length, size), path, split)


def _tensor(stream: BinaryIO, entry: Any, key: str, start: int, size: int) -> np.ndarray:
    shown = f"tensor {display_name(key)}"
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
            all(type(number) is int and number >= 0 for number in (begin, end, *shape)) and begin <= end <= size - start
        ):
            if dtype not in _DTYPES:
                raise MalformedInput(
                    f"{shown} has type {display_name(dtype, 40)}, expected one of {', '.join(_DTYPES)}",
                    "save it as uint8 or float32",
                )
            stream.seek(start + begin)
            return fill(stream, tuple(shape), np.dtype(_DTYPES[dtype]), end - begin, shown)
    raise MalformedInput(f"{shown}: dtype, shape and data_offsets do not fit a file of {size:,} bytes")


def _accepts(path: Path, start: bytes) -> bool:
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 2**27


SOURCE = Source(
    title="a .safetensors file of images or input_ids, and labels",
    accepts=_accepts,
    open=open_safetensors,
)
