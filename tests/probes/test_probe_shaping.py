"""Pictures of any size become what the network wants, and the report says how and on whose word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from probe_cases import images, network, opened, save_npz

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.core.types import INTERPOLATIONS, Network, Shaping
from lcaudit.probes._shaping import shaped

HALVES = Normalisation((0.5, 0.25, 0.75), (0.5, 0.5, 0.5), "somewhere")
CENTRE = Shaping((8, 8), (10, 10), "centre", "bilinear", HALVES, True, "config.json")


def pictured(shaping: Shaping | None, classes: int = 10, module: torch.nn.Module | None = None) -> Network:
    known = network((3, *(shaping.size if shaping else (8, 8))), classes)
    return replace(known, shaping=shaping, module=module or known.module)


def folder(path: Path, *sizes: tuple[int, int]) -> Path:
    path.mkdir()
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(images(1, (height, width, 3), number)[0]).save(path / f"{number}.png")
    return path


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from(["centre", "squash", "border"]),
    st.sampled_from(INTERPOLATIONS),
    st.floats(0.5, 1.5),
)
def test_what_comes_out_has_the_size_that_was_asked_for(
    given_size: tuple[int, int], size: tuple[int, int], mode: str, interpolation: str, share: float
) -> None:
    resize = tuple(max(1, int(side / share)) for side in size)
    spec = Shaping(size, resize, mode, interpolation, HALVES, True, "")
    for bands in (1, 3, 4):
        picture = Image.fromarray(
            images(1, (*given_size, bands))[0].squeeze(-1) if bands == 1 else images(1, (*given_size, bands))[0]
        )
        assert np.asarray(shaped(picture, spec)).shape[:2] == size


def test_the_middle_is_taken_and_the_aspect_kept() -> None:
    """A picture of columns 0 to 39, each of its own grey: the middle eight are 16 to 23."""
    columns = np.broadcast_to(np.arange(40, dtype=np.uint8) * 4, (10, 40))
    taken = np.asarray(shaped(Image.fromarray(columns.copy()), CENTRE))
    np.testing.assert_array_equal(taken, np.broadcast_to(np.arange(16, 24) * 4, (8, 8)))


def test_a_border_is_filled_with_the_mean_colour() -> None:
    white = Image.fromarray(np.full((10, 5, 3), 255, np.uint8))
    taken = np.asarray(shaped(white, replace(CENTRE, mode="border", size=(10, 10))))
    np.testing.assert_array_equal(taken[:, 0], np.broadcast_to([128, 64, 191], (10, 3)))
    np.testing.assert_array_equal(taken[:, 4], np.full((10, 3), 255))


def test_a_folder_is_prepared_as_the_network_wants_it_and_it_is_said(tmp_path: Path) -> None:
    probe = opened(folder(tmp_path / "a", (20, 30), (12, 9)), pictured(CENTRE))
    assert probe.record.shape == (3, 8, 8) and probe.record.normalisation == HALVES
    words = "resized so that the shorter side has 10: bilinear, antialiased; the middle 8 × 8 taken (config.json)"
    assert words in probe.record.preprocessing
    position = int(np.flatnonzero(probe.keys == 1)[0])
    expected = np.asarray(shaped(Image.open(tmp_path / "a" / "1.png"), CENTRE), np.float32) / 255
    expected = (expected - np.array(HALVES.mean)) / np.array(HALVES.std)
    np.testing.assert_allclose(probe.batch(position, position + 1)[0].numpy(), expected.transpose(2, 0, 1), atol=1e-5)


def test_what_is_assumed_says_so_and_gives_way_to_the_user(tmp_path: Path) -> None:
    usual = pictured(replace(CENTRE, declared=False, source="timm's net"))
    path = folder(tmp_path / "a", (20, 30), (12, 9))
    probe = opened(path, usual)
    assert probe.record.normalisation.source.startswith("assumed: somewhere")
    assert any("assumed: timm's net" in words for words in probe.record.preprocessing)
    probe = opened(path, usual, mean=(0.1,), std=(0.2,), input_size=(16, 12), interpolation="nearest")
    assert (probe.record.normalisation.mean, probe.record.shape) == ((0.1,), (3, 16, 12))
    assert any("to cover 20 × 15: nearest; the middle 16 × 12" in words for words in probe.record.preprocessing)


def test_an_interpolation_without_a_known_preparation(tmp_path: Path) -> None:
    probe = opened(folder(tmp_path / "a", (20, 30), (12, 9)), pictured(None), interpolation="bicubic")
    assert "resized to 8 × 8: bicubic, antialiased, aspect not kept (--interpolation)" in probe.record.preprocessing


def test_arrays_of_the_networks_size_keep_their_pixels(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=images(4, (8, 8, 3)))
    probe = opened(path, pictured(CENTRE), interpolation="bicubic")
    assert "--interpolation has no effect: the samples are not resized" in probe.record.preprocessing
    assert probe.record.normalisation == HALVES


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_another_size_become_what_files_of_the_same_pictures_do(
    tmp_path: Path, kind: type, first: bool, channels: int
) -> None:
    data = images(5, (20, 30, channels))
    (tmp_path / "files").mkdir()
    for number, one in enumerate(data):
        Image.fromarray(one.squeeze(-1) if channels == 1 else one).save(tmp_path / "files" / f"{number}.png")
    stored = (data.transpose(0, 3, 1, 2) if first else data).astype(kind)
    own = replace(network((channels, 8, 8)), shaping=replace(CENTRE, normalisation=Normalisation((0.5,), (0.5,), "x")))
    files = opened(tmp_path / "files", own)
    arrays = opened(save_npz(tmp_path / "a.npz", images=stored), own)
    assert arrays.record.shape == files.record.shape == (channels, 8, 8)
    np.testing.assert_array_equal(arrays.keys, files.keys)
    np.testing.assert_array_equal(arrays.batch(0, 5).numpy(), files.batch(0, 5).numpy())
    words = "resized so that the shorter side has 10: bilinear, antialiased; the middle 8 × 8 taken (config.json)"
    assert f"every picture of 20 × 30 {words}" in arrays.record.preprocessing
    assert not any("--interpolation" in one for one in arrays.record.preprocessing)


def test_grey_rows_and_columns_are_resized_too(tmp_path: Path) -> None:
    own = replace(network((1, 8, 8)), shaping=CENTRE)
    probe = opened(save_npz(tmp_path / "a.npz", images=images(4, (28, 28))), own, mean=(0.5,), std=(0.5,))
    assert probe.record.shape == (1, 8, 8) and probe.batch(1, 3).shape == (2, 1, 8, 8)


def test_a_size_that_the_user_chooses_resizes_arrays_too(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=images(4, (16, 16, 3)))
    with pytest.raises(ProbeUnavailable) as raised:
        opened(path, pictured(None))
    assert "--input-size 8 resizes pixels 0 to 255, --input-size 16 keeps their size" in raised.value.hint
    probe = opened(path, pictured(None), input_size=(8, 8), interpolation="bicubic")
    words = "every picture of 16 × 16 resized to 8 × 8: bicubic, antialiased, aspect not kept (--input-size)"
    assert words in probe.record.preprocessing and probe.record.shape == (3, 8, 8)
    probe = opened(path, pictured(None), input_size=(16, 16))
    assert probe.record.shape == (3, 16, 16) and not any("resized" in one for one in probe.record.preprocessing)


def test_how_arrays_are_resized_is_as_sure_as_its_source(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=images(4, (16, 16, 3)))
    assert opened(path, pictured(CENTRE)).record.confidence == "identified"
    usual = pictured(replace(CENTRE, declared=False, source="timm's net"))
    known = replace(usual, normalisation={"cifar10": HALVES})
    small = save_npz(tmp_path / "cifar10.npz", images=images(4, (32, 32, 3)))
    assert opened(small, known).record.confidence == "assumed"
    assert opened(small, replace(known, record=network((3, 32, 32)).record)).record.confidence == "identified"


def test_who_resizes_a_data_set_normalises_it_as_the_library_does(tmp_path: Path) -> None:
    small = save_npz(tmp_path / "cifar10.npz", images=images(4, (32, 32, 3)))
    usual = pictured(replace(CENTRE, declared=False, source="timm's net"))
    of_library = opened(small, usual).record.normalisation
    assert of_library.mean == HALVES.mean
    assert of_library.source == "assumed: somewhere; resized as its library does it; --mean and --std override it"
    own_size = opened(small, replace(usual, record=network((3, 32, 32)).record)).record.normalisation
    assert own_size.mean != HALVES.mean and "cifar10" in own_size.source
    by_user = opened(small, pictured(None), input_size=(8, 8)).record.normalisation
    assert (by_user.mean, by_user.std) == (own_size.mean, own_size.std)


@pytest.mark.parametrize(
    "data", [images(4, (16, 16, 3)) / 255.0, images(4, (16, 16, 3)) / 64.0 - 2], ids=["unit", "normalised"]
)
def test_what_pillow_would_round_is_not_resized(tmp_path: Path, data: np.ndarray) -> None:
    with pytest.raises(ProbeUnavailable, match="16 × 16 × 3, the network takes 3 × 8 × 8"):
        opened(save_npz(tmp_path / "a.npz", images=data), pictured(CENTRE))


def test_pixels_of_a_data_set_with_another_scale_are_not_resized(tmp_path: Path) -> None:
    """The digits' values end at 16: rounded to whole ones, a resized picture would be another."""
    with pytest.raises(ProbeUnavailable, match="the network takes 1 × 16 × 16"):
        opened("digits", replace(network((1, 16, 16)), shaping=replace(CENTRE, size=(16, 16))))


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    path = folder(tmp_path / "a", (20, 30), (12, 9))
    with pytest.raises(UsageError, match="does not take 9 × 9 pixels: mat1 and mat2") as raised:
        opened(path, pictured(CENTRE, module=module), input_size=(9, 9))
    assert "its own size is 8 × 8" in raised.value.hint
    with pytest.raises(UsageError, match="for pictures"):
        opened(path, network((5,)), input_size=(9, 9))
    with pytest.raises(UsageError, match="unknown"):
        opened(path, pictured(CENTRE), interpolation="fancy")
    with pytest.raises(UsageError, match="expected 1 to 8192"):
        opened(path, pictured(CENTRE), input_size=(0, 9))
