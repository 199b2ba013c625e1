"""Small files beside the weights, ``config.json`` first: read as data, believed by nobody here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcaudit.checkpoints._files import open_whole, read_start
from lcaudit.core.errors import AuditError
from lcaudit.core.serial import parse_json

if TYPE_CHECKING:  # headers are read without torch
    from lcaudit.core.types import Checkpoint

NAME = "config.json"
#: What else is read where it is there: how pictures are prepared, how tokens' vectors become one, which token is which.
OTHERS = (
    "preprocessor_config.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "adapter_config.json",
)
TOKENIZER = "tokenizer.json"
MOST_BYTES = 4_000_000
#: Of the largest vocabularies in use; it is read by whoever needs it.
MOST_TOKENIZER = 128_000_000


def read_config(file: Path, name: str = NAME) -> Mapping[str, Any]:
    """The JSON object in ``name`` beside ``file``; empty where there is none that can be read.

    A link out of the folder, a pipe, a large or damaged file count as none: the weights alone are enough to go on.
    """
    beside, folder = file.parent / name, file.parent
    try:
        if not 0 < _size(beside, folder) <= MOST_BYTES:
            return {}
        data = parse_json(open_whole(beside, folder).data)
    except AuditError:
        return {}
    return data if isinstance(data, dict) else {}


def with_files_beside(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    """The same, with what lies beside ``file``."""
    found = {name: read_config(file, name) for name in OTHERS}
    tokenizer = file.with_name(TOKENIZER)
    try:
        known = 0 < _size(tokenizer, file.parent) <= MOST_TOKENIZER
    except AuditError:
        known = False
    return replace(
        checkpoint,
        config=read_config(file),
        beside={name: data for name, data in found.items() if data},
        tokenizer=tokenizer if known else None,
    )


def _size(beside: Path, folder: Path) -> int:
    _, _, size = read_start(beside, folder, lambda first, size: 0)
    return size
