"""Opening files without hanging on what is not a file, and what a file's name says."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from lcaudit.core.errors import EnvironmentFailure, LimitExceeded, ProbeUnavailable
from lcaudit.core.text import display_name

#: Most bytes that one array of a probe may take in memory.
MOST_BYTES = 4 * 2**30

_SPLITS = {"test": "test", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}


def open_regular(path: Path) -> BinaryIO:
    """Open ``path`` for reading; a FIFO, a socket or a device is refused without waiting for it.

    Raises:
        ProbeUnavailable: there is no such file, or it is not a regular file.
        EnvironmentFailure: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise ProbeUnavailable(f"{display_name(path)}: no such file", "check the path given to --data") from None
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot read {display_name(path)}: {error.strerror or type(error).__name__}", "check its permissions"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ProbeUnavailable(
            f"{display_name(path)} is not a regular file", "pass a file, or a folder of images, to --data"
        )
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a regular file of at most ``most`` bytes.

    Raises:
        LimitExceeded: it is larger.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise LimitExceeded(
                f"{display_name(path.name)} takes {size:,} bytes, the cap is {most:,}", "use a smaller file"
            )
        return stream.read(size)  # a buffer of the file's size, not of the cap's


def named_split(name: str) -> str:
    """``test``, ``train`` or ``val`` if one word of a file or folder name says so, else ``unknown``."""
    words = re.split(r"[^a-z]+", Path(name).name.lower())
    found = {_SPLITS[word] for word in words if word in _SPLITS}
    return found.pop() if len(found) == 1 else "unknown"


def named_after(pattern: str, name: str) -> bool:
    """Whether a file or folder name holds ``pattern`` as a word of its own: cifar100 is not cifar10."""
    return re.search(rf"(?<![a-z0-9])(?:{pattern})(?!\.?[0-9])", name.lower()) is not None
