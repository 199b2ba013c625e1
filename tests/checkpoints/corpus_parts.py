"""Building blocks of hostile files: pickles by opcode, archives by member, safetensors by header."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lcaudit.core.errors import AuditError

#: What the payloads would create; tests run in a folder of their own and check that it is absent.
SENTINEL = "sentinel-of-executed-code"
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
SYSTEM_INFORMATION = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."


@dataclass(frozen=True, slots=True)
class Case:
    """A file that must be refused: how to build it, the error it must give, words of the message."""

    name: str
    build: Callable[[Path], Path]
    error: type[AuditError]
    says: str


def text(value: str) -> bytes:
    """Opcode that pushes a string."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Opcode that pushes an integer of up to 255 bytes."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def glob(dotted: str) -> bytes:
    """Opcode that pushes a global."""
    module, name = dotted.rsplit(".", 1)
    return f"c{module}\n{name}\n".encode()


def call(function: str, *arguments: bytes) -> bytes:
    """Opcodes that call a global."""
    return glob(function) + b"(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", numel: int = 1, kind: str = "torch.FloatStorage", view: bytes = b"") -> bytes:
    """Opcodes that refer to a storage; ``view`` is the legacy container's sixth field."""
    return b"(" + text("storage") + glob(kind) + text(key) + text("cpu") + number(numel) + view + b"tQ"


def tensor(held: bytes, size: tuple[int, ...] = (1,), stride: tuple[int, ...] = (1,), offset: int = 0) -> bytes:
    """Opcodes that rebuild a tensor."""
    sizes, strides = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", held, number(offset), sizes, strides, b"\x89", hooks)


def pickled(*opcodes: bytes) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + b"".join(opcodes) + b"."


def state(**entries: bytes) -> bytes:
    """A pickle of a dict with these values."""
    return pickled(b"}", *(text(key) + value + b"s" for key, value in entries.items()))


def archive(pickle: bytes, members: dict[str, bytes] | None = None, top: str = "archive") -> bytes:
    """A zip as torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"{top}/data.pkl", pickle)
        file.writestr(f"{top}/byteorder", b"little")
        for name, data in (members or {}).items():
            file.writestr(f"{top}/{name}", data)
        file.writestr(f"{top}/version", b"3\n")
    return buffer.getvalue()


def legacy(pickle: bytes, keys: bytes = b"]", numbers: bytes = b"") -> bytes:
    """The five stacked pickles and the numbers."""
    return MAGIC + pickled(b"M\xe9\x03") + SYSTEM_INFORMATION + pickle + pickled(keys) + numbers


def safetensors(header: Any, data: bytes = b"", raw: bytes | None = None, length: int | None = None) -> bytes:
    """Header length, header (JSON, or ``raw`` as it is) and data."""
    encoded = json.dumps(header).encode() if raw is None else raw
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32", **more: Any) -> dict[str, Any]:
    """One tensor of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def saved(value: object, **options: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    """A builder that writes ``data``."""

    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return build
