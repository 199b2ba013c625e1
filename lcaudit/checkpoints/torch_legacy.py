"""What ``torch.save`` wrote before 1.6, and still writes on request: five pickles, then the numbers.

In order: a magic number, a protocol version, a description of the machine, the object, and the list of
storage keys; then for each key the number of entries (8 bytes) and the entries themselves.
"""

from __future__ import annotations

import io

from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import OpenedFile
from lcaudit.checkpoints._pickle_check import dry_run
from lcaudit.checkpoints._pickle_values import Storage
from lcaudit.checkpoints._torch_load import load_checked
from lcaudit.core.errors import LimitExceeded, MalformedInput

#: The first pickle, byte for byte: protocol 2, LONG1 0x1950a86a20f9469cfc6c, STOP.
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
MOST_PICKLE = 64_000_000
_VERSION = 1001
_AGAIN = "download the file again, or save it again"


def _sniff(head: bytes) -> bool:
    return head.startswith(MAGIC)


def _read(opened: OpenedFile) -> Contents:
    label = opened.label
    stream = io.BytesIO(opened.data)
    stream.seek(len(MAGIC))
    if dry_run(label, stream).root != _VERSION:
        raise MalformedInput(f"{label}: not protocol {_VERSION} of torch's legacy container", _AGAIN)
    machine = dry_run(label, stream).root
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise MalformedInput(f"{label}: not written on a little-endian machine", _AGAIN)
    storages = dry_run(label, stream, view_field=True).storages
    keys = dry_run(label, stream).root
    if stream.tell() > MOST_PICKLE:
        raise LimitExceeded(f"{label}: pickles of {stream.tell():,} bytes, at most {MOST_PICKLE:,} are read", _AGAIN)
    _check_numbers(label, opened.data, stream.tell(), storages, keys)
    return Contents(load_checked(label, opened.data), (opened.record,))


def _check_numbers(label: str, data: bytes, position: int, storages: dict[str, Storage], keys: object) -> None:
    """Every storage has its numbers, once, and nothing else is in the file.

    torch would leave a storage that is not listed uninitialised.
    """
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or len(set(keys)) != len(keys)
        or set(keys) != set(storages)
    ):
        raise MalformedInput(f"{label}: the list of storages does not match the tensors", _AGAIN)
    for key in keys:
        numel = int.from_bytes(data[position : position + 8], "little", signed=True)
        if len(data) - position < 8 + storages[key].size:
            raise MalformedInput(
                f"{label}: truncated: storage {storages[key].size:,} bytes, file has {len(data) - position:,} left",
                _AGAIN,
            )
        if numel != storages[key].numel:
            raise MalformedInput(f"{label}: a storage of {numel:,} entries, expected {storages[key].numel:,}", _AGAIN)
        position += 8 + storages[key].size
    if position != len(data):
        raise MalformedInput(f"{label}: {len(data) - position:,} bytes after the last storage", _AGAIN)


CONTAINER = Container("torch-legacy", _sniff, _read)
