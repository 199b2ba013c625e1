"""Parquet files as probes: columns found by type, what is refused, and files that lie."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from probe_cases import network, opened

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.probes import _table

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.int64) % 10


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def structs(pixels: np.ndarray = PIXELS) -> list[dict[str, Any]]:
    return [{"bytes": png(image), "path": f"{index}.png"} for index, image in enumerate(pixels)]


def write(path: Path, columns: dict[str, Any], features: Any = None, **options: Any) -> Path:
    table = pyarrow.table(columns)
    if features is not None:
        text = features if isinstance(features, str) else json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    pyarrow.parquet.write_table(table, path, **options)
    return path


def class_label(names: tuple[str, ...] = CIFAR10) -> dict[str, Any]:
    return {"_type": "ClassLabel", "names": list(names)}


IMAGE = {"_type": "Image"}
COLUMNS = {"id": list(range(12)), "img": structs(), "label": LABELS}
FEATURES = {"id": {"_type": "Value", "dtype": "int64"}, "img": IMAGE, "label": class_label()}


@pytest.mark.parametrize("rows", [1, 5, 1000])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_pixels_and_labels_come_out_as_they_went_in(tmp_path: Path, rows: int, compression: str) -> None:
    path = write(tmp_path / "test.parquet", COLUMNS, FEATURES, row_group_size=rows, compression=compression)
    probe = opened(path, seed=3)
    order = np.random.default_rng(3).permutation(12)
    values = probe.batch(0, 12).numpy()
    normalisation = probe.record.normalisation
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    literal = ((PIXELS[order] / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert np.abs(values - literal).max() < 1e-5
    assert (probe.labels == LABELS[order]).all() and (probe.keys == order).all()
    assert (probe.record.dataset, probe.record.split, probe.record.classes) == ("cifar10", "test", CIFAR10)
    assert "images from column img, labels from label" in probe.record.preprocessing


def test_the_hash_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    one = opened(write(tmp_path / "a.parquet", COLUMNS, FEATURES, row_group_size=4)).record.sha256
    plain = {"image": [image["bytes"] for image in structs()], "label": LABELS}
    two = opened(write(tmp_path / "b.parquet", plain, compression="zstd")).record.sha256
    other = opened(write(tmp_path / "c.parquet", {**plain, "label": LABELS[::-1]})).record.sha256
    assert one == two != other


def test_only_the_chosen_rows_are_kept_in_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 64, 64, 3), dtype=np.uint8)
    path = write(tmp_path / "test.parquet", {"img": structs(noise)}, row_group_size=10)
    net = network(shape=(3, 64, 64))
    opened(path, net, samples=2)
    tracemalloc.start()
    opened(path, net, samples=2)
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 2
    tracemalloc.stop()


def test_grey_images_and_resizing_follow_the_network(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    path = write(tmp_path / "mnist.parquet", {"image": structs(grey), "label": np.arange(6)})
    assert opened(path, network(shape=(1, 28, 28))).batch(0, 2).shape == (2, 1, 28, 28)
    assert opened(path, network(shape=(3, 32, 32))).batch(0, 2).shape == (2, 3, 32, 32)


CHOICES: dict[str, tuple[dict[str, Any], Any, dict[str, str], str]] = {
    "by feature": ({"a": structs(), "b": structs(), "y": LABELS}, {"b": IMAGE, "y": class_label()}, {}, "b y"),
    "bytes": ({"jpeg": [image["bytes"] for image in structs()], "cls": LABELS}, None, {}, "jpeg cls"),
    "class label among numbers": ({"img": structs(), "id": LABELS, "y": LABELS}, {"y": class_label()}, {}, "img y"),
    "label by its name": ({"img": structs(), "id": LABELS, "label": LABELS}, None, {}, "img label"),
    "unlabelled": ({"img": structs(), "text": ["x"] * 12}, None, {}, "img "),
    "by the user": ({"a": structs(), "b": structs(), "x": LABELS, "y": LABELS}, None, {"image": "b", "label": "x"},
                    "b x"),
    "the user wins": ({"img": structs(), "id": LABELS, "label": LABELS}, None, {"label": "id"}, "img id"),
    "small integers": ({"img": structs(), "y": LABELS.astype(np.uint8)}, None, {}, "img y"),
    "dots in names": ({"a.b": structs(), "y.z": LABELS}, None, {}, "a.b y.z"),
    "nonsense described": ({"img": structs(), "y": LABELS}, "{nonsense", {}, "img y"),
    "described oddly": ({"img": structs(), "y": LABELS}, {"img": 3, "y": [1], "z": IMAGE}, {}, "img y"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_columns_are_found_by_type(tmp_path: Path, case: str) -> None:
    columns, features, asked, expected = CHOICES[case]
    probe = opened(write(tmp_path / "x.parquet", columns, features), columns=asked)
    image, label = expected.split(" ")
    said = f"images from column {image}" + (f", labels from {label}" if label else "")
    assert said in probe.record.preprocessing
    assert probe.record.labelled is bool(label)
    if label:
        assert (np.sort(probe.labels) == np.sort(LABELS)).all()
    else:
        assert "no column of labels" in probe.record.preprocessing


def test_labels_that_are_all_missing_are_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {**COLUMNS, "label": np.full(12, -1)}, FEATURES)
    probe = opened(path)
    assert probe.labels is None and probe.record.dataset != "cifar10"
    assert "every label in column label is -1: taken as unlabelled" in probe.record.preprocessing


STRUCT = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
REFUSED: dict[str, tuple[dict[str, Any], Any, dict[str, str], type[AuditError], str]] = {
    "two images": ({"a": structs(), "b": structs()}, None, {}, ProbeUnavailable, "has 2 columns of images: a, b"),
    "two labels": ({"img": structs(), "fine": LABELS, "coarse": LABELS}, None, {}, ProbeUnavailable,
                   "2 columns that could be labels: fine, coarse"),
    "no image": ({"text": ["a"] * 12, "label": LABELS}, None, {}, ProbeUnavailable,
                 "x.parquet holds text, and tiny reads pictures of 3 × 32 × 32"),
    "absent": (COLUMNS, None, {"image": "photo"}, UsageError, "--columns image=photo: x.parquet has no such column"),
    "not an image": (COLUMNS, None, {"image": "id"}, ProbeUnavailable, "column id holds int64, expected image files"),
    "not a label": ({"img": structs(), "name": ["x"] * 12}, None, {"label": "name"}, ProbeUnavailable,
                    "column name holds string, expected numbers"),
    "no bytes": ({"img": pyarrow.array([{"bytes": None, "path": "a.png"}] * 12, STRUCT)}, None, {}, ProbeUnavailable,
                 "12 of 12 images cannot be used: row"),
    "nothing": ({"img": pyarrow.array([None] * 12, STRUCT)}, None, {}, ProbeUnavailable, "12 of 12 images cannot"),
    "no bytes at all": ({"img": [{"bytes": None}] * 12}, None, {}, ProbeUnavailable, "has no column of images"),
    "no picture": ({"img": [b"<html>"] * 12}, None, {}, ProbeUnavailable, "not a readable PNG"),
    "missing label": ({"img": structs(), "y": [None, *LABELS[1:].tolist()]}, None, {}, ProbeUnavailable,
                      "1 rows have no y"),
    "other classes": ({"img": structs(), "y": LABELS}, {"y": class_label(("a", "b"))}, {}, ProbeUnavailable,
                      "x.parquet has 2 classes (a, b), the network has 10 outputs"),
    "label beyond": ({"img": structs(), "y": LABELS + 5}, None, {}, ProbeUnavailable, "label 10 at index 5"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_and_how_it_is_said(tmp_path: Path, case: str) -> None:
    columns, features, asked, kind, says = REFUSED[case]
    path = write(tmp_path / "x.parquet", columns, features)
    with pytest.raises(kind) as caught:
        opened(path, columns=asked)
    assert says in caught.value.message and caught.value.hint


def test_names_in_a_table_reach_no_terminal(tmp_path: Path) -> None:
    escape = "\x1b]0;owned\x07\n"
    path = write(tmp_path / "x.parquet", {escape: ["a"] * 12, f"{escape}2": LABELS})
    with pytest.raises(ProbeUnavailable) as caught:
        opened(path)
    assert not set(caught.value.message + caught.value.hint) & {"\x1b", "\x07", "\n"}


def test_columns_mean_nothing_elsewhere(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", images=PIXELS, labels=LABELS)
    for data in (tmp_path / "test.npz", "digits"):
        with pytest.raises(UsageError, match="has no columns to choose from"):
            opened(data, columns={"label": "y"})


def test_a_cell_or_a_file_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of equal values costs a few bytes however often it is repeated and however large it is."""
    monkeypatch.setattr(_table, "MOST_FILE", 2**20)
    monkeypatch.setattr(_table, "_ALWAYS_ALLOWED", 2**22)
    one = write(tmp_path / "one.parquet", {"img": [bytes(2**20 + 1)]}, compression="zstd")
    with pytest.raises(LimitExceeded, match="a cell of more than 1 MiB"):
        opened(one)
    many = write(tmp_path / "many.parquet", {"img": [bytes(2**19)] * 4000}, compression="zstd")
    assert many.stat().st_size < 100_000
    with pytest.raises(LimitExceeded, match="swells from"):
        opened(many)


def test_a_picture_of_too_many_pixels_is_a_broken_one(tmp_path: Path) -> None:
    bomb = png(np.zeros((7100, 7100), np.uint8))
    path = write(tmp_path / "x.parquet", {"img": [bomb] * 3})
    with pytest.raises(ProbeUnavailable, match="pixels, the cap is 50,000,000"):
        opened(path)


def test_more_rows_than_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table, "_MOST_ROWS", 11)
    with pytest.raises(LimitExceeded, match="more than 11 rows"):
        opened(write(tmp_path / "x.parquet", COLUMNS, FEATURES))


SOUND = io.BytesIO()
pyarrow.parquet.write_table(pyarrow.table({"img": structs(), "label": LABELS}), SOUND)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=8), cut=st.integers(0, 40))
def test_a_damaged_file_is_read_or_refused_with_one_line(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(SOUND.getvalue())
    for place, value in edits:
        content[4 + place % (len(content) - 4)] = value
    tail = len(content) - cut if cut < 20 else len(content)
    (tmp_path / "x.parquet").write_bytes(content[:tail])
    try:
        opened(tmp_path / "x.parquet")
    except AuditError as error:
        assert error.message and "\n" not in error.message


def test_a_file_cut_short_is_damaged(tmp_path: Path) -> None:
    for length in (4, 100, len(SOUND.getvalue()) - 1):
        (tmp_path / "x.parquet").write_bytes(SOUND.getvalue()[:length])
        with pytest.raises(MalformedInput, match="the Parquet file is damaged"):
            opened(tmp_path / "x.parquet")


def test_a_family_s_normalisation_is_used_for_a_recognised_data_set(tmp_path: Path) -> None:
    own = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "the family's")
    probe = opened(write(tmp_path / "x.parquet", COLUMNS, FEATURES), network(normalisation={"cifar10": own}))
    assert probe.record.normalisation.mean == own.mean
