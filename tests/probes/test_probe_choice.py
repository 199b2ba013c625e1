from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from probe_cases import images, labels, network, opened, save_npz

from lcaudit.architectures import resolve
from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import EnvironmentFailure, MalformedInput, ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.core.plugins import document, names
from lcaudit.core.text import display_name
from lcaudit.probes import _resolve, datasets
from lcaudit.probes._resolve import sources
from lcaudit.probes._select import choose, ranges
from tests.cases import SHARED, needs_shared


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return save_npz(
        tmp_path / "many.npz", images=np.arange(6000, dtype=np.float64)[:, None] / 6000, labels=labels(6000)
    )


def test_order_is_a_seeded_permutation(many: Path) -> None:
    net = network((1,))
    first, again, other = (opened(many, net, samples=100, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.keys, np.random.default_rng(3).permutation(6000)[:100])
    np.testing.assert_array_equal(first.keys, again.keys)
    assert first.record == again.record and first.record.indices != other.record.indices
    np.testing.assert_allclose(first.batch(10, 20)[:, 0].numpy(), first.keys[10:20] / 6000, rtol=1e-6)
    np.testing.assert_array_equal(first.labels, first.keys % 10)
    assert any("default_rng(3).permutation(6000), its first 100" in step for step in first.record.preprocessing)


def test_batches_do_not_depend_on_how_they_are_cut(many: Path) -> None:
    probe = opened(many, network((1,)), samples=50)
    whole = probe.batch(0, 50).numpy()
    np.testing.assert_array_equal(whole, np.concatenate([probe.batch(i, i + 1).numpy() for i in range(50)]))
    np.testing.assert_array_equal(whole, probe.batch(0, 50).numpy())


def test_number_of_samples(many: Path, tmp_path: Path) -> None:
    net = network((1,))
    assert opened(many, net).record.samples == 5000
    assert opened(many, net, samples=6000).record.indices == "0-5999"
    generous = opened(many, net, samples=7000).record
    assert generous.samples == 6000 and any("7000 samples were asked for" in step for step in generous.preprocessing)
    for samples in (1, 0, -3):
        with pytest.raises(UsageError, match="at least 2"):
            opened(many, net, samples=samples)
    with pytest.raises(UsageError, match="--seed -1"):
        opened(many, net, seed=-1)


def test_ranges_are_sorted_and_compact() -> None:
    assert ranges(np.array([4, 0, 1, 2, 9, 8])) == "0-2,4,8-9"
    assert ranges(np.array([], np.int64)) == ""
    positions, _ = choose(500, 200, 1)
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in ranges(positions).split(",")]
    listed = [i for part in parts for i in range(int(part[1]), int(part[2] or part[1]) + 1)]
    assert listed == sorted(positions.tolist())


FAMILY = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "the family's training code")
FAMILY_2 = Normalisation((0.5,), (0.5,), "another training code")


def test_normalisation_precedence(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "cifar10" / "test.npz", images=images())
    net = network(normalisation={"cifar10": FAMILY})
    raw = images().transpose(0, 3, 1, 2) / 255
    for probe, mean, std, source in (
        (opened(path, net, mean=(0.5,), std=(0.25,)), (0.5,), (0.25,), "--mean"),
        (opened(path, net, mean=(0.1, 0.2, 0.3), std=(1, 2, 3)), (0.1, 0.2, 0.3), (1, 2, 3), "--mean"),
        (opened(path, net), FAMILY.mean, FAMILY.std, "training code; data set recognised as cifar10 by the name"),
        (opened(path), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "train split; data set recognised"),
        (opened(save_npz(tmp_path / "x.npz", images=images())), (0.0,), (1.0,), "none known; pass --mean"),
    ):
        record = probe.record.normalisation
        assert (record.mean, record.std) == (mean, std) and source in record.source
        expected = (raw[probe.keys] - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
        np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_only_normalisation_of_a_code_base_is_assumed_and_said_so(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "x.npz", images=images())
    probe = opened(path, network(normalisation={"cifar10": FAMILY}))
    raw = images()[probe.keys].transpose(0, 3, 1, 2) / 255
    expected = (raw - np.reshape(FAMILY.mean, (3, 1, 1))) / np.reshape(FAMILY.std, (3, 1, 1))
    np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert probe.record.normalisation.source == (
        "assumed: the family's training code; the data set was not recognised; --mean and --std override it"
    )
    assert probe.record.dataset == "x.npz"
    given = opened(path, network(normalisation={"cifar10": FAMILY}), mean=(0.5,), std=(0.5,))
    assert given.record.normalisation.source == "given with --mean and --std"


@pytest.mark.parametrize(
    ("array", "net"),
    [
        (images(), network(classes=100, normalisation={"cifar10": FAMILY})),
        (images(), network(normalisation={"another": FAMILY})),
        (images(), network(normalisation={"imagenet": FAMILY})),
        (images(), network((3072,), normalisation={"cifar10": FAMILY})),
        (images(shape=(32, 32)), network((1, 32, 32), normalisation={"digits": FAMILY, "cifar10": FAMILY_2})),
        (images() / 100.0 - 1, network(normalisation={"cifar10": FAMILY})),
        (images() > 100, network(normalisation={"cifar10": FAMILY})),
    ],
)
def test_nothing_is_assumed_where_something_does_not_fit(tmp_path: Path, array: np.ndarray, net) -> None:
    record = opened(save_npz(tmp_path / "x.npz", images=array), net).record
    assert (record.normalisation.mean, record.normalisation.std) == ((0.0,), (1.0,))


@needs_shared
def test_a_copy_of_cifar10_under_another_name_is_normalised_as_the_original(tmp_path: Path) -> None:
    test = SHARED / "data" / "cifar10" / "test.npz"
    copy = tmp_path / "copy" / "test.npz"
    copy.parent.mkdir()
    copy.write_bytes(test.read_bytes())
    net = resolve(open_checkpoint(SHARED / "checkpoints" / "resnet20-12fca82f.th"), None)
    one, other = opened(test, net, samples=40), opened(copy, net, samples=40)
    np.testing.assert_array_equal(one.batch(0, 40).numpy(), other.batch(0, 40).numpy())
    assert one.record.normalisation.source.startswith("ImageNet's statistics, as in the training code of akamaster")
    assert other.record.normalisation.source.startswith("assumed: ImageNet's statistics, as in the training code of")


def test_flat_networks_are_normalised_by_channel_first(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "x.npz", images=images())
    options = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 3.0)}
    flat, image = opened(path, network((3072,)), **options), opened(path, network(), **options)
    np.testing.assert_array_equal(flat.batch(0, 12).numpy(), image.batch(0, 12).numpy().reshape(12, -1))


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [
        ((0.5,), None, "together"),
        (None, (0.5,), "together"),
        ((0.5, 0.5), (0.5, 0.5), "channels .3."),
        ((), (), "channels .3."),
        ((0.5,), (0.0,), "positive"),
        ((103.5, 123.7, 116.3), (58.4, 57.1, 57.4), "--mean 123.7: expected numbers on the scale 0 to 1"),
        ((0.5,), (0.2, -0.2, 0.2), "positive"),
        ((float("nan"),), (1.0,), "finite"),
    ],
)
def test_mean_and_std_that_make_no_sense(tmp_path: Path, mean, std, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        opened(save_npz(tmp_path / "x.npz", images=images()), mean=mean, std=std)


@pytest.mark.parametrize(
    ("array", "divisor", "says"),
    [
        (images(), 255, "0 to 255. divided by 255"),
        (images().astype(np.int64), 255, "divided by 255"),
        (images().astype(np.float32), 255, "0 to 255 stored as floats .0 to 255.: divided by 255"),
        ((images() % 17).astype(np.float32), 255, "stored as floats .0 to 16.: .* if 16 is the largest value"),
        ((images() % 3).astype(np.float32), 255, "stored as floats .0 to 2.: divided by 255"),
        ((images() % 2).astype(np.float32), 1, "kept as they are"),
        (images() * 0.99, 1, "used as they are; if they are pixels 0 to 255, divide them by 255"),
        (images() / 255.0, 1, "kept as they are"),
        (images() / 100.0 - 1, 1, "outside .0, 1. .* used as they are"),
        (images() > 100, 1, "true and false"),
    ],
)
def test_ranges_of_values(tmp_path: Path, array: np.ndarray, divisor: float, says: str) -> None:
    probe = opened(save_npz(tmp_path / "a.npz", images=array), mean=(0.0,), std=(2.0,))
    expected = array[probe.keys].transpose(0, 3, 1, 2) / divisor / 2
    np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert any(re.search(says, step) for step in probe.record.preprocessing)


def test_a_mean_of_any_size_for_values_of_any_size(tmp_path: Path) -> None:
    array = images() * 1.01 - 3
    probe = opened(save_npz(tmp_path / "a.npz", images=array), mean=(123.7,), std=(58.0,))
    expected = (array[probe.keys].transpose(0, 3, 1, 2) - 123.7) / 58
    np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_whole_floats_that_are_no_images_stay(tmp_path: Path) -> None:
    """Counts from 0 to 9 in a table are no pixels."""
    array = (images(shape=(7,)) % 10).astype(np.float32)
    probe = opened(save_npz(tmp_path / "a.npz", x=array), network((7,)))
    np.testing.assert_array_equal(probe.batch(0, 12).numpy(), array[probe.keys])


def test_normalised_floats_are_not_normalised_again(tmp_path: Path) -> None:
    array = images() / 100.0 - 1
    probe = opened(save_npz(tmp_path / "cifar10.npz", images=array), network(normalisation={"cifar10": FAMILY}))
    np.testing.assert_allclose(
        probe.batch(0, 12).numpy(), array[probe.keys].transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6
    )
    assert "normalised already" in probe.record.normalisation.source
    assert "not normalised" in probe.record.preprocessing


def test_digits_as_scikit_learn_gives_them(tmp_path: Path) -> None:
    sixteen = (images(8, (8, 8)) % 17).astype(np.float64)
    record = opened(save_npz(tmp_path / "digits.npz", images=sixteen), network((1, 8, 8))).record
    assert record.dataset == "digits" and any("divided by 16" in step for step in record.preprocessing)


def test_unknown_name_lists_what_there_is() -> None:
    for data in ("cifar11", "no/such/thing", "", "a\0b", "x" * 5000):
        with pytest.raises(ProbeUnavailable, match="is neither a data set nor a path") as caught:
            opened(data)
        for word in ("cifar10", "digits", "hf:ns/name", "a path that exists"):
            assert word in caught.value.hint


@pytest.mark.parametrize(
    ("data", "name"),
    [("CIFAR10", "cifar10"), ("cifar-10", "cifar10"), ("Cifar_10", "cifar10"), ("FashionMNIST", "fashion-mnist")],
)
def test_case_and_hyphens_of_a_name_do_not_count(data: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(_resolve, "_named", lambda name, *arguments: asked.append(name))
    _, dataset, *_ = _resolve.find(data, None, None, {}, 0, lambda *told: None)
    assert (asked, dataset) == ([name], name)


def test_a_file_that_is_there_wins_over_another_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(tmp_path / "a.npz", images=images(5, (8, 8))).rename("Digits")
    assert opened("Digits", network((64,))).record.available == 5


@pytest.mark.parametrize(("data", "name"), [("cifr10", "cifar10"), ("MNSIT", "mnist"), ("Image-Nette2", "imagenette")])
def test_a_slip_of_the_pen_is_answered_with_the_name(data: str, name: str) -> None:
    with pytest.raises(ProbeUnavailable, match="is neither a data set nor a path") as caught:
        opened(data)
    assert caught.value.hint.startswith(f"did you mean {name}?")


def test_the_list_of_what_is_read_is_shown_whole(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(MalformedInput) as caught:
        opened(tmp_path / "a.csv")
    assert display_name(caught.value.hint, 500) == caught.value.hint
    for word in ("cifar10", "hf:ns/name", "folder of images", *(f".{kind}" for kind in ("npz", "npy", "jsonl", "txt"))):
        assert word in caught.value.hint


@pytest.mark.parametrize("data", ["no/such/file.npz", "./here", "/a/b", "~/c", "photos.tar"])
def test_what_looks_like_a_path_is_told_that_it_is_not_there(data: str) -> None:
    with pytest.raises(ProbeUnavailable, match="no such file or folder"):
        opened(data)


def test_what_looks_like_a_repository_is_told_how_to_name_one() -> None:
    with pytest.raises(ProbeUnavailable) as caught:
        opened("ns/data")
    assert "hf:ns/data" in caught.value.hint


def test_name_wins_over_a_file_and_a_separator_over_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(tmp_path / "a.npz", images=images(5, (8, 8))).rename("digits")
    named = opened("digits", network((64,)))
    assert named.record.available == 797 and any("./digits" in step for step in named.record.preprocessing)
    assert opened("./digits", network((64,))).record.available == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PAR1....", "Parquet"),
        (b"\x1f\x8b\x08", "extract"),
        (b"\x80\x02}q.", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x89PNG\r\n\x1a\n", "pass its folder"),
        (b"", "no kind of data"),
        (b"hello", "no kind of data"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(MalformedInput, match=says):
        opened(tmp_path / "a.npz")


def test_messages_hold_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\n.npz").write_bytes(b"hello")
    for data in (tmp_path / "a\x1b[31m\n.npz", "\x1b[31m\n"):
        with pytest.raises((MalformedInput, ProbeUnavailable)) as caught:
            opened(data)
        assert not set("\x1b\n") & set(caught.value.message + caught.value.hint)


def test_unreadable_file_is_an_environment_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_npz(tmp_path / "a.npz", images=images())

    def denied(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lcaudit.probes._files.os.open", denied)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        opened(path)


def test_every_file_of_the_folder_is_a_source_or_a_data_set() -> None:
    files = {name.replace("_", "-") for name in names("lcaudit.probes")}
    assert files == {name.replace("_", "-") for name in (*datasets(), *sources())}
    assert not set(datasets()) & set(sources())
    for name in names("lcaudit.probes"):
        assert len(document("lcaudit.probes", name)) > 40
    for name, dataset in datasets().items():
        assert re.search(dataset.pattern, name) and dataset.title and len(set(dataset.classes)) == len(dataset.classes)
        assert dataset.shapes or name in ("imagenet", "imagenette"), "those are pictures of any size"
        assert min(dataset.normalisation.std) > 0
