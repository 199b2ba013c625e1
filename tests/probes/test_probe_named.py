"""Data sets with a name, in the layouts in which they are given out."""

from __future__ import annotations

import gzip
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe_cases import images, labels, network, opened, save_npz

from lcaudit.core.errors import AuditError, HubUnreachable, MalformedInput, ProbeUnavailable
from lcaudit.core.types import Probe
from lcaudit.probes import _matlab, cifar100, imagenette
from lcaudit.probes._resolve import datasets

GREY, COLOUR = network((1, 28, 28)), network((3, 32, 32))
HUNDRED = network((3, 32, 32), classes=100)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home and working folder, and no Hub."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.delenv("LCAUDIT_DATA", raising=False)
    monkeypatch.chdir(home)

    def away(data: str, *more: object) -> None:
        raise HubUnreachable(f"no connection for {data}")

    monkeypatch.setattr("lcaudit.probes._resolve.open_repository", away)


def idx(numbers: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, numbers.ndim)) + struct.pack(f">{numbers.ndim}I", *numbers.shape)
    return header + numbers.astype(np.uint8).tobytes()


def write_idx(folder: Path, pixels: np.ndarray, numbers: np.ndarray, part: str = "t10k", packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{part}-images-idx3-ubyte", idx(pixels)), (f"{part}-labels-idx1-ubyte", idx(numbers))):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def array(name: str, numbers: np.ndarray) -> bytes:
    """One matrix, as MATLAB writes it: flags, sides, name, numbers with the first side running fastest."""
    kind = {"u1": 2, "f8": 9}[numbers.dtype.str[1:]]
    short = struct.pack("<HH", 1, len(name)) + name.encode().ljust(4, b"\0")
    parts = [element(6, struct.pack("<II", 9, 0)), element(5, struct.pack(f"<{numbers.ndim}i", *numbers.shape)),
             short if len(name) < 5 else element(1, name.encode()), element(kind, numbers.tobytes("F"))]  # fmt: skip
    return element(14, b"".join(parts))


def mat(*arrays: bytes, packed: bool = True) -> bytes:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    bodies = [struct.pack("<II", 15, len(zlib.compress(one))) + zlib.compress(one) if packed else one for one in arrays]
    return header + b"".join(bodies)


def svhn(pixels: np.ndarray, numbers: np.ndarray, packed: bool = True) -> bytes:
    stored = np.where(numbers == 0, 10, numbers).astype(float)[:, None]
    return mat(array("X", pixels.transpose(1, 2, 3, 0)), array("y", stored), packed=packed)


def same(probes: list[Probe], name: str, wanted: np.ndarray) -> None:
    assert len({probe.record.sha256 for probe in probes}) == 1
    for probe in probes:
        assert (probe.record.dataset, probe.record.split) == (name, "test")
        np.testing.assert_array_equal(probe.labels, wanted[probe.keys])


def test_every_layout_of_cifar100(tmp_path: Path) -> None:
    fine, coarse = labels(classes=100) * 8, labels(classes=20)
    flat = np.ascontiguousarray(images().transpose(0, 3, 1, 2)).reshape(12, -1)
    batch = {b"data": flat, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
    (tmp_path / "py" / "cifar-100-python").mkdir(parents=True)
    (tmp_path / "py" / "cifar-100-python" / "test").write_bytes(pickle.dumps(batch, 2))
    (tmp_path / "bin" / "cifar-100-binary").mkdir(parents=True)
    rows = np.concatenate([coarse[:, None], fine[:, None], flat], axis=1).astype(np.uint8)
    (tmp_path / "bin" / "cifar-100-binary" / "test.bin").write_bytes(rows.tobytes())
    save_npz(tmp_path / "npz" / "cifar100.npz", x_test=images(), y_test=fine[:, None])
    probes = [opened("cifar100", HUNDRED, root=tmp_path / name) for name in ("py", "bin", "npz")]
    same(probes, "cifar100", fine)
    same([opened(tmp_path / "py" / "cifar-100-python", HUNDRED)], "cifar100", fine)
    assert probes[0].record.normalisation.mean == cifar100.DATASET.normalisation.mean
    assert len(set(cifar100.DATASET.classes)) == 100 and list(cifar100.DATASET.classes) == sorted(
        cifar100.DATASET.classes
    )
    with pytest.raises(ProbeUnavailable, match="100 classes, the network has 10"):
        opened("cifar100", root=tmp_path / "py")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_every_layout_of_mnist_and_fashion_mnist(tmp_path: Path, name: str, folder: str) -> None:
    pixels = images(shape=(28, 28))
    write_idx(tmp_path / "torchvision" / folder / "raw", pixels, labels())
    write_idx(tmp_path / "packed" / name, pixels, labels(), packed=True)
    save_npz(tmp_path / "npz" / f"{name.replace('-', '_')}.npz", x_test=pixels, y_test=labels())
    places = [tmp_path / one for one in ("torchvision", "packed", "npz")]
    same([opened(name, GREY, root=place) for place in places], name, labels())
    for path in (places[0], places[0] / folder, places[0] / folder / "raw", places[1] / name):
        assert opened(path, GREY).record.dataset == name


def test_the_two_that_share_their_file_names_are_never_confused(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", images(shape=(28, 28)), labels())
    with pytest.raises(HubUnreachable, match=r"mnist \(test\) was not found"):
        opened("mnist", GREY, root=tmp_path)
    write_idx(tmp_path / "MNIST" / "raw", images(shape=(28, 28), seed=1), labels())
    one, other = (opened(name, GREY, root=tmp_path).record for name in ("mnist", "fashion-mnist"))
    assert one.sha256 != other.sha256 and one.normalisation != other.normalisation
    write_idx(tmp_path / "unsaid", images(shape=(28, 28)), labels())
    with pytest.raises(AuditError, match="images"):
        opened(tmp_path / "unsaid", GREY)


def test_every_layout_of_svhn(tmp_path: Path) -> None:
    for name, packed in (("packed", True), ("plain", False)):
        (tmp_path / name / "svhn").mkdir(parents=True)
        (tmp_path / name / "svhn" / "test_32x32.mat").write_bytes(svhn(images(), labels(), packed))
    save_npz(tmp_path / "npz" / "svhn.npz", x_test=images(), y_test=labels())
    same([opened("svhn", root=tmp_path / name) for name in ("packed", "plain", "npz")], "svhn", labels())
    with pytest.raises(ProbeUnavailable, match="it has test, train and extra"):
        opened("svhn", split="val")


def test_matlab_files_agree_with_scipy(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.io", reason="SciPy is not installed: no second writer of MATLAB files")
    numbers = np.random.default_rng(0).normal(size=(3, 4, 5))
    for compressed in (True, False):
        scipy.savemat(tmp_path / "a.mat", {"first": numbers, "y": images()}, do_compression=compressed)
        found = _matlab.read(tmp_path / "a.mat", ("first", "y"))
        np.testing.assert_array_equal(found["first"], numbers)
        np.testing.assert_array_equal(found["y"], images())


BROKEN = {
    "an image cut short": ("mnist", "t10k-images-idx3-ubyte", idx(images(shape=(28, 28)))[:-1], "are there"),
    "another type": ("mnist", "t10k-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(12), "begins with 00 00 0d 03"),
    "empty": ("mnist", "t10k-images-idx3-ubyte", b"", "begins with"),
    "sides beyond all bounds": ("mnist", "t10k-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "announced"),
    "damaged gzip": ("mnist", "t10k-images-idx3-ubyte.gz", gzip.compress(idx(images(shape=(28, 28))))[:-30], "damaged"),
    "more images than labels": ("mnist", "t10k-images-idx3-ubyte", idx(images(13, (28, 28))), "13 images"),
    "no matlab": ("svhn", "test_32x32.mat", b"x" * 300, "no MATLAB 5 file"),
    "matlab cut short": ("svhn", "test_32x32.mat", svhn(images(), labels())[:-9], "ends within"),
    "matlab without labels": ("svhn", "test_32x32.mat", mat(array("X", images().transpose(1, 2, 3, 0))), "no array y"),
    "matlab of other sides": (
        "svhn", "test_32x32.mat", mat(array("X", images()), array("y", labels().astype(float)[:, None])), "32 × 32 × 3",
    ),
    "matlab damaged inside": (
        "svhn", "test_32x32.mat", mat(packed=False) + struct.pack("<II", 15, 8) + b"damaged!", "damaged",
    ),
    "matlab with numbers missing": (
        "svhn", "test_32x32.mat", mat(array("X", images()).replace(struct.pack("<i", 12), struct.pack("<i", 99), 1)),
        "announced",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, file, content, said = BROKEN[name]
    folder = tmp_path / data
    if data == "mnist":
        write_idx(folder, images(shape=(28, 28)), labels())
        (folder / "t10k-images-idx3-ubyte").unlink()
    else:
        folder.mkdir()
    (folder / file).write_bytes(content)
    with pytest.raises(MalformedInput, match=said) as caught:
        opened(data, GREY if data == "mnist" else COLOUR, root=tmp_path)
    assert "\n" not in caught.value.message and str(file) in caught.value.message


def test_a_packed_file_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcaudit.probes._idx._MOST", 1000)
    write_idx(tmp_path / "mnist", np.zeros((12, 28, 28)), labels(), packed=True)
    with pytest.raises(MalformedInput, match="unpacked"):
        opened("mnist", GREY, root=tmp_path)
    monkeypatch.setattr("lcaudit.probes._matlab._MOST_ARRAY", 1000)
    (tmp_path / "test_32x32.mat").write_bytes(svhn(np.zeros((12, 32, 32, 3), np.uint8), labels()))
    with pytest.raises(AuditError, match="an array of more than"):
        opened("svhn", root=tmp_path)


def write_pictures(folder: Path, names: list[str], each: int = 2) -> None:
    draw = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_imagenette_for_its_own_ten_classes_and_for_imagenets(tmp_path: Path) -> None:
    places = tuple(imagenette._FOLDERS)
    for split in ("train", "val"):
        write_pictures(tmp_path / "imagenette2-320" / split, list(places))
    own = opened("imagenette", network((3, 8, 8)), root=tmp_path)
    assert own.record.dataset == "imagenette" and own.record.split == "val"
    assert sorted(own.labels.tolist()) == sorted([*range(10)] * 2)
    among = opened("imagenette", network((3, 8, 8), classes=1000), root=tmp_path)
    wanted = dict(enumerate(index for _, index in imagenette._FOLDERS.values()))
    assert among.labels.tolist() == [wanted[one] for one in own.labels.tolist()]
    assert any("among the network's 1,000" in step for step in among.record.preprocessing)
    for path in (tmp_path / "imagenette2-320", tmp_path / "imagenette2-320" / "val"):
        assert opened(path, network((3, 8, 8), classes=1000)).record.dataset == "imagenette"
    with pytest.raises(ProbeUnavailable, match="10 classes, the network has 12"):
        opened("imagenette", network((3, 8, 8), classes=12), root=tmp_path)
    with pytest.raises(ProbeUnavailable, match="it has val and train"):
        opened("imagenette", split="test")


def test_imagenet_is_a_folder_for_each_of_its_classes(tmp_path: Path) -> None:
    names = ["n01440764", "n01443537", *(f"n1{number:07d}" for number in range(998))]
    write_pictures(tmp_path / "ILSVRC2012" / "val", names, 1)
    found = opened("imagenet", network((3, 8, 8), classes=1000), root=tmp_path)
    assert found.record.available == 1000 and sorted(found.labels.tolist()) == list(range(1000))
    write_pictures(tmp_path / "part" / "val", names[:7], 1)
    with pytest.raises(ProbeUnavailable, match="has 7 folders of classes, ImageNet has 1000"):
        opened(tmp_path / "part", network((3, 8, 8), classes=1000))
    with pytest.raises(ProbeUnavailable, match="was not found") as caught:
        opened("imagenet", network((3, 8, 8), classes=1000))
    assert not isinstance(caught.value, HubUnreachable) and "imagenet/val" in caught.value.hint


@pytest.mark.parametrize("name", sorted(datasets()))
def test_what_is_nowhere_names_places_and_what_to_do(name: str) -> None:
    dataset = datasets()[name]
    if name == "digits":  # ships with the package
        return
    with pytest.raises(AuditError) as caught:
        opened(name, network(classes=dataset.number))
    assert "~/.keras/datasets" in caught.value.message and "--data-root" in caught.value.hint
    assert dataset.hub in caught.value.message and bool(dataset.hub) == isinstance(caught.value, HubUnreachable)
    assert dataset.normalisation.source.startswith(f"{name}:")
