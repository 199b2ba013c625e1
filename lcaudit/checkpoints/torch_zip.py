"""What ``torch.save`` writes since 1.6: a zip with one pickle and one member per storage.

``<name>/data.pkl`` is the object, ``<name>/data/<key>`` the numbers of one storage each.
"""

from __future__ import annotations

import io

from lcaudit.checkpoints import torch_export
from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import OpenedFile
from lcaudit.checkpoints._pickle_check import dry_run
from lcaudit.checkpoints._pickle_values import Storage
from lcaudit.checkpoints._torch_load import load_checked
from lcaudit.checkpoints._zip_check import listed, members
from lcaudit.core.errors import LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.text import display_name

MOST_PICKLE = 64_000_000
_MOST_NOTE = 64
_AGAIN = "save the weights again: torch.save(model.state_dict(), 'weights.pt')"


def _sniff(head: bytes) -> bool:
    # A folder in the first member's name; NumPy's .npz has none.
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and b"/" in head[30 : 30 + length] and not torch_export.sniff(head)


def _read(opened: OpenedFile) -> Contents:
    label = opened.label
    _refuse_relatives(label, {name.partition("/")[2] for name in listed(opened.data)})
    found = members(label, opened.data)
    tops = {name.split("/", 1)[0] for name in found}
    held = {name.split("/", 1)[1]: data for name, data in found.items()}
    if len(tops) != 1 or "data.pkl" not in held:
        raise MalformedInput(f"{label}: a zip archive, but not one that torch.save wrote", _AGAIN)
    _check_members(label, held)
    pickle = held["data.pkl"]
    if len(pickle) > MOST_PICKLE:
        raise LimitExceeded(f"{label}: data.pkl of {len(pickle):,} bytes, at most {MOST_PICKLE:,} are read", _AGAIN)
    stream = io.BytesIO(pickle)
    walk = dry_run(label, stream)
    if stream.tell() != len(pickle):
        raise MalformedInput(f"{label}: {len(pickle) - stream.tell():,} bytes after the end of data.pkl", _AGAIN)
    _check_storages(label, held, walk.storages)
    return Contents(load_checked(label, opened.data), (opened.record,))


def _refuse_relatives(label: str, held: set[str]) -> None:
    """Archives that share the container and hold programs; they break its rules, so they are told before those are."""
    if "constants.pkl" in held or any(name.startswith("code/") for name in held):
        raise UnsafeCheckpoint(
            f"{label}: a TorchScript archive, a program and its weights; lcaudit reads weights only",
            "if you trust it, save its weights by themselves: state = torch.jit.load(FILE, map_location='cpu')"
            ".state_dict(); safetensors.torch.save_file({k: v.clone() for k, v in state.items()}, "
            "'weights.safetensors')",
        )
    if "archive_format" in held or any(name.startswith(("models/", "serialized_exported_program")) for name in held):
        raise UnsafeCheckpoint(
            f"{label}: a torch.export archive (.pt2), but not one that torch 2.8 or later wrote",
            "export it again with a newer torch, or save its weights: torch.save(model.state_dict(), 'weights.pt')",
        )


def _check_members(label: str, held: dict[str, memoryview]) -> None:
    for name, data in held.items():
        is_note = name in ("version", "byteorder") or (name.startswith(".") and "/" not in name)
        if is_note and len(data) > _MOST_NOTE:
            raise MalformedInput(f"{label}: member {display_name(name, 80)} of {len(data):,} bytes", _AGAIN)
        if not (is_note or name == "data.pkl" or name.startswith((".data/", "data/"))):
            raise MalformedInput(f"{label}: unexpected member {display_name(name, 80)}", _AGAIN)
    if bytes(held.get("byteorder", b"little")) not in (b"little", b"big"):
        raise MalformedInput(f"{label}: byteorder is neither little nor big", _AGAIN)


def _check_storages(label: str, held: dict[str, memoryview], storages: dict[str, Storage]) -> None:
    for key, storage in storages.items():
        name = f"data/{key}"
        if name not in held:
            raise MalformedInput(f"{label}: member {display_name(name, 80)} is missing", _AGAIN)
        if len(held[name]) != storage.size:
            raise MalformedInput(
                f"{label}: member {display_name(name, 80)} has {len(held[name]):,} bytes, expected {storage.size:,}",
                _AGAIN,
            )


CONTAINER = Container("torch-zip", _sniff, _read)
