"""What ``torch.export.save`` writes since 2.8: a zip with a graph as JSON and one member of raw bytes per weight.

Nothing of it is handed to torch's own loader, which unpickles example inputs and pickled weights and evaluates text.
Those members are looked at all the same: a file whose pickles want code to run is refused even though they would
never be loaded here, since others would load them.

Source: ``torch/export/pt2_archive``.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import OpenedFile
from lcaudit.checkpoints._pickle_check import dry_run
from lcaudit.checkpoints._program import decode
from lcaudit.checkpoints._zip_check import members
from lcaudit.core.errors import LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    import torch

MOST_GRAPH = 256_000_000
_AGAIN = "export the model again with torch.export.save"
_WEIGHTS_ONLY = "where the model was made, save its weights alone: torch.save(model.state_dict(), 'weights.pt')"
_NOTES = re.compile(r"archive_format|archive_version|version|byteorder|\.[a-z_/]+")
_MODEL = re.compile(r"models/([A-Za-z0-9_.-]{1,80})\.json")
_EXAMPLES = re.compile(r"data/sample_inputs/[A-Za-z0-9_.-]{1,80}\.pt")
_PAYLOAD = re.compile(r"data/(weights|constants)/[A-Za-z0-9_.-]{1,80}")
#: Members by which it differs from what torch.save writes, where they come first.
_OURS = (b"data/weights/", b"data/constants/", b"data/sample_inputs/", b"data/aotinductor/", b"models/", b"archive_")
#: Number of a type in the file → its name in torch.
DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 12: "bool",
    13: "bfloat16",
}  # fmt: skip


def sniff(head: bytes) -> bool:
    """By the name of the first member."""
    length = int.from_bytes(head[26:28], "little")
    inside = head[30 : 30 + length].partition(b"/")[2]
    return head.startswith(b"PK\x03\x04") and inside.startswith(_OURS)


def _read(opened: OpenedFile) -> Contents:
    label = opened.label
    found = members(label, opened.data)
    tops = {name.split("/", 1)[0] for name in found}
    held = {name.split("/", 1)[1]: data for name, data in found.items()}
    if len(tops) != 1 or bytes(held.get("archive_format", b"")) != b"pt2":
        raise MalformedInput(f"{label}: a zip archive, but not one that torch.export.save wrote", _AGAIN)
    model = _check_members(label, held)
    if bytes(held.get("byteorder", b"little")) != b"little":
        raise MalformedInput(f"{label}: weights in big-endian order, expected little", _AGAIN)
    program = decode(label, bytes(held[f"models/{model}.json"]))
    weights = _payloads(label, held, "weights", model)
    constants = _payloads(label, held, "constants", model)
    lacking = [key for key in program.own.values() if key not in weights and key not in constants]
    if lacking:
        raise MalformedInput(f"{label}: {display_name(lacking[0], 80)!r} of its graph is not stored", _AGAIN)
    twice = weights.keys() & constants.keys()
    if twice:
        raise MalformedInput(f"{label}: {display_name(min(twice), 80)!r} is stored twice", _AGAIN)
    return Contents(weights, (opened.record,), program=replace(program, constants=constants))


def _check_members(label: str, held: Mapping[str, memoryview]) -> str:
    """Name of the one model; every member is of a known kind, and every pickle among them is harmless."""
    models = [match[1] for name in held if (match := _MODEL.fullmatch(name))]
    for name, data in held.items():
        shown = display_name(name, 80)
        if name.startswith("data/aotinductor/") or name.endswith((".so", ".cpp", ".cubin", ".py")):
            raise UnsafeCheckpoint(
                f"{label}: holds compiled code ({shown}); lcaudit runs no code from files", _WEIGHTS_ONLY
            )
        if name.startswith("data/constants/custom_obj") or name.startswith("data/constants/opaque_obj"):
            raise UnsafeCheckpoint(
                f"{label}: holds a pickled object ({shown}); lcaudit runs no code from files", _WEIGHTS_ONLY
            )
        if _EXAMPLES.fullmatch(name):
            _check_pickle(f"{label}: {shown}", bytes(data))
        elif not (_NOTES.fullmatch(name) or _MODEL.fullmatch(name) or _PAYLOAD.fullmatch(name)):
            raise MalformedInput(f"{label}: unexpected member {shown}", _AGAIN)
        elif name.endswith(".json") and len(data) > MOST_GRAPH:
            raise LimitExceeded(f"{label}: {shown} of {len(data):,} bytes, at most {MOST_GRAPH:,} are read", _AGAIN)
    if len(models) != 1:
        raise MalformedInput(f"{label}: {len(models)} programs in one file, expected one", "export each by itself")
    return models[0]


def _check_pickle(label: str, data: bytes) -> None:
    """Example inputs are never loaded here; what only code could restore is refused all the same."""
    inner = members(label, data)
    pickles = [content for name, content in inner.items() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise MalformedInput(f"{label}: not what torch.save writes", _AGAIN)
    dry_run(label, io.BytesIO(bytes(pickles[0])))


def _payloads(label: str, held: Mapping[str, memoryview], kind: str, model: str) -> dict[str, torch.Tensor]:
    """Tensors by key, from raw bytes; those of one member share their memory."""
    import torch

    raw = held.get(f"data/{kind}/{model}_{kind}_config.json")
    if raw is None:
        raise MalformedInput(f"{label}: the list of its {kind} is missing", _AGAIN)
    data = parse_json(bytes(raw))
    config = data.get("config") if isinstance(data, dict) else None
    if not isinstance(config, dict):
        raise MalformedInput(f"{label}: the list of its {kind} is damaged", _AGAIN)
    stored: dict[tuple[str, str], torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    for key, entry in config.items():
        shown = display_name(key, 80)
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise UnsafeCheckpoint(
                f"{label}: {shown!r} is stored as a pickle; lcaudit runs no code from files", _WEIGHTS_ONLY
            )
        place = f"data/{kind}/{entry.get('path_name')}"
        if place not in held or not _PAYLOAD.fullmatch(place):
            raise MalformedInput(f"{label}: the bytes of {shown!r} are missing", _AGAIN)
        dtype, sizes, strides, offset = _layout(label, shown, entry.get("tensor_meta"))
        whole = stored.get((place, dtype))
        if whole is None:
            size = getattr(torch, dtype).itemsize
            content = bytearray(held[place])
            usable = len(content) - len(content) % size
            empty = torch.empty(0, dtype=getattr(torch, dtype))
            whole = torch.frombuffer(content, dtype=getattr(torch, dtype), count=usable // size) if usable else empty
            stored[place, dtype] = whole
        last = offset + sum((side - 1) * step for side, step in zip(sizes, strides, strict=True))
        if math.prod(sizes) and last >= whole.numel():
            raise MalformedInput(f"{label}: {shown!r} claims more numbers than are stored for it", _AGAIN)
        found[key] = whole.as_strided(sizes, strides, offset) if math.prod(sizes) else whole.new_empty(sizes)
    return found


def _layout(label: str, shown: str, meta: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], int]:
    fault = MalformedInput(f"{label}: {shown!r} is not described as a plain tensor", _AGAIN)
    known = isinstance(meta, dict) and type(meta.get("dtype")) is int and meta["dtype"] in DTYPES
    if not known or meta.get("layout") != 7:
        raise fault
    sizes, strides = (_whole_numbers(meta.get(key)) for key in ("sizes", "strides"))
    offset = _whole_numbers([meta.get("storage_offset")])
    if sizes is None or strides is None or offset is None or len(sizes) != len(strides) or len(sizes) > 64:
        raise fault
    return DTYPES[meta["dtype"]], sizes, strides, offset[0]


def _whole_numbers(values: Any) -> tuple[int, ...] | None:
    if not isinstance(values, list):
        return None
    numbers = [one.get("as_int") if isinstance(one, dict) else None for one in values]
    return tuple(numbers) if all(type(one) is int and 0 <= one < 2**48 for one in numbers) else None


CONTAINER = Container("torch-export", sniff, _read)
