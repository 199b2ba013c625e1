"""Wrong, damaged and hostile inputs of ``lcaudit check``: how each is made, and what must be said of it.

A case's builder gets an empty folder and returns the arguments after ``check``. What it leaves out
stands for a network that ships with lcaudit and the digits.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save

from lcaudit.demo import WEIGHTS

#: What payloads would create in the working folder if they ran.
SENTINEL = "sentinel-of-executed-code"
HOSTILE = ("</script><img src=x onerror=alert(1)>", "a\x1b[31m\x1b]0;x\x07b", "a\n::error::b\r", "a\u202eb\u2066c")


@dataclass(frozen=True, slots=True)
class Case:
    """One input. ``kind`` is the word in ``error[…]``, any where empty; ``says`` is part of the line."""

    name: str
    build: Callable[[Path], list[str]]
    kind: str
    says: str


CASES: list[Case] = []


def case(name: str, kind: str, says: str) -> Callable[[Callable[[Path], list[str]]], Callable[[Path], list[str]]]:
    """Add the decorated builder to the table."""

    def add(build: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        CASES.append(Case(name, build, kind, says))
        return build

    return add


# Files that are no checkpoint, or a damaged one


@cache
def weights() -> dict[str, np.ndarray]:
    """The shipped network's tensors."""
    return load_file(WEIGHTS)


def _file(name: str, data: bytes) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(data)
        return [str(folder / name)]

    return build


def _head(length: int) -> Callable[[Path], list[str]]:
    return lambda folder: _file("m.safetensors", WEIGHTS.read_bytes()[:length])(folder)


def _tensors(change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]) -> Callable[[Path], list[str]]:
    return lambda folder: _file("model.safetensors", save(dict(change(dict(weights())))))(folder)


def _torch(value: object, **options: bool) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        torch.save(value, folder / "model.pt", **options)
        return [str(folder / "model.pt")]

    return build


class Payload:
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {SENTINEL}",)


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return buffer.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode() + data


_ENTRY = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"

for _name, _build, _kind, _says in (
    ("missing file", lambda folder: [str(folder / "absent.safetensors")], "usage", "no such file or folder"),
    ("below a file", lambda f: [_file("a", b"x")(f)[0] + "/b"], "usage", "no such file"),
    ("empty name", lambda folder: [""], "malformed", "no checkpoint"),
    ("name too long", lambda folder: ["n" * 5000], "environment", "File name too long"),
    ("empty file", _file("m.safetensors", b""), "malformed", "the file is empty"),
    ("zeros", _file("m.safetensors", b"\0" * 5000), "malformed", "begins with zeros"),
    ("HTML page", _file("m.safetensors", b"<!DOCTYPE html><html>404</html>"), "malformed", "an HTML page"),
    ("LFS pointer", _file("m.safetensors", _POINTER), "malformed", "a Git LFS pointer"),
    ("JSON", _file("m.safetensors", b'{"a": 1}'), "malformed", "JSON text"),
    ("PNG", _file("m.pt", b"\x89PNG\r\n\x1a\n" + b"\0" * 99), "malformed", "a PNG image"),
    ("gzip", _file("m.pt", b"\x1f\x8b\x08" + b"\0" * 99), "malformed", "gzip data"),
    ("text", _file("m.pt", b"hello\n"), "malformed", "a text file"),
    ("noise", _file("m.pt", bytes(range(1, 256)) * 20), "malformed", "neither safetensors nor"),
    ("truncated safetensors", _head(99_999), "malformed", "truncated"),
    ("truncated header", _head(99), "malformed", "m.safetensors"),
    ("duplicate key", _file("m.safetensors", _header(f"{{{_ENTRY},{_ENTRY}}}", b"\0" * 4)), "malformed", "twice"),
    ("no tensors", _file("m.safetensors", _header("{}")), "malformed", "no tensors"),
    ("NaN in the header", _file("m.safetensors", _header('{"a":NaN}')), "malformed", "m.safetensors"),
    ("header of lists", _file("m.safetensors", _header('{"a":' + "[" * 50_000 + "}")), "malformed", "m.safetensors"),
    ("tar", _file("m.tar", _tar()), "refused", "a tar archive"),
    ("npz", lambda f: _file("m.npz", _zip({"a.npy": b""}))(f), "malformed", "a zip archive"),
    ("TorchScript", _file("m.pt", _zip({"m/constants.pkl": b"", "m/code/x.py": b"", "m/data.pkl": b"\x80\x02}."})),
     "refused", "TorchScript"),
    ("pickle that runs a command, zip", _torch(Payload()), "refused", "system"),
    ("pickle that runs a command, legacy", _torch(Payload(), _use_new_zipfile_serialization=False),
     "refused", "system"),
    ("pickle that runs a command, among weights", _torch({"a": torch.ones(2), "b": Payload()}), "refused", "system"),
    ("pickle that runs a command, plain", _file("m.pkl", pickle.dumps(Payload(), 2)), "refused", "system"),
    ("whole module", _torch(torch.nn.Linear(2, 2)), "refused", "torch.nn.modules.linear.Linear"),
    ("no state dict", _torch({"epoch": 3}), "malformed", "no tensors"),
    ("keys that are numbers", _torch({1: torch.ones(2), 2: torch.ones(2)}), "malformed", "model.pt"),
):  # fmt: skip
    CASES.append(Case(_name, _build, _kind, _says))


@case("truncated torch file", "malformed", "model.pt")
def _(folder: Path) -> list[str]:
    torch.save({"a": torch.ones(1000)}, folder / "model.pt")
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:3000])
    return [str(folder / "model.pt")]


@case("flipped bit in a torch file", "malformed", "corrupt")
def _(folder: Path) -> list[str]:
    torch.save({"a": torch.ones(1000)}, folder / "model.pt")
    data = bytearray((folder / "model.pt").read_bytes())
    data[data.index(b"\x00\x00\x80\x3f" * 100) + 2] ^= 1
    (folder / "model.pt").write_bytes(data)
    return [str(folder / "model.pt")]


@case("empty folder", "malformed", "no checkpoint")
def _(folder: Path) -> list[str]:
    (folder / "model").mkdir()
    return [str(folder / "model")]


@case("folder of two checkpoints", "malformed", "one.pt")
def _(folder: Path) -> list[str]:
    (folder / "model").mkdir()
    for name in ("one.pt", "two.pt"):
        torch.save({"a": torch.ones(2)}, folder / "model" / name)
    return [str(folder / "model")]


@case("FIFO", "malformed", "not a regular file")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "pipe.safetensors")
    return [str(folder / "pipe.safetensors")]


@case("device that never ends", "malformed", "not a regular file")
def _(folder: Path) -> list[str]:
    return ["/dev/zero"]


@case("link to itself", "usage", "leads back to itself")
def _(folder: Path) -> list[str]:
    (folder / "link.pt").symlink_to(folder / "link.pt")
    return [str(folder / "link.pt")]


@case("file name that is not UTF-8", "malformed", "caf\\udce9.pt: not a checkpoint")
def _(folder: Path) -> list[str]:
    return _file("caf\udce9.pt", b"hello")(folder)


@case("file name that commands terminal and log", "malformed", "a\\x1b[31m\\x0a::error::b.pt: not a checkpoint")
def _(folder: Path) -> list[str]:
    return _file("a\x1b[31m\n::error::b.pt", b"hello")(folder)


def _sharded(map_: Mapping[str, str]) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        model = folder / "model"
        model.mkdir()
        (folder / "outside.safetensors").write_bytes(save({"a": np.ones(1, np.float32)}))
        (model / "inside.safetensors").write_bytes(save({"a": np.ones(1, np.float32)}))
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": map_}))
        return [str(model)]

    return build


for _name, _map, _kind, _says in (
    ("shard above the folder", {"a": "../outside.safetensors"}, "refused", "outside the model folder"),
    ("shard by absolute path", {"a": "/etc/hostname"}, "refused", "outside the model folder"),
    ("shard name that is no name", {"a": "in\0side"}, "refused", "outside the model folder"),
    ("shard that is missing", {"a": "inside.safetensors", "b": "absent.safetensors"}, "malformed", "absent"),
    ("shard without its tensor", {"a": "inside.safetensors", "b": "inside.safetensors"}, "malformed", ""),
):
    CASES.append(Case(_name, _sharded(_map), _kind, _says))


@case("index that is not JSON", "malformed", "not valid JSON")
def _(folder: Path) -> list[str]:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": NaN}}')
    return [str(folder / "model.safetensors.index.json")]


# Checkpoints that are no network, or another one


def _drop(tensors: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    del tensors["layer1.0.conv1.weight"]
    return tensors


for _name, _build, _kind, _says in (
    ("wrong shape", _tensors(lambda t: {**t, "layer2.0.conv1.weight": np.ones((32, 16, 2, 2), np.float32)}),
     "unknown-architecture", "no known network"),
    ("missing tensor", _tensors(_drop), "unknown-architecture", "no known network"),
    ("extra tensor", _tensors(lambda t: {**t, "extra.weight": np.ones(2, np.float32)}),
     "unknown-architecture", "extra"),
    ("int weights", _tensors(lambda t: {k: v.astype(np.int64) for k, v in t.items()}), "malformed", "int64"),
    ("complex weights", _torch({k: torch.from_numpy(v).to(torch.complex64) for k, v in weights().items()}),
     "malformed", "complex64"),
    ("text model", _torch({"encoder.embedding.weight": torch.ones(9, 4)}), "unknown-architecture", "no known network"),
):  # fmt: skip
    CASES.append(Case(_name, _build, _kind, _says))
for _index, _text in enumerate(HOSTILE):
    CASES.append(Case(f"hostile tensor name {_index}", _torch({_text: torch.ones(2), f"{_text}.b": torch.ones(2)}),
                      "unknown-architecture", "no known network"))  # fmt: skip
    CASES.append(Case(f"extra tensor with hostile name {_index}",
                      _tensors(lambda t, name=_text: {**t, name: np.ones(2, np.float32)}),
                      "unknown-architecture", "no known network"))  # fmt: skip


# Data


def _data(name: str, data: bytes, *more: str) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(data)
        return [str(WEIGHTS), "--data", str(folder / name), *more]

    return build


def _npz(*more: str, **arrays: object) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        np.savez(folder / "data.npz", **arrays)
        return [str(WEIGHTS), "--data", str(folder / "data.npz"), *more]

    return build


_IMAGES = (np.arange(20 * 64).reshape(20, 8, 8) % 256).astype(np.uint8)
_FLOATS = (_IMAGES / 255).astype(np.float32)
_LABELS = np.arange(20) % 10


def _spoiled(value: float) -> np.ndarray:
    spoiled = _FLOATS.copy()
    spoiled[3, 2, 1] = value
    return spoiled


def _swollen_png() -> bytes:
    """A PNG header that promises 90 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9500, 9500, 8, 0, 0, 0, 0)) + chunk(b"IEND", b"")
    )


for _name, _build, _kind, _says in (
    ("unknown data set", lambda folder: [str(WEIGHTS), "--data", "nonesuch"], "probe", "neither a data set nor"),
    ("empty data name", lambda folder: [str(WEIGHTS), "--data", ""], "probe", "an empty name"),
    ("hostile data name", lambda folder: [str(WEIGHTS), "--data", HOSTILE[2]], "probe", "a\\x0a::error::b\\x0d is"),
    ("missing data path", lambda f: [str(WEIGHTS), "--data", str(f / "no.npz")], "probe", "no such file or folder"),
    ("unknown split", lambda folder: [str(WEIGHTS), "--data", "digits", "--split", "dev"], "probe", "dev"),
    ("data set not here", lambda f: [str(WEIGHTS), "--data", "imagenet", "--data-root", str(f)], "probe", "not found"),
    ("data that is text", _data("data.csv", b"1,2,3\n"), "malformed", "no kind of data"),
    ("data that is a pickle", _data("data.pkl", pickle.dumps(Payload())), "malformed", "a pickle"),
    ("data that is an HTML page", _data("data.npz", b"<html>404</html>"), "malformed", "an HTML"),
    ("data that is one image", _data("one.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 99), "malformed", "one image"),
    ("data that is no zip", _data("data.npz", b"PK\x03\x04" + b"\0" * 99), "malformed", "damaged"),
    ("data that is a device", lambda folder: [str(WEIGHTS), "--data", "/dev/zero"], "probe", "not a regular file"),
    ("objects in npz", _npz(images=np.array([Payload(), 1], object)), "refused", "Python object"),
    ("objects in labels", _npz(images=_IMAGES, labels=np.array([Payload()] * 20, object)), "refused", "Python object"),
    ("no images in npz", _npz(pictures=_IMAGES), "probe", "pictures"),
    ("no samples", _npz(images=_IMAGES[:0], labels=_LABELS[:0]), "probe", ""),
    ("one sample", _npz(images=_IMAGES[:1], labels=_LABELS[:1]), "probe", ""),
    ("images that are text", _npz(images=np.array(["a"] * 20)), "malformed", ""),
    ("images that are complex", _npz(images=_FLOATS.astype(np.complex64)), "malformed", ""),
    ("NaN pixels", _npz(images=_spoiled(np.nan), labels=_LABELS), "probe", "expected finite pixels"),
    ("infinite pixels", _npz(images=_spoiled(np.inf), labels=_LABELS), "probe", "expected finite pixels"),
    ("pixels above 255", _npz(images=_IMAGES.astype(np.int32) * 300), "probe", "expected 0 to 255"),
    ("images of another size", _npz(images=np.zeros((20, 5, 2, 9, 9), np.uint8)), "probe", ""),
    ("images with too many channels", _npz(images=np.zeros((20, 3, 8, 8), np.uint8)), "probe", ""),
    ("labels out of range", _npz(images=_IMAGES, labels=_LABELS + 5), "probe", "label 10 at index 5"),
    ("labels below nought", _npz(images=_IMAGES, labels=_LABELS - 1), "probe", "label -1 at index 0"),
    ("fewer labels than images", _npz(images=_IMAGES, labels=_LABELS[:19]), "probe", "19"),
    ("labels that are no numbers of classes", _npz(images=_IMAGES, labels=_LABELS + 0.5), "probe", "labels"),
    ("mean without std", _npz("--mean", "0.5", images=_IMAGES), "usage", "--mean and --std go together"),
    ("std without mean", _npz("--std", "0.5", images=_IMAGES), "usage", "--mean and --std go together"),
    ("std of nought", _npz("--mean", "0.5", "--std", "0", images=_IMAGES), "usage", "positive"),
    ("std below nought", _npz("--mean", "0.5", "--std", "-1", images=_IMAGES), "usage", "positive"),
    ("std that is no number", _npz("--mean", "0.5", "--std", "nan", images=_IMAGES), "usage", "finite"),
    ("means for three channels of one", _npz("--mean", "0,0,0", "--std", "1,1,1", images=_IMAGES), "usage", "channels"),
    ("unknown rule", lambda folder: [str(WEIGHTS), "--data", "digits", "--select", "LC999"], "usage", "LC999"),
    ("unknown rule to ignore", lambda f: [str(WEIGHTS), "--data", "digits", "--ignore", "E501"], "usage", "E501"),
    ("no rule left", lambda folder: [str(WEIGHTS), "--data", "digits", "--ignore", "ALL"], "usage", "no rule"),
):  # fmt: skip
    CASES.append(Case(_name, _build, _kind, _says))


@case("data that is a FIFO", "probe", "not a regular file")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "data.npz")
    return [str(WEIGHTS), "--data", str(folder / "data.npz")]


def _pictures(files: Mapping[str, bytes]) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        for name, data in {"images/.keep": b"", **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return [str(WEIGHTS), "--data", str(folder / "images")]

    return build


for _name, _files, _kind, _says in (
    ("empty image folder", {}, "probe", ""),
    ("image folder of other files", {"images/a/notes.txt": b"hello"}, "probe", ""),
    ("image folder with fewer classes", {f"images/{k}/{i}.png": b"x" for k in "ab" for i in "12"}, "probe", "2 class"),
    ("broken JPEG", {f"images/{i}.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 50 for i in "123"}, "probe", ""),
    ("EPS as PNG", {f"images/{i}.png": b"%!PS-Adobe-3.0 EPSF-3.0\n" for i in "123"}, "probe", ""),
    ("image of 90 million pixels", {f"images/{i}.png": _swollen_png() for i in "123"}, "probe", ""),
):
    CASES.append(Case(_name, _pictures(_files), _kind, _says))


# The user's own network


def _factory(
    source: str, name: str = "make", tensors: Mapping[str, torch.Tensor] | None = None
) -> Callable[[Path], list[str]]:
    def build(folder: Path) -> list[str]:
        (folder / "net.py").write_text("import torch\n" + source)
        torch.save(dict(tensors or {"weight": torch.ones(10, 64)}), folder / "model.pt")
        return [str(folder / "model.pt"), "--arch", f"{folder / 'net.py'}:{name}"]

    return build


_FORWARD = """
class Net(torch.nn.Module):
    input_shape = (1, 8, 8)
    num_classes = 10
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(10, 64))
    def forward(self, x):
        {body}
make = Net
"""


def _forward(body: str) -> Callable[[Path], list[str]]:
    return _factory(_FORWARD.format(body=body))


for _name, _build, _kind, _says in (
    ("arch file that is missing", lambda f: [str(WEIGHTS), "--arch", f"{f}/no.py:make"], "usage", "cannot read"),
    ("arch that is no family", lambda folder: [str(WEIGHTS), "--arch", "resnet"], "usage", "neither a family nor"),
    ("arch without factory", lambda folder: [str(WEIGHTS), "--arch", "net.py:"], "usage", "neither a family nor"),
    ("arch of another family", lambda f: [str(WEIGHTS), "--arch", "vgg_cifar"], "unknown-architecture", "vgg_cifar"),
    ("no such factory", _factory("", "build"), "usage", "build is not defined in net.py"),
    ("factory that is a module", _factory("make = torch.nn.Linear(64, 10)"), "usage", "is not a function"),
    ("factory that raises", _factory("def make():\n    raise ValueError('a\\nb\\x1b[31m')"),
     "usage", "net.py, line 3: ValueError: a\\x0ab\\x1b[31m"),
    ("factory that wants arguments", _factory("def make(depth): pass"), "usage", "TypeError"),
    ("factory that returns a number", _factory("def make(): return 3"), "usage", "returned int, not nn.Module"),
    ("factory that leaves Python", _factory("def make(): raise SystemExit(0)"), "usage", "SystemExit"),
    ("file that does not parse", _factory("def make(:"), "usage", "net.py, line 2: SyntaxError"),
    ("file that imports nothing that is there", _factory("import no_such_package"), "usage", "ModuleNotFoundError"),
    ("network of other shapes", _factory("make = lambda: torch.nn.Linear(3, 2, bias=False)"),
     "unknown-architecture", "weight is 10×64, expected 2×3"),
    ("network with more tensors", _factory("make = lambda: torch.nn.Linear(64, 10)"), "unknown-architecture",
     "1 tensor missing (bias)"),
    ("input shape that is no shape", _factory("make = lambda: torch.nn.Linear(64, 10)\nmake.input_shape = 'big'"),
     "usage", "input_shape"),
    ("forward that raises", _forward("raise ValueError('a\\nb\\x1b[31m')"), "", "ValueError"),
    ("forward that does not fit the input", _forward("return x @ self.weight"), "", "RuntimeError"),
    ("forward that returns a tuple", _forward("return x, x"), "unknown-architecture", "a tuple"),
    ("forward that returns an image", _forward("return x"), "usage", "fit no task"),
):  # fmt: skip
    CASES.append(Case(_name, _build, _kind, _says))


@case("arch that is a device", "usage", "/dev/zero")
def _(folder: Path) -> list[str]:
    return [str(WEIGHTS), "--arch", "/dev/zero:make"]


@case("arch that is a FIFO", "usage", "net.py")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "net.py")
    return [str(WEIGHTS), "--arch", f"{folder / 'net.py'}:make"]
