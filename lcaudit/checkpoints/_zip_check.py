"""A zip as torch.save writes it, and nothing a zip could be besides.

Python's reader and torch's (miniz) differ on odd archives: which of two members of one name they take,
what stands before the first header, whether checksums count. So an archive is accepted only where no
two readers can differ: stored, in one piece, every name once, no overlap, both headers alike, checksums right.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import display_name

MOST_MEMBERS = 100_000
_AGAIN = "download the file again, or save it again"
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")
# Encrypted, patched, strongly encrypted, masked headers.
_FORBIDDEN_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000


def listed(data: bytes) -> list[str]:
    """Names of the members as the directory has them, unchecked: for messages only. None without a directory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, IndexError, OverflowError):
        return []


def members(label: str, data: bytes) -> dict[str, memoryview]:
    """Every member's bytes by full name.

    Raises:
        MalformedInput: anything but a plain stored archive. LimitExceeded: too many members.
    """
    entries, end = _directory(label, data)
    view = memoryview(data)
    found: dict[str, memoryview] = {}
    folded: set[str] = set()
    position = 0
    for entry in entries:
        name = _name(label, entry, folded)
        shown = display_name(name, 80)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise MalformedInput(f"{label}: member {shown} is compressed; torch stores members as they are", _AGAIN)
        if entry.flag_bits & _FORBIDDEN_FLAGS:
            raise MalformedInput(f"{label}: member {shown} is encrypted", "decrypt the file first")
        start = _start(label, shown, data, entry)
        if entry.header_offset < position or start + entry.file_size > end:
            raise MalformedInput(f"{label}: member {shown} overlaps another or ends beyond the file", _AGAIN)
        position = start + entry.file_size
        found[name] = view[start:position]
        if zlib.crc32(found[name]) != entry.CRC:
            raise MalformedInput(f"{label}: data is corrupt: CRC of member {shown}", _AGAIN)
    return found


def _directory(label: str, data: bytes) -> tuple[list[zipfile.ZipInfo], int]:
    """Central directory in order of the members' offsets, and where it begins."""
    if len(data) < _END.size or not data.startswith(b"PK\x03\x04"):
        raise MalformedInput(f"{label}: truncated zip archive", _AGAIN)
    signature, disk, first_disk, here, promised, _, offset, comment = _END.unpack(data[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise MalformedInput(f"{label}: truncated zip archive, or bytes after its end", _AGAIN)
    if disk or first_disk or here != promised:
        raise MalformedInput(f"{label}: a zip archive in several parts", _AGAIN)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            before = archive.start_dir
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, IndexError, OverflowError):
        raise MalformedInput(f"{label}: damaged zip archive", _AGAIN) from None
    if len(entries) > MOST_MEMBERS:
        raise LimitExceeded(f"{label}: {len(entries):,} members, at most {MOST_MEMBERS:,} are read", _AGAIN)
    if promised not in (len(entries), 0xFFFF) or not entries or entries[0].header_offset != 0:
        raise MalformedInput(f"{label}: damaged zip archive: its directory does not match", _AGAIN)
    if offset not in (before, 0xFFFFFFFF):
        raise MalformedInput(f"{label}: damaged zip archive: its directory does not match", _AGAIN)
    return entries, before


def _name(label: str, entry: zipfile.ZipInfo, folded: set[str]) -> str:
    name = entry.orig_filename
    parts = name.split("/")
    if "\0" in name or "\\" in name or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise MalformedInput(f"{label}: member with an impossible name: {display_name(name, 80)!r}", _AGAIN)
    if name.casefold() in folded:
        raise MalformedInput(f"{label}: member {display_name(name, 80)} appears twice", _AGAIN)
    folded.add(name.casefold())
    return name


def _start(label: str, shown: str, data: bytes, entry: zipfile.ZipInfo) -> int:
    """Where the member's bytes begin, once its local header agrees with the directory."""
    local = data[entry.header_offset : entry.header_offset + _LOCAL.size]
    fault = MalformedInput(f"{label}: member {shown}: its two headers differ", _AGAIN)
    if len(local) != _LOCAL.size:
        raise fault
    signature, _, flags, method, _, _, _, size, _, name_length, extra_length = _LOCAL.unpack(local)
    begin = entry.header_offset + _LOCAL.size
    written = data[begin : begin + name_length]
    expected = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437", "replace")
    # Sizes follow the data (bit 3), or stand in the zip64 extra field (all ones).
    sizes = (entry.compress_size, 0xFFFFFFFF, 0) if flags & 0x8 else (entry.compress_size, 0xFFFFFFFF)
    if signature != b"PK\x03\x04" or flags != entry.flag_bits or method or size not in sizes or written != expected:
        raise fault
    return begin + name_length + extra_length
