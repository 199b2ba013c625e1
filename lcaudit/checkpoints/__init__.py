"""What file is this: opening a checkpoint without running anything in it.

One plugin file per container, each defining ``CONTAINER``; files that begin with an underscore are
shared. A file is told by its content, never by its suffix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lcaudit.checkpoints import _adapter
from lcaudit.checkpoints._beside import with_files_beside
from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import HEAD, label_of, open_whole, read_head
from lcaudit.checkpoints._folder import find_checkpoint
from lcaudit.checkpoints._foreign import name_stranger
from lcaudit.checkpoints._header import Header, Stored, read_hub_header, read_safetensors_header
from lcaudit.checkpoints._hub import fetch_checkpoint, find_on_hub
from lcaudit.checkpoints._keys import named_tensors
from lcaudit.checkpoints._written import written
from lcaudit.core import hub, plugins
from lcaudit.core.declared import PREFIX
from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.hub_address import HubRecord
from lcaudit.core.measurements import CheckpointRecord, FileRecord
from lcaudit.core.text import count, one_line
from lcaudit.core.types import Checkpoint

if TYPE_CHECKING:  # headers are read without torch
    import torch

__all__ = ["Header", "open_checkpoint", "read_header", "with_base", "written"]


def open_checkpoint(
    given: str | Path,
    *,
    max_download: int | str = hub.MOST,
    progress: hub.Progress = lambda stage, done, total: None,
) -> Checkpoint:
    """Open a safetensors file, an index of several, a file of ``torch.save`` or ``torch.export.save``, or
    a folder with one of them.

    Args:
        given: file or folder. A link that the user names is followed; one found in a folder must stay
            in it (or lead into the Hub cache's own ``blobs``). Or, where nothing here has that name, a repository of
            the Hub: ``ns/name[@revision]``, ``hf:ns/name``, or the address of its page.
        max_download: bytes, or a size such as ``10GB``, that may be downloaded for it.

    Returns:
        Tensors sorted by key (code points), whatever the order in the file: dense, contiguous, on the
        CPU, in the stored dtype. Every nesting and prefix that was undone is one sentence of
        ``record.unwrapped``.

    Raises:
        UsageError: there is no such file. UnsafeCheckpoint: loading it would run code.
        MalformedInput: damaged, or no checkpoint. LimitExceeded: beyond a cap. EnvironmentFailure: it cannot be read.
        HubUnavailable, HubUnreachable: the Hub does not give it.
    """
    fetched = fetch_checkpoint(given, hub.size(max_download), progress)
    if fetched is not None:
        contents, container = _read(fetched.file, fetched.folder)
        return with_files_beside(_checkpoint(fetched.name, container, contents, fetched.record), fetched.file)
    path = Path(given)
    folder = path if _is_folder(path) else None
    file = path
    if folder is not None:
        file = find_checkpoint(folder, lambda head: _container_of(head) is not None)
    contents, container = _read(file, folder)
    name = path.name if path.name not in ("", "..") else path.resolve().name
    return with_files_beside(_checkpoint(name, container, contents), file)


def with_base(
    checkpoint: Checkpoint,
    base: str | Path | None,
    *,
    max_download: int | str = hub.MOST,
    progress: hub.Progress = lambda stage, done, total: None,
) -> Checkpoint:
    """The same, or, for a LoRA adapter, the weights that it was trained on with it merged into them.

    Args:
        base: what :func:`open_checkpoint` takes; ``None`` for the repository that the adapter names, if it came from
            the Hub itself.

    Raises:
        UsageError: a base for something that is no adapter, or none for one. AuditError: as :func:`open_checkpoint`.
    """
    if not _adapter.is_adapter(checkpoint):
        if base is not None:
            raise UsageError(f"{checkpoint.record.name} is no LoRA adapter, so it has no --base", "leave --base out")
        return checkpoint
    adapter = _adapter.read(checkpoint.beside.get(_adapter.NAME, {}))
    place = _adapter.base_of(checkpoint, adapter) if base is None else base
    return _adapter.merge(checkpoint, adapter, open_checkpoint(place, max_download=max_download, progress=progress))


def _read(file: Path, folder: Path | None) -> tuple[Contents, str]:
    """(what one file holds, name of its container). ``folder``: what it was found in."""
    head = read_head(file, folder)
    container = _container_of(head)
    if container is None:
        raise name_stranger(label_of(file), head)
    opened = open_whole(file, folder)
    if not container.sniff(opened.data[:HEAD]):
        raise MalformedInput(f"{opened.label}: changed while it was read", "wait until it is written, then try again")
    return container.read(opened), container.name


def read_header(
    given: str | Path,
    *,
    max_download: int | str = hub.MOST,
    progress: hub.Progress = lambda stage, done, total: None,
) -> Header:
    """Names, shapes and types of the tensors. Arguments as of :func:`open_checkpoint`.

    Of safetensors nothing but headers is read, here or on the Hub, without torch and whatever the size; other files
    are opened whole.

    Raises:
        AuditError: as :func:`open_checkpoint`.
    """
    found = find_on_hub(given)
    header = read_hub_header(found, hub.size(max_download), progress) if found else read_safetensors_header(Path(given))
    if header:
        return header
    opened = open_checkpoint(given, max_download=max_download, progress=progress)
    tensors = {
        key: Stored(str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for key, value in opened.tensors.items()
    }
    record = opened.record
    size = sum(file.size for file in record.files)
    return Header(
        record.name, record.container, size, tensors, record.unwrapped, opened.config, opened.texts, opened.program
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # opening it gives the reason


def _container_of(head: bytes) -> Container | None:
    containers: tuple[Container, ...] = plugins.load_all("lcaudit.checkpoints", "CONTAINER")
    return next((container for container in containers if container.sniff(head)), None)


def _checkpoint(name: str, container: str, contents: Contents, source: HubRecord | None = None) -> Checkpoint:
    from lcaudit.checkpoints._accuracy import recorded_accuracy
    from lcaudit.checkpoints._nesting import find_state_dict
    from lcaudit.checkpoints._tensors import non_finite, plain_tensors

    label = label_of(Path(name))
    state, places, steps = find_state_dict(label, contents.tree)
    if contents.program:  # its graph names them as they are
        tensors, renamed = dict(sorted(state.items())), []
    else:
        tensors, renamed = named_tensors(label, _with_aliases(state, contents.texts, steps))
    plain = plain_tensors(label, tensors, sum(file.size for file in contents.files))
    record = CheckpointRecord(
        name=name,
        container=container,
        sha256=_digest(contents.files),
        files=contents.files,
        unwrapped=(*steps, *renamed),
        recorded=recorded_accuracy([*places, contents.texts]),
        hub=source,
    )
    return Checkpoint(record, plain, non_finite(plain), contents.texts, program=contents.program)


def _with_aliases(
    state: Mapping[str, torch.Tensor], texts: Mapping[str, str], steps: list[str]
) -> Mapping[str, torch.Tensor]:
    """Tied weights are stored once in safetensors, the other names as metadata ``{alias: name}``."""
    aliases = {
        alias: name
        for alias, name in texts.items()
        if name in state and alias not in state and "." in alias and not alias.startswith(PREFIX)
    }
    if not aliases:
        return state
    steps.append(f"restored {count(len(aliases), 'tied name')} from the metadata: {one_line(sorted(aliases))}")
    return {**state, **{alias: state[name] for alias, name in aliases.items()}}


def _digest(files: tuple[FileRecord, ...]) -> str:
    """Of the one file, or of the sorted lines ``sha256  name`` of several."""
    if len(files) == 1:
        return files[0].sha256
    lines = sorted(f"{file.sha256}  {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
