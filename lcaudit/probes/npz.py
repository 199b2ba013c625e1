"""An ``.npz`` file with the arrays ``images`` (or ``x``, ``input_ids``, …) and ``labels`` (or ``y``, ``targets``, …).

Only these members are read. Members must be stored or deflated, not encrypted, named once, and exactly
as long as their own header says; a member that swells more than 200-fold beyond 64 MiB is refused.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import display_name
from lcaudit.probes._arrays import from_container
from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._files import MOST_BYTES, open_regular
from lcaudit.probes._npy import read

_MOST_MEMBERS = 10_000
_MOST_RATIO = 200
_ALWAYS_ALLOWED = 64 * 2**20


def open_npz(path: Path, split: str | None) -> Samples:
    """Samples of an ``.npz`` file.

    Raises:
        MalformedInput, LimitExceeded, UnsafeCheckpoint: what is wrong with the archive or an array.
        ProbeUnavailable: arrays are missing or cannot be used.
    """
    shown = display_name(path.name)
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive, shown)
                return from_container(members, lambda key: _array(archive, members[key], shown), path, split)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            raise MalformedInput(
                f"{shown}: the zip archive is damaged or truncated ({display_name(error, 80)})", "write the file again"
            ) from None


def _members(archive: zipfile.ZipFile, shown: str) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise LimitExceeded(f"{shown} has {len(infos):,} members, the cap is {_MOST_MEMBERS:,}", "keep only two arrays")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len({key.casefold() for key in members}) != len(infos):
        raise MalformedInput(f"{shown}: a member's name appears twice", "save the arrays under different names")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: str) -> np.ndarray:
    shown = f"{display_name(info.filename)} of {file}"
    if info.flag_bits & 1:
        raise MalformedInput(f"member {shown} is encrypted", "save the arrays without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedInput(f"member {shown} is compressed in an unusual way", "save it with numpy.savez_compressed")
    swollen = info.file_size > _ALWAYS_ALLOWED and info.file_size > _MOST_RATIO * info.compress_size
    if info.file_size > MOST_BYTES or swollen:
        raise LimitExceeded(
            f"member {shown} swells from {info.compress_size:,} to {info.file_size:,} bytes", "save it with numpy.savez"
        )
    with archive.open(info) as member:
        array = read(member, info.file_size, shown)
        member.read(1)  # reaching the end is what makes zipfile compare the checksum
        return array


SOURCE = Source(
    title="an .npz file of images or input_ids, and labels",
    accepts=lambda path, start: start.startswith((b"PK\x03\x04", b"PK\x05\x06")),
    open=open_npz,
)
