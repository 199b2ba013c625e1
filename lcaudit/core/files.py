"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lcaudit.core.errors import EnvironmentFailure
from lcaudit.core.text import display_name


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``path`` holds either its old content or all of the new one.

    Raises:
        EnvironmentFailure: the folder cannot be made or written, or the disk is full; nothing was left.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EnvironmentFailure(
            f"cannot write {display_name(path)}: {reason}; nothing was written", "choose another place with --output"
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
