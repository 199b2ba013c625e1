"""``config.json`` beside the weights: read as data, believed by nobody here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lcaudit.checkpoints._files import open_whole, read_start
from lcaudit.core.errors import AuditError
from lcaudit.core.serial import parse_json

NAME = "config.json"
MOST_BYTES = 4_000_000


def read_config(file: Path) -> Mapping[str, Any]:
    """The JSON object in ``config.json`` beside ``file``; empty where there is none that can be read.

    A link out of the folder, a pipe, a large or damaged file count as none: the weights alone are enough to go on.
    """
    beside, folder = file.with_name(NAME), file.parent
    try:
        _, _, size = read_start(beside, folder, lambda first, size: 0)
        if size > MOST_BYTES:
            return {}
        data = parse_json(open_whole(beside, folder).data)
    except AuditError:
        return {}
    return data if isinstance(data, dict) else {}
