"""Files that are no checkpoints, odd places in the file system, and folders."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

from corpus_parts import SENTINEL, Case, archive, entry, safetensors, state, storage, tensor, written

from lcaudit.core.errors import AuditError, MalformedInput, UnsafeCheckpoint, UsageError

_SHARD = safetensors({"a": entry([1], 0, 4)}, b"\0" * 4)
_OTHER = safetensors({"b": entry([1], 0, 4)}, b"\0" * 4)


def _file(name: str, data: bytes, says: str, error: type[AuditError] = MalformedInput) -> Case:
    return Case(f"stranger: {name}", written("model.pt", data), error, says)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            file.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


class _Opens:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (SENTINEL, "w")


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.pt")
    return folder / "model.pt"


def _circle(folder: Path) -> Path:
    (folder / "model.pt").symlink_to(folder / "model.pt")
    return folder / "model.pt"


def _index(weight_map: object, shards: dict[str, bytes], after: Callable[[Path], None] = lambda folder: None):
    def build(folder: Path) -> Path:
        model = folder / "model"
        model.mkdir()
        (folder / "outside.safetensors").write_bytes(_SHARD)
        (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        for name, data in shards.items():
            (model / name).write_bytes(data)
        after(model)
        return model

    return build


def _folder(name: str, files: dict[str, bytes], says: str, error: type[AuditError] = MalformedInput) -> Case:
    def build(folder: Path) -> Path:
        model = folder / "model"
        model.mkdir()
        for file, data in files.items():
            (model / file).write_bytes(data)
        return model

    return Case(f"folder: {name}", build, error, says)


def _escape(name: str, shard: str) -> Case:
    return Case(f"index: {name}", _index({"a": shard}, {}), UnsafeCheckpoint, "outside the model folder")


def _link_shard(model: Path) -> None:
    (model / "s.safetensors").symlink_to(model.parent / "outside.safetensors")


def _only_a_link(folder: Path) -> Path:
    model = folder / "model"
    model.mkdir()
    (folder / "outside.safetensors").write_bytes(_SHARD)
    (model / "model.safetensors").symlink_to(folder / "outside.safetensors")
    return model


def _pipe_as_shard(model: Path) -> None:
    os.mkfifo(model / "s.safetensors")


CASES = (
    _file("empty", b"", "the file is empty"),
    _file("zeros", b"\0" * 5000, "begins with zeros"),
    _file("LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    _file("HTML", b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
    _file("XML", b"<?xml version='1.0'?><Error/>", "XML document"),
    _file("JSON", b'{"error": "not found"}', "JSON text"),
    _file("text", b"Entry not found\n", "a text file"),
    _file("PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "PNG image"),
    _file("gzip", gzip.compress(b"\0" * 50, mtime=0), "gzip data"),
    _file("HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "HDF5"),
    _file("GGUF", b"GGUF\x03\0\0\0" + b"\0" * 40, "GGUF"),
    _file("noise", bytes(range(255, 0, -1)), "neither safetensors nor"),
    _file("tar", _tar(), "tar archive", UnsafeCheckpoint),
    _file("plain pickle", pickle.dumps({"x": _Opens()}, protocol=2), "open, not a torch checkpoint", UnsafeCheckpoint),
    _file("plain pickle, protocol 5", pickle.dumps({"x": _Opens()}), "io.open", UnsafeCheckpoint),
    Case("place: absent", lambda folder: folder / "absent.pt", UsageError, "no such file"),
    Case("place: NUL in the name", lambda folder: folder / "a\0b.pt", UsageError, "not a possible file name"),
    Case("place: inside a file", lambda folder: written("a", b"x")(folder) / "b.pt", UsageError, "no such file"),
    Case("place: pipe", _pipe, MalformedInput, "not a regular file"),
    Case("place: device", lambda folder: Path("/dev/zero"), MalformedInput, "not a regular file"),
    Case("place: link to itself", _circle, UsageError, "link"),
    _folder("empty", {}, "it is empty"),
    _folder("no checkpoint", {"config.json": b"{}", "README.md": b"# x"}, "it has README.md, config.json"),
    _folder("two checkpoints", {"a.safetensors": _SHARD, "b": _SHARD}, "holds 2 checkpoints: a.safetensors, b"),
    _folder("two indices", {f"{n}.safetensors.index.json": b"{}" for n in "ab"}, "holds 2 checkpoints"),
    Case("folder: only a link to elsewhere", _only_a_link, MalformedInput, "no checkpoint in this folder"),
    _escape("parent folder", "../outside.safetensors"),
    _escape("absolute", "/etc/hostname"),
    _escape("drive", "C:\\x.safetensors"),
    _escape("NUL", "s\0.safetensors"),
    _escape("newline", "s.safetensors\n"),
    _escape("hidden", ".."),
    Case(
        "index: link to elsewhere", _index({"a": "s.safetensors"}, {}, _link_shard), UnsafeCheckpoint, "leads outside"
    ),
    Case("index: pipe as shard", _index({"a": "s.safetensors"}, {}, _pipe_as_shard), MalformedInput, "not a regular"),
    Case("index: missing shard", _index({"a": "s.safetensors"}, {}), MalformedInput, "missing from the folder"),
    Case(
        "index: key not in the shard",
        _index({"a": "s.safetensors", "z": "s.safetensors"}, {"s.safetensors": _SHARD}),
        MalformedInput,
        "1 tensor in the index but not in it: z",
    ),
    Case(
        "index: key in two shards",
        _index({"a": "s.safetensors", "b": "t.safetensors"}, {"s.safetensors": _SHARD, "t.safetensors": _SHARD}),
        MalformedInput,
        "in the index but not in it: b",
    ),
    Case(
        "index: tensor not in the map",
        _index({"a": "s.safetensors"}, {"s.safetensors": safetensors({k: entry([0], 0, 0) for k in "ab"})}),
        MalformedInput,
        "1 tensor in it but not in the index: b",
    ),
    Case(
        "index: torch shards",
        _index({"w": "s.bin"}, {"s.bin": archive(state(w=tensor(storage())), {"data/0": b"\0" * 4})}),
        MalformedInput,
        "is not safetensors",
    ),
    Case("index: map is a list", _index(["s"], {}), MalformedInput, "weight_map must map"),
    Case("index: map of numbers", _index({"a": 1}, {}), MalformedInput, "weight_map must map"),
    _folder(
        "duplicate key in the index",
        {"m.safetensors.index.json": b'{"weight_map":{"a":"s","a":"t"}}', "s": _SHARD, "t": _OTHER},
        "appears twice",
    ),
    _folder("deep index", {"m.safetensors.index.json": b'{"weight_map":' + b"[" * 100_000}, "nested too deeply"),
)
