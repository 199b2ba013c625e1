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

from lcaudit.core.errors import UsageError
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


def test_arrays_keep_their_pixels(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", images=images(4, (8, 8, 3)))
    probe = opened(path, pictured(CENTRE), interpolation="bicubic")
    assert "--interpolation has no effect: the samples are no files of pictures" in probe.record.preprocessing
    assert probe.record.normalisation == HALVES


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
