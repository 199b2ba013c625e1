"""Samples of two axes: sequences for networks that read rows, grey images for those that read images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_cases import images, network, opened, save_npz
from torch import nn

from lcaudit.core.errors import ProbeUnavailable


def given(module: nn.Module, shape: tuple[int, ...] = ()):
    return replace(network(shape, classes=0), module=module)


@pytest.mark.parametrize(
    ("module", "rows"),
    [
        (nn.Conv1d(6, 3, 2), True),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), True),
        (nn.LSTM(4, 5), True),
        (nn.Sequential(nn.Dropout(), nn.TransformerEncoderLayer(4, 2)), True),
        (nn.Sequential(nn.LayerNorm(4), nn.Conv2d(1, 2, 3)), True),
        (nn.Conv2d(1, 2, 3), False),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(24, 3)), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), False),
        (nn.Identity(), False),
    ],
)
def test_the_first_layer_says_how_two_axes_are_read(tmp_path: Path, module: nn.Module, rows: bool) -> None:
    data = np.random.default_rng(0).normal(size=(12, 6, 4))
    probe = opened(save_npz(tmp_path / "a.npz", x=data), given(module))
    assert probe.record.shape == ((6, 4) if rows else (1, 6, 4))
    np.testing.assert_allclose(probe.batch(0, 12).numpy().reshape(12, 6, 4), data[probe.keys], rtol=1e-6)
    words = "; ".join((*probe.record.preprocessing, probe.record.normalisation.source))
    assert ("sequences 6 × 4" in words) == rows and ("reshaped from 6 × 4 to 1 × 6 × 4" in words) != rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int64])
def test_a_declared_shape_of_two_passes_values_unscaled(tmp_path: Path, dtype) -> None:
    data = np.arange(12 * 24).reshape(12, 6, 4).astype(dtype) % 200
    probe = opened(save_npz(tmp_path / "a.npz", x=data), given(nn.Conv2d(1, 1, 1), (6, 0)))
    np.testing.assert_array_equal(probe.batch(0, 12).numpy(), data[probe.keys].astype(np.float32))
    assert probe.batch(0, 12).dtype == torch.float32
    assert "sequences 6 × 4, as they are" in probe.record.normalisation.source


def test_bytes_are_pixels_even_in_rows_and_mean_is_applied_where_asked(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", x=images(12, (6, 4)))
    probe = opened(path, given(nn.LSTM(4, 5)), mean=(0.5,), std=(0.25,))
    expected = (images(12, (6, 4))[probe.keys] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(probe.batch(0, 12).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_exchanged_axes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="6 × 4 values, the network takes 4 × 6") as caught:
        opened(save_npz(tmp_path / "a.npz", x=np.zeros((12, 6, 4))), given(nn.Conv1d(4, 1, 1), (4, 6)))
    assert "exchange the two axes" in caught.value.hint


def test_padding_of_sequences_of_vectors(tmp_path: Path) -> None:
    mask = np.arange(6) < np.arange(1, 13)[:, None] % 6 + 1
    path = save_npz(tmp_path / "a.npz", x=np.ones((12, 6, 4)), attention_mask=mask)
    probe = opened(path, given(nn.Linear(4, 2)))
    assert probe.mask is not None
    np.testing.assert_array_equal(probe.mask(3, 9).numpy(), mask[probe.keys[3:9]])
    with pytest.raises(ProbeUnavailable, match="the samples are images"):
        opened(path, given(nn.Conv2d(1, 2, 3)))
    full = save_npz(tmp_path / "b.npz", x=np.ones((12, 6, 4)), attention_mask=np.ones((12, 6)))
    assert opened(full, given(nn.Linear(4, 2))).mask is None
