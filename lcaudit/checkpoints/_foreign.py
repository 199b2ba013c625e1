"""Naming what is not a checkpoint, so that the message says what the file is instead."""

from __future__ import annotations

from lcaudit.checkpoints._pickle_names import named_globals
from lcaudit.core.errors import AuditError, MalformedInput, UnsafeCheckpoint
from lcaudit.core.text import one_line

_SAVE_AGAIN = "save the weights with safetensors.torch.save_file or torch.save(model.state_dict(), ...)"
_DOWNLOAD = "download the file again"
_LOOK = "name a .safetensors, .pt, .pth, .ckpt, .bin or .th file that holds the weights"

# (first bytes, what that is, what to do)
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"\x89PNG", "a PNG image", _LOOK),
    (b"\xff\xd8\xff", "a JPEG image", _LOOK),
    (b"GIF8", "a GIF image", _LOOK),
    (b"%PDF", "a PDF document", _LOOK),
    (b"\x1f\x8b", "gzip data", "unpack it first: `gunzip FILE`"),
    (b"BZh", "bzip2 data", "unpack it first: `bunzip2 FILE`"),
    (b"\xfd7zXZ", "xz data", "unpack it first: `unxz FILE`"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it first: `unzstd FILE`"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file, perhaps from Keras", "export the weights from PyTorch"),
    (b"\x93NUMPY", "a NumPy array", _LOOK),
    (b"GGUF", "a GGUF file", "audit the original PyTorch or safetensors weights"),
    (b"PAR1", "a Parquet file", _LOOK),
    (b"\x7fELF", "a program", _LOOK),
    (b"PK\x05\x06", "an empty zip archive", _DOWNLOAD),
    (b"PK", "a zip archive, but not one that torch.save wrote (perhaps a NumPy .npz)", _LOOK),
)


def is_known_stranger(head: bytes) -> bool:
    """Whether the first bytes belong to some well-known format that holds no weights."""
    return head.startswith(tuple(magic for magic, _, _ in _MAGIC)) or _is_tar(head) or _is_pickle(head)


def name_stranger(label: str, head: bytes) -> AuditError:
    """The error for a file that no container claimed.

    Args:
        label: printable name of the file.
        head: its first bytes.
    """
    if not head:
        return MalformedInput(f"{label}: not a checkpoint: the file is empty", _DOWNLOAD)
    if not head.strip(b"\0"):
        return MalformedInput(f"{label}: not a checkpoint: it begins with zeros, perhaps a failed download", _DOWNLOAD)
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return MalformedInput(f"{label}: not a checkpoint: {what}", hint)
    if _is_tar(head):
        return UnsafeCheckpoint(
            f"{label}: a tar archive; checkpoints of this kind (torch 0.1) cannot be read without running code",
            _SAVE_AGAIN,
        )
    if _is_pickle(head):
        named = named_globals(head)
        needs = f" that needs {one_line(named)}" if named else ""
        return UnsafeCheckpoint(
            f"{label}: a plain Python pickle{needs}, not a torch checkpoint; lcaudit does not run code from files",
            _SAVE_AGAIN,
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return MalformedInput(f"{label}: not a checkpoint: an HTML page, perhaps a failed download", _DOWNLOAD)
    if text.startswith((b"<?xml", b"<")):
        return MalformedInput(f"{label}: not a checkpoint: an XML document", _LOOK)
    if text.startswith((b"{", b"[")):
        return MalformedInput(f"{label}: not a checkpoint: JSON text", _LOOK)
    if _is_text(head):
        return MalformedInput(f"{label}: not a checkpoint: a text file", _LOOK)
    return MalformedInput(f"{label}: not a checkpoint: neither safetensors nor a file that torch.save wrote", _LOOK)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head) and head.isascii()
