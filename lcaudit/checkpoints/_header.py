"""What a safetensors file says of its tensors, without their numbers and without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcaudit.checkpoints._beside import read_config
from lcaudit.checkpoints._files import open_whole, read_head, read_start
from lcaudit.checkpoints._folder import find_checkpoint
from lcaudit.checkpoints._keys import unwrap
from lcaudit.checkpoints._safetensors import header_length, parse_header, sniff
from lcaudit.checkpoints.safetensors_sharded import check_keys, read_weight_map, sniff_index
from lcaudit.core.program import Program

#: First bytes of what torch.save writes, zip and legacy.
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as the header has it."""

    dtype: str
    shape: tuple[int, ...]

    def numel(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """A checkpoint without its numbers.

    Attributes:
        name: base name of the file or folder. container: as in ``CheckpointRecord``. size: bytes of all files.
        tensors: sorted by key, prefixes and counters undone as ``unwrapped`` says.
        config: the ``config.json`` beside it, unchecked. texts: the file's own metadata, unchecked; of several files
            none. program: the network's own graph, where the file holds one.
    """

    name: str
    container: str
    size: int
    tensors: Mapping[str, Stored]
    unwrapped: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    program: Program | None = None


def read_safetensors_header(path: Path) -> Header | None:
    """The header of a safetensors file, of several with their index, or of those in a folder.

    Returns:
        ``None`` for a file of another kind.

    Raises:
        AuditError: as :func:`lcaudit.checkpoints.open_checkpoint`.

    Cost: the header is read, at most 16 MB for each file, and nothing else.
    """
    folder = path if path.is_dir() else None
    file = find_checkpoint(folder, _claims) if folder else path
    head = read_head(file, folder)
    if sniff_index(head):
        container, (tensors, size), texts = "safetensors-sharded", _sharded(file, folder), {}
    elif sniff(head):
        tensors, size, texts = _single(file, folder)
        container = "safetensors"
    else:
        return None
    name = path.name if path.name not in ("", "..") else path.resolve().name
    plain, steps = unwrap(name, tensors)
    return Header(name, container, size, plain, tuple(steps), read_config(file), texts)


def _claims(head: bytes) -> bool:
    return sniff_index(head) or sniff(head) or head.startswith(_TORCH)


def _single(file: Path, folder: Path | None) -> tuple[dict[str, Stored], int, dict[str, str]]:
    label, start, size = read_start(file, folder, lambda first, size: 8 + header_length(file.name, first, size))
    header, texts = parse_header(label, start[8:], size)
    return {key: Stored(entry["dtype"], tuple(entry["shape"])) for key, entry in header.items()}, size, texts


def _sharded(file: Path, folder: Path | None) -> tuple[dict[str, Stored], int]:
    opened = open_whole(file, folder)
    places = read_weight_map(opened)
    tensors: dict[str, Stored] = {}
    size = opened.record.size
    for name in sorted(set(places.values())):
        held, bytes_of, _ = _single(file.parent / name, file.parent)
        check_keys(name, {key for key, shard in places.items() if shard == name}, set(held))
        tensors |= held
        size += bytes_of
    return tensors, size
