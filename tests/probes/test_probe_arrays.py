from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from probe_cases import images, labels, network, npy_bytes, opened, safetensors_bytes, save_npz
from safetensors.numpy import save_file

from lcaudit.core.errors import (
    AuditError,
    LimitExceeded,
    MalformedInput,
    ProbeUnavailable,
    UnsafeCheckpoint,
    UsageError,
)
from lcaudit.probes import _npy


def plain(probe) -> np.ndarray:
    return probe.batch(0, len(probe.keys)).numpy()


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels"),
        ("x", "y"),
        ("inputs", "targets"),
        ("x_test", "y_test"),
        ("X", "y"),
        ("X_test", "Y_test"),
        ("arr_0", "arr_1"),
        ("Data", "LABELS"),
    ],
)
def test_npz_and_safetensors_give_the_same_probe(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays = dict(zip(names, (images(), labels()), strict=True))
    save_file(arrays, tmp_path / "a.dat")  # the suffix plays no part
    zipped = opened(save_npz(tmp_path / "b.npz", **arrays))
    tensors = opened(tmp_path / "a.dat")
    assert zipped.record.sha256 == tensors.record.sha256
    np.testing.assert_array_equal(plain(zipped), plain(tensors))
    expected = images()[zipped.keys].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(plain(zipped), expected, rtol=1e-6)
    np.testing.assert_array_equal(zipped.labels, labels()[zipped.keys])


def test_content_hash_sees_pixels_labels_and_type_but_not_compression(tmp_path: Path) -> None:
    base = opened(save_npz(tmp_path / "a.npz", images=images(), labels=labels())).record.sha256
    np.savez_compressed(tmp_path / "b.npz", images=np.asfortranarray(images()), labels=labels().astype(np.uint8))
    assert opened(tmp_path / "b.npz").record.sha256 == base
    changed = images()
    changed[-1, -1, -1, -1] ^= 1
    others = [{"images": changed, "labels": labels()}, {"images": images(), "labels": labels()[::-1]}]
    others += [{"images": images()}, {"images": images().astype(np.float32), "labels": labels()}]
    hashes = {opened(save_npz(tmp_path / "c.npz", **arrays)).record.sha256 for arrays in others}
    assert len(hashes) == 4 and base not in hashes


def test_npy_is_an_unlabelled_probe(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", images())
    probe = opened(tmp_path / "train.npy")
    assert probe.labels is None and not probe.record.labelled and probe.record.split == "train"


def test_split_chooses_among_arrays(tmp_path: Path) -> None:
    path = save_npz(
        tmp_path / "all.npz", x_train=images(20), y_train=labels(20), x_test=images(), y_test=labels()[:, None]
    )
    assert (opened(path).record.available, opened(path).record.split) == (12, "test")
    assert (opened(path, split="train").record.available, opened(path, split="train").record.split) == (20, "train")
    with pytest.raises(ProbeUnavailable, match="_val"):
        opened(path, split="val")


def test_file_name_and_split_must_agree(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "my_validation.npz", images=images())
    assert opened(path).record.split == "val"
    with pytest.raises(UsageError, match="says val"):
        opened(path, split="test")
    assert opened(save_npz(tmp_path / "latest.npz", images=images())).record.split == "unknown"


def test_split_and_root_where_they_choose_nothing(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=images())
    with pytest.raises(UsageError, match=r"--split banana: a\.npz has no splits") as caught:
        opened(path, split="banana")
    assert "leave --split out" in caught.value.hint
    record = opened(path, split="train", root=tmp_path).record
    assert record.split == "train"
    assert any("--split train only names the data" in step for step in record.preprocessing)
    assert any("--data-root has no effect: --data is a path" in step for step in record.preprocessing)
    shipped = opened("digits", network((64,)), root=tmp_path).record.preprocessing
    assert any("--data-root has no effect: digits ships" in step for step in shipped)
    quiet = opened(save_npz(tmp_path / "b.npz", x_train=images(), x_test=images()), split="train").record.preprocessing
    assert not any("--split" in step or "--data-root" in step for step in quiet)


@pytest.mark.parametrize(
    ("raw", "wanted", "shape"),
    [
        ((3, 32, 32), (3, 32, 32), (3, 32, 32)),
        ((32, 32, 3), (3, 32, 32), (3, 32, 32)),
        ((28, 28), (1, 28, 28), (1, 28, 28)),
        ((28, 28, 1), (1, 0, 0), (1, 28, 28)),
        ((28, 28), (784,), (784,)),
        ((6, 5, 3), (90,), (90,)),
        ((784,), (1, 28, 28), (1, 28, 28)),
        ((9,), (9,), (9,)),
        ((9,), (0,), (9,)),
        ((5, 7), (5, 7), (5, 7)),
        ((32, 20, 3), (), (3, 32, 20)),
        ((32, 20, 3), (0, 0, 0), (3, 32, 20)),
    ],
)
def test_shapes_that_fit(tmp_path: Path, raw: tuple, wanted: tuple, shape: tuple) -> None:
    data = images(4, raw)
    probe = opened(save_npz(tmp_path / "a.npz", images=data), network(wanted))
    batch = probe.batch(1, 3)
    assert tuple(batch.shape) == (2, *shape) and batch.is_contiguous() and probe.record.shape == shape
    moved = data.transpose(0, 3, 1, 2) if len(raw) == 3 and raw[2] in (1, 3) else data
    expected = moved[probe.keys[1:3]].reshape(2, *shape) / 255
    np.testing.assert_allclose(batch.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("raw", "wanted", "says"),
    [
        ((3, 32, 3), (3, 0, 0), "first or last"),
        ((3, 3, 3), (), "first or last"),
        ((4, 5, 3), (60,), "first or last"),
        ((5, 6, 7), (210,), "first or last"),
        ((16, 16, 3), (3, 32, 32), "16 × 16 × 3, the network takes 3 × 32 × 32"),
        ((3072,), (3, 32, 32), "3072, the network takes"),
        ((1, 8, 8), (3, 8, 8), "the network takes"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path: Path, raw: tuple, wanted: tuple, says: str) -> None:
    with pytest.raises(ProbeUnavailable, match=says):
        opened(save_npz(tmp_path / "a.npz", images=images(4, raw)), network(wanted))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([0, 1, 10, 3]), "label 10 at index 2.*0 to 9"),
        (np.array([0, -1, 2, 3]), "label -1 at index 1"),
        (np.eye(4, 10), "one-hot"),
        (np.eye(4, 10, dtype=np.int64), "one-hot"),
        (np.array([0.0, 1.0, 2.0, 3.0]), "float64"),
        (np.array([0, 1, 2]), "3 labels for 4 samples"),
        (np.array([0]), "1 label for 4 samples"),
        (np.array([0, 1, 2, 2**63 + 5], dtype=np.uint64), "no class number"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, array: np.ndarray, says: str) -> None:
    with pytest.raises(ProbeUnavailable, match=says):
        opened(save_npz(tmp_path / "a.npz", images=images(4), labels=array))


def test_hints_name_the_usual_slips(tmp_path: Path) -> None:
    def hint(net=None, **arrays) -> tuple[str, str]:
        with pytest.raises(AuditError) as caught:
            opened(save_npz(tmp_path / "slip.npz", **arrays), net or network())
        return caught.value.message, caught.value.hint

    assert "labels start at 0, these at 1" in hint(images=images(), labels=labels(12) + 1)[1]
    assert "labels start at 0" not in hint(images=images(), labels=labels(12) * 2)[1]
    assert "1 channel (grey), the network takes 3 channels (RGB)" in hint(images=images(shape=(32, 32)))[1]
    assert "3 channels (RGB), the network takes 1 channel (grey)" in hint(network((1, 0, 0)), images=images())[1]
    assert "--input-size 16 keeps their size" in hint(images=images(shape=(16, 16, 3)))[1]
    assert "--input-size 32 resizes" in hint(images=images(shape=(16, 9, 3)))[1]
    assert "own input size" in hint(images=images(shape=(16,)))[1]
    words = np.array(["a"] * 12)
    assert "labels.npy of slip.npz holds <U1" in hint(images=images(), labels=words)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_pixels_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    data = images(6) / 255.0
    data[4, 3, 2, 1] = value
    with pytest.raises(ProbeUnavailable, match="image 4 holds"):
        opened(save_npz(tmp_path / "a.npz", images=data))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", "<f4"])
def test_any_float_is_read(tmp_path: Path, dtype: str) -> None:
    data = (images() / 255.0).astype(dtype)
    probe = opened(save_npz(tmp_path / "a.npz", images=data))
    np.testing.assert_allclose(plain(probe), data[probe.keys].transpose(0, 3, 1, 2).astype(np.float32), rtol=1e-6)


def test_big_and_little_endian_have_one_hash(tmp_path: Path) -> None:
    hashes = [
        opened(save_npz(tmp_path / "a.npz", images=(images() / 255.0).astype(kind))).record.sha256
        for kind in (">f4", "<f4")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (np.array([[1, "a"]], dtype=object), UnsafeCheckpoint, "Python objects"),
        (np.zeros((4, 3), dtype=[("a", "<f4"), ("b", "<i2")]), MalformedInput, "expected integers or floats"),
        (np.zeros((4, 3), dtype="U3"), MalformedInput, "expected integers or floats"),
        (np.zeros((4, 3), dtype=complex), MalformedInput, "complex128"),
        (np.zeros((0, 3), dtype=np.uint8), ProbeUnavailable, "none empty"),
        (np.zeros(4, dtype=np.uint8), ProbeUnavailable, "samples first"),
        (np.full((4, 3), 300), ProbeUnavailable, "expected 0 to 255"),
        (np.full((4, 3), -1, dtype=np.int8), ProbeUnavailable, "expected 0 to 255"),
        (np.zeros((1, 3), dtype=np.uint8), ProbeUnavailable, "holds 1 usable sample, at least 2"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, array: np.ndarray, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        opened(save_npz(tmp_path / "a.npz", images=array), network(()))


EIGHT_TIB = "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
NO_TEXT = "{'descr': '<U0', 'fortran_order': False, 'shape': (1099511627776,), }"
NEGATIVE = "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -2), }"
TRUTH = "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 4), }"
SHORT = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4), }"
SUBARRAY = "{'descr': ('|u1', (2,)), 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    "content",
    [
        npy_bytes(EIGHT_TIB),
        npy_bytes(NO_TEXT),
        npy_bytes(NEGATIVE, bytes(4)),
        npy_bytes(TRUTH, bytes(4)),
        npy_bytes(SHORT, bytes(7)),
        npy_bytes(SHORT, bytes(9)),
        npy_bytes(SUBARRAY, bytes(4)),
        npy_bytes("{" * 9000),
        npy_bytes("__import__('os').getpid()"),
        npy_bytes("{'descr': '|u1'}"),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{}",
        b"\x93NUMPY\x09\x00" + bytes(64),
        b"\x93NUMPY",
    ],
)
def test_hostile_npy_is_refused_without_taking_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    for name in ("a.npy", "a.npz"):
        tracemalloc.start()
        with pytest.raises(MalformedInput):
            opened(tmp_path / name, network(()))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_zip_bomb_is_refused(tmp_path: Path) -> None:
    header = npy_bytes("{'descr': '|u1', 'fortran_order': False, 'shape': (80, 1048576), }")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("images.npy", header + bytes(80 * 2**20))
    assert (tmp_path / "a.npz").stat().st_size < 2**20
    with pytest.raises(LimitExceeded, match="swells"):
        opened(tmp_path / "a.npz", network(()))


def test_cap_on_bytes_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_npy, "MOST_BYTES", 1000)
    with pytest.raises(LimitExceeded, match="cap is 1,000"):
        opened(save_npz(tmp_path / "a.npz", images=images()))


def test_damaged_zip_is_refused(tmp_path: Path) -> None:
    whole = save_npz(tmp_path / "a.npz", images=images(), labels=labels()).read_bytes()
    flipped = bytearray(whole)
    flipped[2000] ^= 1  # a pixel: only the checksum shows it
    for content in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), b"PK\x03\x04", b"PK\x05\x06" + bytes(18)):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises((MalformedInput, ProbeUnavailable)):
            opened(tmp_path / "b.npz")


@pytest.mark.parametrize("second", ["images.npy", "IMAGES.npy", "images"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", npy(images()))
        archive.writestr(second, npy(images(seed=1)))
    with pytest.raises(MalformedInput, match="twice"):
        opened(tmp_path / "a.npz")


def test_unusual_members_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", npy(images()))
    with pytest.raises(MalformedInput, match="unusual"):
        opened(tmp_path / "a.npz")
    content = bytearray(save_npz(tmp_path / "b.npz", images=images()).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the central directory
    (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(MalformedInput, match="encrypted"):
        opened(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("images.npy", b"not an array")
    with pytest.raises(MalformedInput, match=r"not an \.npy array"):
        opened(tmp_path / "c.npz")


def test_missing_or_ambiguous_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="holds pictures, expected an array named images") as caught:
        opened(save_npz(tmp_path / "a.npz", pictures=images()))
    for name in ("images", "x", "arr_0", "input_ids", "attention_mask", "labels", "y", "arr_1", "_test", "capitals"):
        assert name in caught.value.hint
    with pytest.raises(ProbeUnavailable, match="images, x"):
        opened(save_npz(tmp_path / "a.npz", images=images(), x=images()))


def entry(dtype: str = "U8", shape: object = (2, 4), offsets: object = (0, 8)) -> dict:
    return {"images": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_bytes(entry(offsets=(0, 9)), bytes(8)),
        safetensors_bytes(entry(offsets=(8, 0)), bytes(8)),
        safetensors_bytes(entry(shape=(-2, -4)), bytes(8)),
        safetensors_bytes(entry(shape=(2.0, 4)), bytes(8)),
        safetensors_bytes(entry(shape=(2, 3)), bytes(8)),
        safetensors_bytes(entry(shape=(2**40, 2**40)), bytes(8)),
        safetensors_bytes(entry(dtype="F8_E4M3"), bytes(8)),
        safetensors_bytes({"images": 3}, bytes(8)),
        safetensors_bytes('{"images": 1, "images": 2}'),
        safetensors_bytes('{"a": ' + "[" * 100_000),
        safetensors_bytes("{"),
        struct.pack("<Q", 2**26) + b"{" + bytes(20),
    ],
)
def test_hostile_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(MalformedInput):
        opened(tmp_path / "a.safetensors", network(()))


def test_flipped_bytes_give_a_probe_or_one_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"images": images(3, (4, 4)), "labels": labels(3)}
    save_file(arrays, tmp_path / "a.safetensors")
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    for original in ((tmp_path / "a.safetensors").read_bytes(), (tmp_path / "a.npz").read_bytes()):
        for _ in range(300):
            content = bytearray(original[: rng.integers(20, len(original) + 200)])
            for place in rng.integers(0, len(content), 3):
                content[place] = rng.integers(256)
            (tmp_path / "b").write_bytes(content)
            try:
                opened(tmp_path / "b", network(())).batch(0, 2)
            except AuditError as error:
                assert error.message and "\n" not in error.message


def test_memory_never_holds_the_whole_set_as_floats(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=np.zeros((4000, 32, 32, 3), np.uint8))
    tracemalloc.start()
    probe = opened(path)
    for start in range(0, 4000, 100):
        probe.batch(start, start + 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    raw = 4000 * 3072
    assert raw < peak < 2.5 * raw  # the float32 copy alone would be 4 × raw


def test_labels_that_are_no_class_numbers_of_samples(tmp_path: Path) -> None:
    real, answers = np.linspace(-1, 1, 12), np.eye(12, 3)
    pixels = np.arange(48).reshape(12, 2, 2) % 10
    pixels[0, 0, 0] = 255

    def given(array: np.ndarray, classes: int = 10, **options: object) -> np.ndarray:
        save_npz(tmp_path / "a.npz", images=images(), labels=array)
        probe = opened(tmp_path / "a.npz", network(classes=classes), **options)
        return probe.labels[np.argsort(probe.keys)]

    assert given(real, task="regression").dtype == np.float64
    assert given(real.astype(np.float32)[:, None], classes=1).shape == (12,)
    np.testing.assert_array_equal(given(answers, task="binary"), answers)
    assert given(labels() % 2, classes=1).dtype == np.int64
    assert given(np.arange(12), classes=3, task="regression").max() == 11
    np.testing.assert_array_equal(given(pixels, classes=3), pixels)  # which outputs are the classes is not known yet
    np.testing.assert_array_equal(given(np.where(labels() == 3, -100, labels())) == -100, labels() == 3)
    assert given(np.where(labels() == 3, 255, labels()), ignore_index=255).max() == 255
    for array, options, says in (
        (real, {}, "one integer class number"),
        (real, {"task": "classification"}, "float64"),
        (pixels - 1, {}, "label -1 at index 2"),
    ):
        with pytest.raises(ProbeUnavailable, match=says):
            given(array, **options)


def test_content_hash_tells_kinds_and_shapes_of_labels_apart(tmp_path: Path) -> None:
    found = set()
    for array in (np.arange(48).reshape(12, 4), np.arange(48).reshape(12, 2, 2), np.arange(48.0).reshape(12, 4)):
        save_npz(tmp_path / "a.npz", images=images(), labels=array)
        found.add(opened(tmp_path / "a.npz", network(classes=0), task="regression").record.sha256)
    assert len(found) == 3
