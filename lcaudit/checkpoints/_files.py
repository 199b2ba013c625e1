"""Opening files that somebody else arranged: regular files only, read once, never outside the folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lcaudit.core.errors import (
    AuditError,
    EnvironmentFailure,
    LimitExceeded,
    MalformedInput,
    UnsafeCheckpoint,
    UsageError,
)
from lcaudit.core.hub_address import what_else
from lcaudit.core.measurements import FileRecord
from lcaudit.core.text import display_name

#: Bytes that are enough to tell every container and every well-known stranger.
HEAD = 4096
#: A file is held in memory once as bytes and once as tensors, and the network comes on top.
SHARE_OF_MEMORY = 0.4

_HASH = re.compile(r"[0-9a-f]{64}")

# Absent on Windows, where none of the things they guard against exists.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file in memory: checks, hash and reader all see the same bytes.

    Attributes:
        path: where it was found. label: its base name, safe to print.
        data: all of its bytes. record: base name, size, SHA-256.
    """

    path: Path
    label: str
    data: bytes
    record: FileRecord


def label_of(path: Path) -> str:
    """The base name of ``path``, safe to print and short enough for one line."""
    return display_name(path.name or path, 100)


def open_whole(path: Path, folder: Path | None = None) -> OpenedFile:
    """Read a file once.

    Args:
        path: the file; a link that the user named is followed.
        folder: when the file was found in a folder rather than named: it must lie inside it.

    Raises:
        UsageError: there is no such file.
        UnsafeCheckpoint: a link that leads outside the folder.
        MalformedInput: not a regular file, or it changed while it was read.
        LimitExceeded: larger than this machine's memory allows.
        EnvironmentFailure: it cannot be read.
    """
    label = label_of(path)
    handle = _open(path, folder)
    try:
        before = os.fstat(handle)
        _refuse_too_large(label, before.st_size)
        with os.fdopen(handle, "rb", closefd=False) as stream:
            data = stream.read(before.st_size + 1)
        after = os.fstat(handle)
    except MemoryError:
        raise EnvironmentFailure(
            f"{label}: not enough memory to read {before.st_size:,} bytes",
            "close other programs or use a larger machine",
        ) from None
    except OSError as error:
        raise _cannot_read(path, error, folder) from None
    finally:
        os.close(handle)
    if len(data) != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise MalformedInput(f"{label}: changed while it was read", "wait until it is written, then try again")
    digest = hashlib.sha256(data).hexdigest()
    return OpenedFile(path, label, data, FileRecord(path.name, len(data), digest))


def read_head(path: Path, folder: Path | None = None) -> bytes:
    """The first ``HEAD`` bytes. Raises as :func:`open_whole`."""
    handle = _open(path, folder)
    try:
        return os.read(handle, HEAD)
    except OSError as error:
        raise _cannot_read(path, error, folder) from None
    finally:
        os.close(handle)


def read_start(path: Path, folder: Path | None, wanted: Callable[[bytes, int], int]) -> tuple[str, bytes, int]:
    """(label, the first bytes, size of the file) without reading the rest. Raises as :func:`open_whole`.

    Args:
        wanted: (first eight bytes, size of the file) → how many bytes to read in all.
    """
    label = label_of(path)
    handle = _open(path, folder)
    try:
        size = os.fstat(handle).st_size
        with os.fdopen(handle, "rb", closefd=False) as stream:
            start = stream.read(8)
            return label, start + stream.read(max(0, wanted(start, size) - len(start))), size
    except OSError as error:
        raise _cannot_read(path, error, folder) from None
    finally:
        os.close(handle)


def _open(path: Path, folder: Path | None) -> int:
    label = label_of(path)
    try:
        target = path.resolve(strict=True)
        if folder is not None and not _belongs(target, folder):
            raise UnsafeCheckpoint(
                f"{label}: a link that leads outside its folder", "put the file itself there, or name it directly"
            )
        # Blocking opens of a FIFO, and links swapped in since resolve(), end here instead of hanging.
        handle = os.open(target, _FLAGS)
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error, folder) from None
    except RuntimeError:  # Python 3.11 and 3.12 say this of links in a circle
        raise UsageError(f"{label}: a link that leads back to itself", "check the path") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MalformedInput(f"{label}: not a regular file", "name a checkpoint file or the folder it is in")
    return handle


def _belongs(target: Path, folder: Path) -> bool:
    """Inside ``folder``, or where the Hub's cache keeps what ``snapshots/<commit>/`` links to: the repository's own
    ``blobs``, or those that all repositories share, by the beginning of their hash."""
    root = folder.resolve()
    if target.is_relative_to(root):
        return True
    repository = next((parent.parent for parent in (root, *root.parents) if parent.name == "snapshots"), None)
    if repository is None:
        return False
    shared = repository.parent / "blobs" / target.name[:2] / target.name
    return target.parent == repository / "blobs" or (target == shared and bool(_HASH.fullmatch(target.name)))


def _refuse_too_large(label: str, size: int) -> None:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if size > memory * SHARE_OF_MEMORY:
        raise LimitExceeded(
            f"{label}: {size / 1e9:,.1f} GB, more than can be audited with {memory / 1e9:,.1f} GB of memory",
            "use a machine with more memory",
        )


def _cannot_read(path: Path, error: OSError | ValueError, folder: Path | None) -> AuditError:
    label = label_of(path)
    if isinstance(error, ValueError):
        return UsageError(f"{label}: not a possible file name", "check the path")
    reason = error.strerror or type(error).__name__
    if isinstance(error, FileNotFoundError) and folder is not None:
        return MalformedInput(f"{label}: this file is missing from the folder", "download the whole folder again")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return UsageError(f"{display_name(path)}: no such file or folder", what_else(str(path)))
    return EnvironmentFailure(f"{label}: cannot be read: {reason}", "check the path and its permissions")
