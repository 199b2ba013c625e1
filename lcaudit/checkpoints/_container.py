"""The contract of this folder: one plugin file per container, each defining ``CONTAINER``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lcaudit.checkpoints._files import OpenedFile
from lcaudit.core.measurements import FileRecord
from lcaudit.core.program import Program


@dataclass(frozen=True, slots=True)
class Contents:
    """What a container held, before nesting and prefixes are undone.

    Attributes:
        tree: nested mappings with tensors in them, as they were saved.
        texts: string metadata beside the tensors (the ``__metadata__`` of safetensors).
        files: every file that was read.
        program: the network's own graph; ``tree`` then holds its tensors by the names that it uses.
    """

    tree: object
    files: tuple[FileRecord, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    program: Program | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One kind of file.

    Attributes:
        name: as it stands in ``CheckpointRecord.container``.
        sniff: first bytes of a file (up to ``_files.HEAD``) → whether it claims to be of this kind;
            at most one container claims any file.
        read: opened file → contents. Raises an ``AuditError`` child, whatever the bytes are.
    """

    name: str
    sniff: Callable[[bytes], bool]
    read: Callable[[OpenedFile], Contents]
