"""Strict reading of one safetensors file: our own header check first, then the library.

The format (https://github.com/huggingface/safetensors#format) is 8 bytes of little-endian header
length, a JSON header, and the tensors' bytes. The library accepts several headers that the text of the
format forbids and that other readers take differently: duplicate names (the last wins), unknown
fields, leading whitespace. Such a file is refused here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lcaudit.checkpoints._files import OpenedFile
from lcaudit.checkpoints._foreign import is_known_stranger
from lcaudit.core.errors import EnvironmentFailure, LimitExceeded, MalformedInput
from lcaudit.core.text import display_name

if TYPE_CHECKING:  # headers are read without torch
    import torch

MOST_HEADER = 16_000_000
MOST_TENSORS = 200_000
MOST_NAME = 1000
MOST_RANK = 64
MOST_DIMENSION = 2**63 - 1

#: Bits per entry of every dtype in the format.
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
#: In the format, but without a torch dtype of the same shape.
_UNREADABLE = frozenset({"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0"})

_AGAIN = "download it again, or save it again with safetensors.torch.save_file"


def sniff(head: bytes) -> bool:
    """A header length below 2^40 and the brace where the header begins, or nothing else that is known."""
    if len(head) < 8 or head[5:8] != b"\0\0\0" or not any(head):
        return False
    return head[8:9] == b"{" or not is_known_stranger(head)


def read(opened: OpenedFile) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors sorted by key, and the metadata strings.

    Raises:
        MalformedInput: the file breaks the format. LimitExceeded: it is beyond a cap.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    length = header_length(opened.label, opened.data[:8], len(opened.data))
    _, metadata = parse_header(opened.label, opened.data[8 : 8 + length], len(opened.data))
    try:
        tensors = load(opened.data)
    except MemoryError:
        raise EnvironmentFailure(f"{opened.label}: not enough memory for its tensors", "use a larger machine") from None
    except (SafetensorError, ValueError, RuntimeError, TypeError, KeyError, OverflowError, AssertionError) as error:
        raise MalformedInput(
            f"{opened.label}: the safetensors library refused it ({type(error).__name__})", _AGAIN
        ) from None
    return dict(sorted(tensors.items())), metadata


def header_length(label: str, start: bytes, size: int) -> int:
    """Bytes of the header in a file of ``size`` bytes that begins with the eight of ``start``.

    Raises:
        MalformedInput: longer than the file. LimitExceeded: longer than is read.
    """
    length = int.from_bytes(start, "little")
    if length > size - 8:
        raise MalformedInput(
            f"{label}: truncated or not safetensors: header promises {length:,} bytes, file has {max(0, size - 8):,}",
            _AGAIN,
        )
    if length > MOST_HEADER:
        raise LimitExceeded(f"{label}: header of {length:,} bytes, at most {MOST_HEADER:,} are read", _AGAIN)
    return length


def parse_header(label: str, written: bytes, size: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Every tensor's ``dtype``, ``shape`` and ``data_offsets``, and the metadata strings.

    Args:
        written: the header's bytes. size: of the whole file; the tensors must fill it.

    Raises:
        MalformedInput: the file breaks the format. LimitExceeded: it is beyond a cap.
    """
    header, metadata = _parse(label, written)
    _check_tensors(label, header, size - 8 - len(written))
    return header, metadata


def _parse(label: str, written: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    text = written.rstrip(b" ")
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise MalformedInput(f"{label}: the header must begin with {{ and end with }} and blanks", _AGAIN)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise MalformedInput(f"{label}: {display_name(key, 80)!r} appears twice in the header", _AGAIN)
            seen[key] = value
        return seen

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except RecursionError:
        raise MalformedInput(f"{label}: the header is nested too deeply", _AGAIN) from None
    except ValueError as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
        raise MalformedInput(f"{label}: the header is {reason}", _AGAIN) from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedInput(f"{label}: __metadata__ must map strings to strings", _AGAIN)
    return header, metadata


def _check_tensors(label: str, header: Mapping[str, Any], size: int) -> None:
    """Every entry is well formed, and together they cover the data exactly once."""
    if len(header) > MOST_TENSORS:
        raise LimitExceeded(f"{label}: {len(header):,} tensors, at most {MOST_TENSORS:,} are read", _AGAIN)
    spans = sorted((*_span(label, name, entry), name) for name, entry in header.items())
    covered = 0
    for begin, end, name in spans:
        if begin != covered:
            fault = "overlaps another tensor" if begin < covered else "leaves a hole before it"
            raise MalformedInput(f"{label}: tensor {display_name(name, 80)!r} {fault}", _AGAIN)
        covered = end
    if covered > size:
        raise MalformedInput(f"{label}: truncated: tensors need {covered:,} bytes, file has {size:,}", _AGAIN)
    if covered < size:
        raise MalformedInput(f"{label}: {size - covered:,} bytes after the last tensor", _AGAIN)


def _span(label: str, name: str, entry: Any) -> tuple[int, int]:
    def fault(what: str) -> MalformedInput:
        return MalformedInput(f"{label}: tensor {display_name(name, 80)!r}: {what}", _AGAIN)

    # Names of surrogates would pass Python's parser and be refused by the library's.
    if len(name.encode("utf-8", "surrogatepass")) > MOST_NAME:
        raise LimitExceeded(f"{label}: a tensor name of more than {MOST_NAME:,} bytes", _AGAIN)
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise fault("name is not valid Unicode")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise fault("expected exactly the fields dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise fault(f"unknown dtype {display_name(dtype, 20)}")
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        raise fault("shape must be a list of sizes from 0 to 2^63 - 1")
    if len(shape) > MOST_RANK:
        raise LimitExceeded(
            f"{label}: tensor {display_name(name, 80)!r}: {len(shape):,} dimensions, at most {MOST_RANK} are read",
            _AGAIN,
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise fault("data_offsets must be two offsets")
    begin, end = offsets
    bits = math.prod(shape) * _BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise fault(f"{dtype} of this shape needs {bits / 8:,.6g} bytes, data_offsets give {end - begin:,}")
    if dtype in _UNREADABLE:
        raise fault(f"dtype {dtype} is packed; lcaudit reads one number per entry")
    return begin, end


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_DIMENSION
