from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from probe_cases import images, labels, network, opened, python2_batch, save_npz

from lcaudit.core.errors import (
    AuditError,
    HubUnreachable,
    LimitExceeded,
    MalformedInput,
    ProbeUnavailable,
    UnsafeCheckpoint,
)
from lcaudit.probes import _cifar
from lcaudit.probes._pickled import read

HUNDRED = network(classes=100)
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and working folder, so that no copy on this machine is found."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.delenv("LCAUDIT_DATA", raising=False)
    monkeypatch.chdir(home)

    def away(data: str, *more: object) -> None:
        raise HubUnreachable(f"no connection for {data}", "try again")

    monkeypatch.setattr("lcaudit.probes._resolve.open_repository", away)
    return home


def flat(data: np.ndarray) -> np.ndarray:
    """[n, 32, 32, 3] as the batches store it: [n, 3072], channels first."""
    return np.ascontiguousarray(data.transpose(0, 3, 1, 2)).reshape(len(data), -1)


def write_python(folder: Path, part: str, data: np.ndarray, protocol: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = {b"data": flat(data), b"labels": labels(len(data)).tolist(), b"filenames": [b"a.png"] * len(data)}
    (folder / part).write_bytes(pickle.dumps(batch, protocol))


def write_binary(folder: Path, part: str, data: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate([labels(len(data)).astype(np.uint8)[:, None], flat(data)], axis=1)
    (folder / part).write_bytes(rows.tobytes())


def test_every_layout_is_one_probe(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("py2", *"2345", "bin", "npz", "keras")]
    (roots[0] / "cifar-10-batches-py").mkdir(parents=True)
    batch = python2_batch(flat(images()), labels().tolist())
    (roots[0] / "cifar-10-batches-py" / "test_batch").write_bytes(batch)
    for root in roots[1:5]:
        write_python(root / "cifar-10-batches-py", "test_batch", images(), int(root.name))
    write_binary(roots[5] / "cifar-10-batches-bin", "test_batch.bin", images())
    save_npz(roots[6] / "cifar10" / "test.npz", images=images(), labels=labels())
    save_npz(roots[7] / "cifar10.npz", x_test=images(), y_test=labels()[:, None].astype(np.uint8))
    probes = [opened("cifar10", root=root) for root in roots]
    assert len({probe.record.sha256 for probe in probes}) == 1
    for probe in probes:
        assert (probe.record.dataset, probe.record.split, probe.record.available) == ("cifar10", "test", 12)
        np.testing.assert_array_equal(probe.labels, labels()[probe.keys])
        mean, std = (np.array(values)[:, None, None] for values in cifar10_normalisation())
        expected = (images()[probe.keys].transpose(0, 3, 1, 2) / 255 - mean) / std
        np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-4, atol=1e-5)


def cifar10_normalisation() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def test_python_2_batch_is_what_python_would_unpickle() -> None:
    content = python2_batch(flat(images()), labels().tolist())
    batch = pickle.loads(content, encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], flat(images()))
    assert read(content, "a", ("labels",)) == {"labels": batch[b"labels"]}


def test_train_is_five_parts_in_order(tmp_path: Path) -> None:
    parts = [images(4, seed=part) for part in range(5)]
    for number, part in enumerate(parts, 1):
        write_python(tmp_path / "cifar-10-batches-py", f"data_batch_{number}", part)
    np.savez(tmp_path / "train.npz", images=np.concatenate(parts), labels=np.tile(labels(4), 5))
    batches = opened("cifar10", root=tmp_path, split="train").record
    assert (batches.available, batches.split) == (20, "train")
    assert batches.sha256 == opened(tmp_path / "train.npz").record.sha256
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    (tmp_path / "train.npz").unlink()
    with pytest.raises(HubUnreachable, match=r"cifar10 \(train\) was not found"):
        opened("cifar10", root=tmp_path, split="train")


def test_a_file_that_names_no_split_is_not_called_test(tmp_path: Path) -> None:
    save_npz(tmp_path / "cifar10.npz", images=images(), labels=labels())
    assert opened("cifar10", root=tmp_path).record.split == "unknown"
    assert opened("cifar10", root=tmp_path, split="train").record.split == "train"


def test_places_are_searched_in_order(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [nowhere / ".keras" / "datasets", nowhere / "datasets", nowhere / "data", tmp_path / "b", tmp_path / "a"]
    for seed, place in enumerate(places):
        write_python(place / "cifar-10-batches-py", "test_batch", images(seed=seed))
        if place.parent == tmp_path:
            monkeypatch.setenv("LCAUDIT_DATA", f"{tmp_path / 'missing'}:{tmp_path / 'a'}:{tmp_path / 'b'}")
        first = opened("cifar10").record.sha256
        save_npz(tmp_path / "same.npz", images=images(seed=seed), labels=labels())
        assert first == opened(tmp_path / "same.npz").record.sha256
    write_python(tmp_path / "root", "test_batch", images(seed=9))
    assert opened("cifar10", root=tmp_path / "root").record.sha256 != first


def test_nothing_found_lists_the_places_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCAUDIT_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(HubUnreachable) as caught:
        opened("cifar10", root=tmp_path / "mine")
    for place in (str(tmp_path / "mine"), str(tmp_path / "elsewhere"), "~/datasets", "~/.keras/datasets"):
        assert place in caught.value.message
    assert "no connection for hf:uoft-cs/cifar10" in caught.value.message
    assert "--data-root" in caught.value.hint and "try again" in caught.value.hint


def test_a_packed_archive_is_named_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ProbeUnavailable) as caught:
        opened("cifar10", root=tmp_path)
    assert "still packed" in caught.value.message and "tar -xzf" in caught.value.hint
    write_python(tmp_path / "cifar-10-batches-py", "test_batch", images())
    assert opened("cifar10", root=tmp_path).record.samples == 12


def test_a_folder_with_the_layout_is_a_path_too(tmp_path: Path) -> None:
    write_python(tmp_path / "cifar-10-batches-py", "test_batch", images())
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        assert opened(path).record.dataset == "cifar10"


def test_labels_of_another_number_of_classes(tmp_path: Path) -> None:
    write_python(tmp_path, "test_batch", images())
    with pytest.raises(ProbeUnavailable, match="cifar10 has 10 classes, the network has 100"):
        opened("cifar10", network(classes=100), root=tmp_path)
    (tmp_path / "test_batch").write_bytes(python2_batch(flat(images()), [0] * 11 + [77]))
    with pytest.raises(ProbeUnavailable, match="label 77 at index 11"):
        opened("cifar10", root=tmp_path)


class Touch:
    """Unpickled, it would leave a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple:
        return Path.touch, (self.sentinel,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_batch_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    sentinel = tmp_path / "sentinel"
    batch = {b"data": flat(images()), b"labels": labels().tolist(), b"extra": Touch(sentinel)}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    with pytest.raises(AuditError) as caught:
        opened("cifar10", root=tmp_path)
    assert caught.value.kind in ("refused", "malformed") and not sentinel.exists()
    pickle.loads((tmp_path / "test_batch").read_bytes())
    assert sentinel.exists(), "the payload must be one that an unpickler runs"


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cnumpy.f2py\nx\n.",
    ],
)
def test_a_foreign_name_is_refused(content: bytes) -> None:
    with pytest.raises(UnsafeCheckpoint, match="runs no code"):
        read(content, "a", ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02].",
        b"\x80\x02}q\x00h\x07.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02t.",
        b"\x80\x02" + b"]" + b"\x85" * 100_000 + b"}.",
        b"\x80\x02}" + b")" + b"\x85" * 5000 + b"K\x01s.",
        b"\x80\x02}\x8a\xff",
        b"\x80\x02B\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\x00\x00\x00\x00.",
        b"\x80\x02cnumpy\ndtype\n(K\x01tR.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R}b.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02(lp0\n.",
        b"L" + b"9" * 5000 + b"L\n.",
    ],
)
def test_a_damaged_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedInput):
        read(content, "a", ("data",))


def test_text_cannot_be_multiplied_by_conversions() -> None:
    text = b"X" + (1_000_000).to_bytes(4, "little") + b"a" * 1_000_000 + b"q\x01"
    convert = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R0"
    with pytest.raises(MalformedInput):
        read(b"\x80\x02" + text + convert.replace(b"0", b"") * 1000 + b".", "a", ())


def test_opcodes_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcaudit.probes._pickled._MOST_OPCODES", 100)
    with pytest.raises(LimitExceeded, match="opcodes"):
        read(b"\x80\x02" + b"N" * 1000 + b".", "a", ())


def test_file_size_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cifar, "_MOST_BATCH", 1000)
    write_python(tmp_path, "test_batch", images())
    with pytest.raises(LimitExceeded, match="cap is 1,000"):
        opened("cifar10", root=tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": np.zeros((12, 3071), np.uint8)},
        {"data": np.zeros((12, 3072), np.float32)},
        {"data": [1, 2]},
        {"labels": [0] * 11},
        {"labels": ["a"] * 12},
        {"labels": [[0], [1, 2]]},
        {"labels": [0.5] * 12},
        {"labels": None},
        {"labels": [2**70] * 12},
    ],
)
def test_a_batch_of_another_make_is_refused(tmp_path: Path, changes: dict) -> None:
    batch = {"data": flat(images()), "labels": labels().tolist(), **changes}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(MalformedInput):
        opened("cifar10", root=tmp_path)


def test_a_cut_binary_batch_and_wrong_npz_are_refused(tmp_path: Path) -> None:
    write_binary(tmp_path, "test_batch.bin", images())
    content = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(content[:-1])
    with pytest.raises(MalformedInput, match="multiple of 3073"):
        opened("cifar10", root=tmp_path)
    save_npz(tmp_path / "b" / "cifar10.npz", images=images(shape=(28, 28)))
    with pytest.raises(ProbeUnavailable, match="32 × 32 × 3"):
        opened("cifar10", root=tmp_path / "b")


def test_cifar100_is_not_taken_for_cifar10(tmp_path: Path) -> None:
    for name in ("cifar100", "cifar10.1", "mycifar10x2", "cifar-100-python"):
        path = save_npz(tmp_path / name / "test.npz", images=images())
        assert opened(path, HUNDRED if "100" in name else None).record.dataset == (
            "cifar100" if "100" in name else "test.npz"
        )
        if "100" in name:
            assert opened(path.parent, HUNDRED).record.dataset == "cifar100"
            continue
        with pytest.raises(ProbeUnavailable, match="no PNG"):
            opened(path.parent)
    for name in ("cifar10", "CIFAR-10", "cifar_10_small", "my-cifar10"):
        record = opened(save_npz(tmp_path / name / "test.npz", images=images())).record
        assert record.dataset == "cifar10" and name in record.normalisation.source
    grey = save_npz(tmp_path / "cifar10" / "grey.npz", images=images(shape=(32, 32)))
    assert opened(grey, network((1, 32, 32))).record.dataset == "grey.npz"


def test_real_archive_is_recognised() -> None:
    path = SHARED / "cifar10" / "test.npz"
    if not path.exists():
        pytest.skip("the real CIFAR-10 images are not beside this checkout")
    record = opened(path).record
    assert (record.dataset, record.split, record.available, record.samples) == ("cifar10", "test", 846, 846)
    named = opened("cifar10", root=SHARED).record
    assert (named.sha256, named.split) == (record.sha256, "test")
    assert opened("cifar10", root=SHARED, split="train").record.available == 4660
