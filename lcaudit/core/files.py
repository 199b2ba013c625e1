"""Reading regular files only; writing whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from lcaudit.core.errors import EnvironmentFailure, LimitExceeded, MalformedInput
from lcaudit.core.text import display_name

#: Names of what the shell connected: opened and written, never replaced by a file.
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_ELSEWHERE = "choose another place for it"


def read_regular(path: Path, most: int) -> bytes:
    """All bytes of a regular file; a FIFO or a device is refused instead of waited for.

    Args:
        most: largest size in bytes.

    Raises:
        MalformedInput: absent, a folder, not a regular file, or unreadable. LimitExceeded: larger than ``most``.
    """
    shown = display_name(path)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise MalformedInput(f"{shown}: not a regular file")
            data = stream.read(most + 1)
    except OSError as error:
        raise MalformedInput(f"{shown}: {_reason(error)}") from None
    except ValueError:
        raise MalformedInput(f"{shown}: not a possible file name") from None
    if len(data) > most:
        raise LimitExceeded(f"{shown}: larger than {most:,} bytes")
    return data


def check_writable(path: Path) -> None:
    """Find out before hours of work whether ``path`` could be written, by making something beside it and removing it.

    Raises:
        EnvironmentFailure: it is a folder, its parent is none, or the system does not let anything be made there.
    """
    try:
        reason = _obstacle(path)
    except (OSError, ValueError) as error:
        reason = _reason(error)
    if reason:
        raise EnvironmentFailure(f"cannot write {display_name(path)}: {reason}; nothing was written", _ELSEWHERE)


def _obstacle(path: Path) -> str:
    """Why ``path`` cannot be written, or ``""``; permissions alone say too little (root, read-only file systems)."""
    if path.is_dir():
        return "it is a folder"
    if _is_stream(path):
        known = path.exists()
        return "" if known and os.access(path, os.W_OK) else "permission denied" if known else "no such device"
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        nowhere = folder.is_symlink() and not folder.exists()
        return f"{display_name(folder)} is " + ("a link that leads nowhere" if nowhere else "not a folder")
    trial = folder / f".{secrets.token_hex(8)}.part"
    if folder == path.parent:
        trial.touch(exist_ok=False)
        trial.unlink()
    else:
        trial.mkdir()
        trial.rmdir()
    return ""


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``path`` holds either its old content or all of the new one.

    Raises:
        EnvironmentFailure: the folder cannot be made or written, or the disk is full; nothing was left.
    """
    write_together([(path, text)])


def write_together(files: Sequence[tuple[Path, str | bytes]]) -> None:
    """Write several files (text as UTF-8), each whole or not at all; on failure or interruption all are as before.

    Every one is written under a temporary name first, so that only renaming is left when the first
    appears. A link is replaced, not followed; a device or a pipe is written to.

    Raises:
        EnvironmentFailure: as :func:`write_whole`.
    """
    waiting: list[tuple[Path, Path]] = []
    made: list[Path] = []
    path, left = Path(), "nothing was written"
    try:
        for path, text in files:
            if not _is_stream(path):
                _make_folder(path.parent, made)
                if path.is_dir():
                    raise IsADirectoryError(0, "it is a folder")
                temporary = path.with_name(f".{secrets.token_hex(8)}.part")
                waiting.append((temporary, path))
                _write(temporary, "xb", text)
        for path, text in files:
            if _is_stream(path):
                _write(path, "wb", text)
        while waiting:
            temporary, path = waiting[0]
            temporary.replace(path)
            waiting.pop(0)
            left = "the files before it were written"
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(f"cannot write {display_name(path)}: {_reason(error)}; {left}", _ELSEWHERE) from None
    finally:
        for temporary, _ in waiting:
            with contextlib.suppress(OSError):  # it was never made
                temporary.unlink()
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # not empty: it holds what was written
                folder.rmdir()


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        made.append(one)
        one.mkdir(exist_ok=True)


def _write(path: Path, mode: str, text: str | bytes) -> None:
    with path.open(mode) as stream:
        stream.write(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
        stream.flush()
        if mode == "xb":  # pipes and devices cannot be synchronised
            os.fsync(stream.fileno())


def _is_stream(path: Path) -> bool:
    if os.path.abspath(path).startswith(_STREAMS):  # noqa: PTH100  links must stay links: /dev/stdout is one
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
