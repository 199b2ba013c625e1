from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from probe_cases import network, opened

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.probes import digits


def test_equals_scikit_learns_copy() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    origin = datasets.load_digits()
    order = np.random.default_rng(0).permutation(1797)
    for split, chosen in (("train", order[:1000]), ("test", order[1000:])):
        images, labels = digits.load(split)
        assert images.dtype == np.uint8 and labels.dtype == np.int64
        np.testing.assert_array_equal(images, origin.images[chosen])
        np.testing.assert_array_equal(labels, origin.target[chosen])


def test_mean_and_standard_deviation_are_the_train_splits() -> None:
    images = digits.load("train")[0] / digits.SCALE
    assert (round(images.mean(), 4),) == digits.MEAN
    assert (round(images.std(), 4),) == digits.STD


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (1, 0, 0), ()])
def test_probe_fits_flat_and_image_networks(shape: tuple[int, ...]) -> None:
    probe = opened("digits", network(shape))
    raw, labels = digits.load("test")
    expected = (raw[probe.keys] / 16.0 - digits.MEAN[0]) / digits.STD[0]
    batch = probe.batch(0, 797)
    assert tuple(batch.shape[1:]) == probe.record.shape == ((64,) if shape == (64,) else (1, 8, 8))
    np.testing.assert_allclose(batch.numpy().reshape(797, 64), expected.reshape(797, 64), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(probe.labels, labels[probe.keys])
    assert any("flattened" in step for step in probe.record.preprocessing) == (shape == (64,))


def test_splits_differ_and_unknown_one_is_named() -> None:
    assert opened("digits", network((64,)), split="train").record.available == 1000
    assert opened("digits", network((64,))).record.split == "test"
    with pytest.raises(ProbeUnavailable, match="validation"):
        opened("digits", network((64,)), split="validation")


def test_network_of_another_size_is_refused() -> None:
    with pytest.raises(ProbeUnavailable, match=r"8 × 8.*1 × 28 × 28"):
        opened("digits", network((1, 28, 28)))
    with pytest.raises(ProbeUnavailable, match="digits has 10 classes, the network has 1000"):
        opened("digits", network((64,), classes=1000))


def test_loading_needs_no_torch() -> None:
    script = "import sys; from lcaudit.probes.digits import load; load('test'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
