"""What a safetensors file says of its tensors, without their numbers and without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcaudit.checkpoints._beside import read_config
from lcaudit.checkpoints._files import OpenedFile, label_of, open_whole, read_head, read_start
from lcaudit.checkpoints._folder import INDEX_SUFFIX, find_checkpoint
from lcaudit.checkpoints._hub import Found, fetch_beside
from lcaudit.checkpoints._keys import unwrap
from lcaudit.checkpoints._safetensors import header_length, parse_header, sniff
from lcaudit.checkpoints.safetensors_sharded import check_keys, read_weight_map, sniff_index
from lcaudit.core import hub, hub_start
from lcaudit.core.program import Program

#: First bytes of what torch.save writes, zip and legacy.
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


#: (first eight bytes, size of the file) → how many bytes to read in all.
Wanted = Callable[[bytes, int], int]
#: (name of a file, how much of it is wanted) → (its first bytes, its size).
Start = Callable[[str, Wanted], tuple[bytes, int]]


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
    if not sniff_index(head) and not sniff(head):
        return None
    name = path.name if path.name not in ("", "..") else path.resolve().name

    def start(shard: str, wanted: Wanted) -> tuple[bytes, int]:
        # shards lie beside their index, whatever was named
        _, begins, size = read_start(file.parent / shard, folder if shard == file.name else file.parent, wanted)
        return begins, size

    index = open_whole(file, folder) if sniff_index(head) else None
    return _header(name, file, index, start)


def read_hub_header(found: Found, most: int, progress: hub.Progress) -> Header | None:
    """The same of a repository of the Hub: of its weights only headers are asked for.

    Args:
        most: bytes that may be downloaded.
    """
    name = found.name.removeprefix(found.folder)
    sharded = name.endswith(INDEX_SUFFIX)
    if not sharded and not name.endswith(".safetensors"):
        return None
    file = fetch_beside(found, most, progress) / name
    index = open_whole(file, file.parent) if sharded else None
    return _header(
        found.asked.name, file, index,
        lambda shard, wanted: hub_start.read_start(found.listing, found.folder + shard, wanted),
    )  # fmt: skip


def _header(name: str, file: Path, index: OpenedFile | None, start: Start) -> Header:
    """``file``: the weights or their index, beside which ``config.json`` may lie; ``start`` alone reads weights."""
    texts: dict[str, str] = {}
    if index is not None:
        container, (tensors, size) = "safetensors-sharded", _sharded(index, start)
    else:
        container, (tensors, size, texts) = "safetensors", _single(file.name, start)
    plain, steps = unwrap(name, tensors)
    return Header(name, container, size, plain, tuple(steps), read_config(file), texts)


def _claims(head: bytes) -> bool:
    return sniff_index(head) or sniff(head) or head.startswith(_TORCH)


def _single(name: str, start: Start) -> tuple[dict[str, Stored], int, dict[str, str]]:
    begins, size = start(name, lambda first, size: 8 + header_length(name, first, size))
    header, texts = parse_header(label_of(Path(name)), begins[8:], size)
    return {key: Stored(entry["dtype"], tuple(entry["shape"])) for key, entry in header.items()}, size, texts


def _sharded(index: OpenedFile, start: Start) -> tuple[dict[str, Stored], int]:
    places = read_weight_map(index)
    tensors: dict[str, Stored] = {}
    size = index.record.size
    for name in sorted(set(places.values())):
        held, bytes_of, _ = _single(name, start)
        check_keys(name, {key for key, shard in places.items() if shard == name}, set(held))
        tensors |= held
        size += bytes_of
    return tensors, size
