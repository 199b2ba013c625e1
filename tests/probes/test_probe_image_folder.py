from __future__ import annotations

import io
import os
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe_cases import images, network, opened

from lcaudit.core.errors import EnvironmentFailure, LimitExceeded, ProbeUnavailable, UsageError
from lcaudit.probes import image_folder

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def save(path: Path, pixels: np.ndarray, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind)
    return path


def flat_folder(folder: Path, count: int = 6, shape: tuple[int, ...] = (32, 32, 3)) -> Path:
    for number, pixels in enumerate(images(count, shape)):
        save(folder / f"{number:04}.png", pixels)
    return folder


def class_folder(folder: Path, names: tuple[str, ...], each: int = 2) -> Path:
    for number, pixels in enumerate(images(len(names) * each)):
        save(folder / names[number // each] / f"{number % each}.png", pixels)
    return folder


def test_class_folders_are_labels_in_order_of_name(tmp_path: Path) -> None:
    probe = opened(class_folder(tmp_path / "a", ("zebra", "ant", "bee")), network(classes=3))
    assert probe.record.classes == ("ant", "bee", "zebra")
    raw = np.concatenate([images(6)[2:], images(6)[:2]])  # ant, bee, zebra
    np.testing.assert_array_equal(probe.labels, np.array([0, 0, 1, 1, 2, 2])[probe.keys])
    expected = raw[probe.keys].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(probe.batch(0, 6).numpy(), expected, rtol=1e-5)
    assert probe.record.dataset == "a" and "none known" in probe.record.normalisation.source


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    probe = opened(flat_folder(tmp_path / "a"))
    assert probe.labels is None and probe.record.classes == () and probe.record.samples == 6


def test_number_of_folders_must_be_the_networks(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match=r"2 class folders \(a, b\), the network has 10 outputs"):
        opened(class_folder(tmp_path / "x", ("a", "b")))


def test_data_set_is_recognised_by_class_names_or_its_own(tmp_path: Path) -> None:
    record = opened(class_folder(tmp_path / "pictures", CIFAR10)).record
    assert record.dataset == "cifar10" and "by the names of its 10 classes" in record.normalisation.source
    assert "by the names of its 10 classes" in " ".join(record.preprocessing)
    assert opened(flat_folder(tmp_path / "cifar10-small")).record.dataset == "cifar10"
    numbered = class_folder(tmp_path / "mnist", tuple("0123456789"))
    assert opened(numbered).record.dataset == "mnist"
    others = class_folder(tmp_path / "cifar10-mine", ("a", "b", "c"))
    assert opened(others, network(classes=3)).record.dataset == "cifar10-mine"


def test_split_folders(tmp_path: Path) -> None:
    class_folder(tmp_path / "a" / "train", ("ant", "bee"), each=3)
    class_folder(tmp_path / "a" / "val", ("ant", "bee"), each=2)
    net = network(classes=2)
    assert (opened(tmp_path / "a", net).record.split, opened(tmp_path / "a", net).record.samples) == ("val", 4)
    assert opened(tmp_path / "a", net, split="train").record.samples == 6
    with pytest.raises(ProbeUnavailable, match="train, val, not test"):
        opened(tmp_path / "a", net, split="test")
    assert opened(tmp_path / "a" / "train", net).record.split == "train"
    with pytest.raises(UsageError, match="says train"):
        opened(tmp_path / "a" / "train", net, split="val")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_formats_are_told_by_content(tmp_path: Path, kind: str) -> None:
    for number, pixels in enumerate(images(3)):
        save(tmp_path / "a" / f"{number}.dat", pixels, kind)
    assert opened(tmp_path / "a").record.samples == 3


def test_colours_follow_the_network(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "grey", shape=(8, 8))
    three, one = opened(folder, network((3, 8, 8))).batch(0, 6), opened(folder, network((1, 8, 8))).batch(0, 6)
    assert three.shape == (6, 3, 8, 8) and one.shape == (6, 1, 8, 8)
    np.testing.assert_array_equal(three[:, 1:2].numpy(), one.numpy())
    assert opened(folder, network(())).record.shape == (1, 8, 8)
    assert opened(folder, network((64,))).record.shape == (64,)
    assert opened(flat_folder(tmp_path / "colour"), network((1, 32, 32))).record.shape == (1, 32, 32)
    save(folder / "colour.png", images(1, (8, 8, 3))[0])
    assert opened(folder, network(())).record.shape == (3, 8, 8)


def test_resize_only_where_sizes_differ_and_say_so(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "a")
    assert not any("resized" in step for step in opened(folder).record.preprocessing)
    save(folder / "big.png", images(1, (64, 48, 3))[0])
    probe = opened(folder)
    assert any("1 image resized to 32 × 32: bilinear, antialiased" in step for step in probe.record.preprocessing)
    small = np.asarray(Image.fromarray(images(1, (64, 48, 3))[0]).resize((32, 32), Image.Resampling.BILINEAR))
    place = int(np.flatnonzero(probe.keys == 6)[0])
    np.testing.assert_allclose(probe.batch(place, place + 1)[0].numpy(), small.transpose(2, 0, 1) / 255, rtol=1e-5)
    with pytest.raises(ProbeUnavailable, match="images of 2 sizes"):
        opened(folder, network((3, 0, 0)))


def test_content_hash_covers_names_and_bytes(tmp_path: Path) -> None:
    first = opened(flat_folder(tmp_path / "a")).record.sha256
    assert opened(flat_folder(tmp_path / "b")).record.sha256 == first
    (tmp_path / "b" / "0000.png").rename(tmp_path / "b" / "000.png")
    assert opened(tmp_path / "b").record.sha256 != first
    save(tmp_path / "a" / "0000.png", images(1, seed=5)[0])
    assert opened(tmp_path / "a").record.sha256 != first


def broken_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(images(1, (64, 64, 3))[0]).save(stream, "JPEG")
    return stream.getvalue()[: len(stream.getvalue()) // 2]


def png(width: int, height: int) -> bytes:
    """A PNG of one colour, of any size, in a few bytes for each thousand rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\x00\x00\x00\x00"
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BROKEN = {
    "truncated.jpg": broken_jpeg(),
    "huge.png": png(10_000, 9_000),
    "bomb.png": png(20_000, 10_000),
    "drawing.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "short.png": b"\x89PNG\r\n\x1a\n",
    "text.jpg": b"hello",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named(tmp_path: Path, name: str) -> None:
    folder = flat_folder(tmp_path / "a")
    (folder / name).write_bytes(BROKEN[name])
    tracemalloc.start()
    with pytest.raises(ProbeUnavailable, match=f"1 of 7 images cannot be used: {name}"):
        opened(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_few_broken_images_are_left_out_and_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "a", 120, (8, 8, 3))
    (folder / "0050.png").write_bytes(broken_jpeg())
    probe = opened(folder, network((3, 8, 8)))
    assert (probe.record.available, probe.record.samples, len(probe.keys)) == (120, 119, 119)
    assert 50 not in probe.keys and probe.batch(0, 119).shape == (119, 3, 8, 8)
    assert any("left out, cannot be decoded: 0050.png" in step for step in probe.record.preprocessing)
    assert probe.record.indices == "0-49,51-119"


def test_sixteen_bits_are_not_silently_cut(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "a" / f"{number}.png", np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(ProbeUnavailable, match="expected 8 bits"):
        opened(tmp_path / "a", network((1, 8, 8)))


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ProbeUnavailable, match="no PNG, JPEG, WebP or BMP images"):
        opened(tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises(ProbeUnavailable, match="no PNG, JPEG, WebP or BMP images"):
        opened(tmp_path / "a")
    class_folder(tmp_path / "b", ("ant", "bee"))
    (tmp_path / "b" / "cow").mkdir()
    with pytest.raises(ProbeUnavailable, match="no files in cow"):
        opened(tmp_path / "b", network(classes=3))
    (tmp_path / "b" / "cow" / "notes.txt").write_text("no image")
    with pytest.raises(ProbeUnavailable, match="images in cow"):
        opened(tmp_path / "b", network(classes=3))


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "a")
    first = opened(folder).record
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"hidden")
    second = opened(folder).record
    assert second.sha256 == first.sha256 and second.samples == 6
    assert any(step.startswith("1 file left out") for step in second.preprocessing)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_links_out_of_the_folder_and_fifos_are_left_out(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside" / "secret.png", images(1, seed=9)[0])
    folder = flat_folder(tmp_path / "a")
    first = opened(folder).record
    (folder / "link.png").symlink_to(outside)
    (folder / "nowhere.png").symlink_to(tmp_path / "missing")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "folder").symlink_to(outside.parent)
    os.mkfifo(folder / "pipe.png")
    assert opened(folder).record == first
    (folder / "inside.png").symlink_to(folder / "0000.png")
    assert opened(folder).record.samples == 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_or_a_device_is_no_probe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", "/dev/zero"):
        with pytest.raises(ProbeUnavailable, match="not a regular file"):
            opened(path)


def test_a_folder_that_changes_is_noticed(tmp_path: Path) -> None:
    probe = opened(flat_folder(tmp_path / "a"))
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ProbeUnavailable, match="changed while it was read"):
        probe.batch(0, 2)


def test_number_of_files_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "_MOST_IMAGES", 5)
    with pytest.raises(LimitExceeded, match="more than 5 files"):
        opened(flat_folder(tmp_path / "a"))


def test_missing_pillow_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = flat_folder(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(EnvironmentFailure) as caught:
        opened(folder)
    assert "pip install 'lcaudit[vision]'" in caught.value.hint


def test_real_folder_is_recognised() -> None:
    if not (SHARED / "cifar10-jpeg").is_dir():
        pytest.skip("the real CIFAR-10 JPEG folder is not beside this checkout")
    probe = opened(SHARED / "cifar10-jpeg")
    assert (probe.record.dataset, probe.record.samples, probe.record.classes) == ("cifar10", 1000, CIFAR10)
    assert np.bincount(probe.labels).tolist() == [100] * 10
    assert probe.batch(0, 8).shape == (8, 3, 32, 32)
