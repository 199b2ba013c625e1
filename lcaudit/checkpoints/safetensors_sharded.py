"""Several safetensors files and the index that says which tensor is in which.

The index, ``<name>.safetensors.index.json``, holds ``{"metadata": {...}, "weight_map": {key: file}}``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import OpenedFile, open_whole
from lcaudit.checkpoints._safetensors import read, sniff
from lcaudit.core.errors import LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.serial import parse_json
from lcaudit.core.text import count, display_name, one_line

if TYPE_CHECKING:  # headers are read without torch
    import torch

MOST_INDEX = 64_000_000
MOST_SHARDS = 5000
_BASE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def sniff_index(head: bytes) -> bool:
    """JSON that speaks of weights in several files."""
    return head.lstrip()[:1] == b"{" and not sniff(head) and (b'"weight_map"' in head or b'"total_size"' in head)


def _read(opened: OpenedFile) -> Contents:
    places = read_weight_map(opened)
    folder = opened.path.parent
    tensors: dict[str, torch.Tensor] = {}
    texts: dict[str, str] = {}
    files = [opened.record]
    for name in sorted(set(places.values())):
        shard = open_whole(folder / name, folder)
        if not sniff(shard.data[:64]):
            raise MalformedInput(
                f"{opened.label}: shard {shard.label} is not safetensors", "convert the shards to safetensors first"
            )
        held, shard_texts = read(shard)
        promised = {key for key, file in places.items() if file == name}
        check_keys(shard.label, promised, set(held))
        tensors.update(held)
        texts = shard_texts | texts
        files.append(shard.record)
    return Contents(dict(sorted(tensors.items())), tuple(files), texts)


def read_weight_map(opened: OpenedFile) -> dict[str, str]:
    """Name of the shard by key of the tensor; every name is a plain file name.

    Raises:
        MalformedInput, LimitExceeded, UnsafeCheckpoint: what is wrong with the index.
    """
    if len(opened.data) > MOST_INDEX:
        raise LimitExceeded(f"{opened.label}: an index of more than {MOST_INDEX:,} bytes", "check the file")
    try:
        index = parse_json(opened.data)
    except MalformedInput as error:
        raise MalformedInput(f"{opened.label}: {display_name(error.message)}", "download the index again") from None
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise MalformedInput(
            f"{opened.label}: weight_map must map tensor names to file names", "download the index again"
        )
    for name in places.values():
        if not _BASE_NAME.fullmatch(name):
            raise UnsafeCheckpoint(
                f"{opened.label}: the index names a shard outside the model folder: {display_name(name, 80)!r}",
                "shards must be plain file names beside the index",
            )
    shards = len(set(places.values()))
    if shards > MOST_SHARDS:
        raise LimitExceeded(f"{opened.label}: {shards:,} shards, at most {MOST_SHARDS:,} are read", "use fewer shards")
    return places


def check_keys(label: str, promised: set[str], held: set[str]) -> None:
    """Raise :class:`MalformedInput` unless a shard holds what the index promises, and nothing else."""
    for names, where in (
        (promised - held, "in the index but not in it"),
        (held - promised, "in it but not in the index"),
    ):
        if names:
            raise MalformedInput(
                f"{label}: {count(len(names), 'tensor')} {where}: {one_line(sorted(names), 3)}",
                "download the index and all shards again",
            )


CONTAINER = Container("safetensors-sharded", sniff_index, _read)
