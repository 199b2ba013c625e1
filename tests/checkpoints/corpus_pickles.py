"""Hostile pickles in both torch containers, and hostile zip archives."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import torch
from corpus_parts import (
    MAGIC,
    SENTINEL,
    Case,
    archive,
    call,
    glob,
    legacy,
    number,
    pickled,
    saved,
    state,
    storage,
    tensor,
    text,
    written,
)

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, UnsafeCheckpoint

_COMMAND = text(f"touch {SENTINEL}")
_ONE = tensor(storage())
_GOOD = state(w=_ONE)
_GOOD_ARCHIVE = archive(_GOOD, {"data/0": b"\0" * 4})
_NUMBERS = b"\x01\0\0\0\0\0\0\0" + b"\0" * 4
_LEGACY_ONE = tensor(storage(view=b"N"))
_GOOD_LEGACY = legacy(state(w=_LEGACY_ONE), b"](" + text("0") + b"e", _NUMBERS)


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {SENTINEL}",)


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)


# What a payload would call, and the name that the message must give.
_PAYLOADS = {
    "posix.system": call("posix.system", _COMMAND),
    "os.system": call("os.system", _COMMAND),
    "io.open": call("io.open", text(SENTINEL), text("w")),
    "subprocess.Popen": call("subprocess.Popen", _COMMAND),
    "builtins.eval": call("builtins.eval", text(f"open('{SENTINEL}', 'w')")),
    "builtins.exec": call("__builtin__.exec", text(f"open('{SENTINEL}', 'w')")),
    "builtins.getattr": call("builtins.getattr", glob("torch._utils"), text("os")),
    "torch.serialization.load": call("torch.serialization.load", text("other.pt")),
    "torch.hub.load": call("torch.hub.load", text("evil/repository"), text("model")),
    "builtins.bytearray": call("builtins.bytearray", number(2**31)),
    "torch.Tensor": call("torch.Tensor", number(40_000), number(40_000)),
    "torch.FloatTensor": call("torch.FloatTensor", number(10**9)),
    "numpy._core.multiarray._reconstruct": call("numpy._core.multiarray._reconstruct", glob("numpy.ndarray")),
    "numpy.ndarray": glob("numpy.ndarray") + b")\x81",
    "collections.defaultdict": call("collections.defaultdict", glob("builtins.list")),
    "pytorch_lightning.core.saving._instantiator": glob("pytorch_lightning.core.saving._instantiator"),
}


# Forms of what scripts keep beside weights that pickle never writes, or with something else inside.
_NAMESPACE, _SCALAR = glob("argparse.Namespace"), "numpy.core.multiarray.scalar"
_F8 = call("numpy.dtype", text("f8"), b"\x89", b"\x88")
_BESIDE = {
    "a Namespace made by a call": (call("argparse.Namespace", _COMMAND), "a Namespace made by a call"),
    "a Namespace of arguments": (_NAMESPACE + _COMMAND + b"\x85\x81", "a Namespace made of arguments"),
    "a Namespace whose state is a pair": (_NAMESPACE + b")\x81N}\x86b", "a Namespace with a state"),
    "a Namespace as a list": (_NAMESPACE + b")\x81K\x01a", "items appended"),
    "a Namespace as a dict": (_NAMESPACE + b")\x81" + text("a") + b"K\x01s", "items set on"),
    "a Namespace as a key": (b"}" + _NAMESPACE + b")\x81K\x01s", "a dict key that is neither"),
    "a number of a bare dtype": (call(_SCALAR, glob("numpy.dtype"), b"N"), "a NumPy number that is not written"),
    "a number that is an object": (call(_SCALAR, _F8, _NAMESPACE + b")\x81"), "a NumPy number that is not written"),
    "a number without a dtype": (call(_SCALAR), "a NumPy number that is not written"),
    "a dtype of objects": (call("numpy.dtype", text("O8"), b"\x89", b"\x88"), "a NumPy dtype of something other"),
    "a dtype of fields": (call("numpy.dtype", b"]", b"\x89", b"\x88"), "a NumPy dtype of something other"),
    "a dtype with a strange state": (_F8 + b"}b", "a dtype with a state"),
    "a dtype made without a call": (glob("numpy.dtype") + text("f8") + b"\x85\x81", "an object made in a way"),
    "a path of numbers": (call("pathlib.PosixPath", number(1)), "a path of something other than texts"),
    "a path with a state": (call("pathlib.PosixPath", text("a")) + b"}b", "a path with a state"),
}


def _zip(name: str, data: bytes, says: str, error: type[AuditError] = MalformedInput) -> Case:
    return Case(f"zip: {name}", written("model.pt", data), error, says)


def _old(name: str, data: bytes, says: str, error: type[AuditError] = MalformedInput) -> Case:
    return Case(f"legacy: {name}", written("model.th", data), error, says)


def _pickle(name: str, pickle: bytes, says: str, error: type[AuditError] = MalformedInput) -> Case:
    return _zip(name, archive(pickle, {"data/0": b"\0" * 4}), says, error)


def _deep_tuple() -> bytes:
    return pickled(b"})" + b"\x85" * 2000 + b"K\x01s")


def _rezipped(**options: int) -> bytes:
    """The good archive with its members written again in another way."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_GOOD_ARCHIVE)) as old, zipfile.ZipFile(buffer, "w", **options) as new:  # type: ignore[call-overload]
        for info in old.infolist():
            new.writestr(info.filename, old.read(info.filename))
    return buffer.getvalue()


def _with_members(*names: str) -> bytes:
    buffer = io.BytesIO(_GOOD_ARCHIVE)
    with zipfile.ZipFile(buffer, "a") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), b"\0" * 4)
    return buffer.getvalue()


def _duplicate(folder: Path) -> Path:
    # zipfile warns when it writes a name twice, so another name of equal length is patched afterwards.
    data = _with_members("archive/data.pkL").replace(b"archive/data.pkL", b"archive/data.pkl")
    return written("model.pt", data)(folder)


def _encrypted() -> bytes:
    data = bytearray(_GOOD_ARCHIVE)
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _flipped() -> bytes:
    data = bytearray(archive(_GOOD, {"data/0": b"\x11\x22\x33\x44"}))
    data[data.index(b"\x11\x22\x33\x44")] ^= 0x80
    return bytes(data)


def _local_name() -> bytes:
    return _GOOD_ARCHIVE.replace(b"archive/data/0", b"archive/data/1", 1)


def _npz(folder: Path) -> Path:
    import numpy as np

    path = folder / "images.npz"
    np.savez(path, images=np.zeros(3))
    return path


CASES = (
    *(
        _pickle(
            f"a Namespace that holds {name}",
            state(x=_NAMESPACE + b")\x81}" + text("a") + payload + b"sb", w=_ONE),
            name,
            UnsafeCheckpoint,
        )
        for name, payload in _PAYLOADS.items()
    ),
    *(_pickle(f"beside weights: {name}", state(x=payload, w=_ONE), says) for name, (payload, says) in _BESIDE.items()),
    *(
        _pickle(f"calls {name}", state(x=payload, w=_ONE), name, UnsafeCheckpoint)
        for name, payload in _PAYLOADS.items()
    ),
    _old("payload in the object", legacy(state(x=_PAYLOADS["posix.system"])), "posix.system", UnsafeCheckpoint),
    _old(
        "payload in the second pickle",
        MAGIC + pickled(_PAYLOADS["posix.system"]) + _GOOD_LEGACY[len(MAGIC) :],
        "posix.system",
        UnsafeCheckpoint,
    ),
    _old(
        "payload in the list of storages",
        legacy(state(w=_LEGACY_ONE), _PAYLOADS["posix.system"], _NUMBERS),
        "posix.system",
        UnsafeCheckpoint,
    ),
    _zip("payload by Python itself", saved({"x": _Command()}), "posix.system", UnsafeCheckpoint),
    _zip("payload in protocol 4", saved({"x": _Command()}, pickle_protocol=4), "posix.system", UnsafeCheckpoint),
    _zip("whole module", saved(_Net()), "torch.nn.Module was pickled (class corpus_pickles._Net)", UnsafeCheckpoint),
    _old(
        "whole module",
        saved(_Net(), _use_new_zipfile_serialization=False),
        "torch.nn.Module was pickled (class corpus_pickles._Net)",
        UnsafeCheckpoint,
    ),
    _pickle("unknown class by NEWOBJ", state(x=glob("evil.Thing") + b")\x81"), "evil.Thing", UnsafeCheckpoint),
    _pickle("class hidden behind INST", pickled(b"(iposix\nsystem\n"), "posix.system", UnsafeCheckpoint),
    _pickle("protocol 4, harmless", b"\x80\x04}.", "pickle protocol other than 2"),
    _pickle("deep tuple as a key", _deep_tuple(), "nested deeper than 100", LimitExceeded),
    _pickle("deep list", pickled(b"]" * 5000 + b"a" * 4999), "nested deeper than 100", LimitExceeded),
    _pickle("deep marks", pickled(b"(" * 5000), "nested deeper than 100", LimitExceeded),
    _pickle("tuple as a key", pickled(b"})K\x01s"), "dict key"),
    _pickle("enormous integer as a key", pickled(b"}" + number(2**400) + b"K\x01s"), "dict key"),
    _pickle("expanded tensor", state(w=tensor(storage(), (10**12,), (0,))), "declares 4.0 TB over 4 B"),
    _pickle("tensor beyond its storage", state(w=tensor(storage(), (1,), (1,), 1)), "reaches beyond its storage"),
    _pickle("negative stride", state(w=tensor(storage(), (1,), (-1,))), "not counts"),
    _pickle("storage longer than its member", state(w=tensor(storage("0", 9), (9,))), "has 4 bytes, expected 36"),
    _pickle("storage without a member", state(w=tensor(storage("7"))), "data/7 is missing"),
    _pickle("storage outside the archive", state(w=tensor(storage("../../x"))), "is missing"),
    _pickle("storage in two ways", state(a=_ONE, b=tensor(storage("0", 2))), "described in two ways"),
    _pickle("storage of negative size", state(a=tensor(storage("0", -1))), "not a count"),
    _pickle("hooks", state(w=_ONE.replace(call("collections.OrderedDict"), b"}" + text("k") + b"Ns")), "hooks"),
    _pickle(
        "methods hidden by attributes",
        pickled(call("collections.OrderedDict"), b"}", text("items"), b"NsbK\x01"),
        "attributes",
    ),
    _pickle("empty pickle", b"", "damaged"),
    _pickle("no STOP", _GOOD[:-1], "damaged at byte"),
    _pickle("stack underflow", pickled(b"R"), "damaged"),
    _pickle("memo that was never put", pickled(b"h\x07"), "damaged"),
    _pickle("string longer than the file", b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
    _pickle("bytes after STOP", _GOOD + b"x", "after the end of data.pkl"),
    _pickle("dict in itself", pickled(b"}q\x00", text("model"), b"h\x00s"), "holds no tensors"),
    _pickle(
        "weights in themselves", pickled(b"}q\x00", text("w"), _ONE, b"s", text("model"), b"h\x00s"), "deeper than 8"
    ),
    _zip("sparse", saved({"w": torch.eye(2).to_sparse()}), "a sparse tensor"),
    _zip("meta", saved({"w": torch.zeros(2, device="meta")}), "a meta tensor"),
    _zip("quantised", archive(state(w=glob("torch._utils._rebuild_qtensor"))), "a quantised tensor"),
    _zip("complex", saved({"w": torch.zeros(2, dtype=torch.complex64)}), "is complex"),
    _zip("one tensor", saved(torch.zeros(2)), "holds one tensor"),
    _zip("a list", saved([torch.zeros(2)]), "holds a list"),
    _zip("a number", saved(3), "holds a int"),
    _zip("nothing", saved({}), "it is empty"),
    _zip("no tensors", saved({"epoch": 3, "lr": 0.1}), "holds no tensors; it has epoch, lr"),
    _zip("integer keys", saved({1: torch.zeros(2), None: torch.zeros(2)}), "saw 1 (int), None (NoneType)"),
    _zip("bytes keys", saved({b"w": torch.zeros(2)}), "(bytes)"),
    _zip("compressed", _rezipped(compression=zipfile.ZIP_DEFLATED), "is compressed"),
    Case("zip: duplicate member", _duplicate, MalformedInput, "appears twice"),
    _zip("twin in other case", _with_members("archive/DATA/0"), "appears twice"),
    _zip("parent folder in a name", _with_members("archive/../x"), "impossible name"),
    _zip("absolute name", _with_members("/etc/passwd"), "impossible name"),
    _zip("backslash in a name", _with_members("archive\\x"), "impossible name"),
    _zip("two top folders", _with_members("other/data/0"), "not one that torch.save wrote"),
    _zip("unexpected member", _with_members("archive/run.py"), "unexpected member run.py"),
    _zip("encrypted", _encrypted(), "encrypted"),
    _zip("flipped bit", _flipped(), "CRC of member archive/data/0"),
    _zip("headers differ", _local_name(), "two headers differ"),
    _zip("truncated", _GOOD_ARCHIVE[:-30], "truncated zip archive"),
    _zip("bytes after the end", _GOOD_ARCHIVE + b"x", "bytes after its end"),
    _zip("bytes before the start", b"PK\x03\x04" + _GOOD_ARCHIVE, "its directory does not match"),
    _zip("TorchScript", archive(_GOOD, {"constants.pkl": b"", "code/a.py": b""}), "TorchScript", UnsafeCheckpoint),
    _zip("torch.export", archive(_GOOD, {"archive_format": b"pt2"}), ".pt2", UnsafeCheckpoint),
    _zip(
        "odd byte order",
        archive(_GOOD, {".x": b"", "data/0": b"0000"}).replace(b"little", b"middle"),
        "corrupt: CRC of member archive/byteorder",
    ),
    Case("zip: NumPy archive", _npz, MalformedInput, "NumPy .npz"),
    _old("truncated pickle", _GOOD_LEGACY[:60], "damaged"),
    _old("truncated numbers", _GOOD_LEGACY[:-2], "truncated"),
    _old("bytes after the end", _GOOD_LEGACY + b"x", "1 bytes after"),
    _old("storage not listed", legacy(state(w=_LEGACY_ONE)), "does not match"),
    _old(
        "storage listed twice",
        legacy(state(w=_LEGACY_ONE), b"](" + text("0") * 2 + b"e", _NUMBERS * 2),
        "does not match",
    ),
    _old(
        "storage of another size",
        legacy(state(w=_LEGACY_ONE), b"](" + text("0") + b"e", b"\x02" + _NUMBERS[1:]),
        "a storage of 2 entries, expected 1",
    ),
    _old(
        "view of a storage",
        legacy(state(w=tensor(storage(view=b"(" + text("v") + b"K\x00K\x01t")))),
        "view of a storage",
    ),
    _old("other version", MAGIC + pickled(b"M\xe8\x03"), "not protocol 1001"),
    _old(
        "big-endian machine",
        _GOOD_LEGACY.replace(b"little_endian\x88", b"little_endian\x89"),
        "little-endian",
    ),
)
