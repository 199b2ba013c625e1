"""Which file of a folder is the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lcaudit.checkpoints._files import label_of, read_head
from lcaudit.core.errors import AuditError, EnvironmentFailure, LimitExceeded, MalformedInput
from lcaudit.core.text import one_line

MOST_ENTRIES = 10_000
INDEX_SUFFIX = ".safetensors.index.json"
#: Files that model repositories hold as the same weights in two formats; the first is read.
SAME = ("model.safetensors", "pytorch_model.bin")


def find_checkpoint(folder: Path, is_checkpoint: Callable[[bytes], bool]) -> Path:
    """The one index in ``folder``, else the one file that looks like a checkpoint.

    ``model.safetensors`` stands for a ``pytorch_model.bin`` beside it.

    Args:
        folder: an existing folder; its subfolders are not searched.
        is_checkpoint: first bytes of a file → whether some container claims it.

    Raises:
        MalformedInput: none or several; the message lists what was seen.
        LimitExceeded: too many entries. EnvironmentFailure: the folder cannot be read.
    """
    label = label_of(folder.resolve())
    entries = _entries(label, folder)
    indices = [path for path in entries if path.name.endswith(INDEX_SUFFIX)]
    found = indices or [path for path in entries if _claims(path, folder, is_checkpoint)]
    if len(found) == 1 or tuple(path.name for path in found) == SAME:
        return found[0]
    if found:
        raise MalformedInput(
            f"{label}: holds {len(found)} checkpoints: {one_line([path.name for path in found])}; expected one",
            "name one of the files instead of the folder",
        )
    seen = f"it has {one_line([path.name for path in entries])}" if entries else "it is empty"
    raise MalformedInput(
        f"{label}: no checkpoint in this folder; {seen}", "name the file or folder that holds the weights"
    )


def _entries(label: str, folder: Path) -> list[Path]:
    entries = []
    try:
        for path in folder.iterdir():
            entries.append(path)
            if len(entries) > MOST_ENTRIES:
                raise LimitExceeded(f"{label}: more than {MOST_ENTRIES:,} entries", "name the checkpoint file itself")
    except OSError as error:
        raise EnvironmentFailure(
            f"{label}: cannot be listed: {error.strerror or type(error).__name__}", "check the folder's permissions"
        ) from None
    return sorted(entries)


def _claims(path: Path, folder: Path, is_checkpoint: Callable[[bytes], bool]) -> bool:
    try:
        return is_checkpoint(read_head(path, folder))
    except AuditError:
        return False  # a subfolder, a pipe, a link to elsewhere: listed as seen, never a checkpoint
