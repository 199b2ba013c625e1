"""Patch moments from correlations against unfolding."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.capture.patch_moments import PatchMoments


def unfolded(x, kernel, dilation, padding, groups):
    columns = F.unfold(x, kernel, dilation, padding).unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(2)
    return torch.bmm(columns, columns.transpose(1, 2))


def moments(x, kernel, dilation, padding, groups, parts=1):
    sums = PatchMoments(kernel, dilation, padding, groups, tuple(x.shape[1:]), torch.device("cpu"), x.dtype)
    for part in x.chunk(parts):
        sums.add(part)
    return taken(sums)


def taken(sums):
    side = sums.channels * sums.kernel[0] * sums.kernel[1]
    into = torch.zeros(sums.groups, side, side, dtype=torch.float64)
    sums.take(into)
    return into


def possible(kernel, dilation, padding, size):
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return all(s + 2 * p > r and s >= r - p for s, p, r in zip(size, padding, reach, strict=True))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(1, 11), st.integers(1, 11)),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 3),
)
def test_every_geometry_equals_unfolding(kernel, dilation, padding, size, groups, parts):
    if not possible(kernel, dilation, padding, size):
        return
    x = torch.randn(5, 4, *size, dtype=torch.float64)
    want = unfolded(x, kernel, dilation, padding, groups)
    got = moments(x, kernel, dilation, padding, groups, parts)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * float(want.abs().max()) + 1e-13)


@pytest.mark.parametrize(("side", "padding"), list(itertools.product([3, 5, 7], [0, 1, 2, 3])))
def test_common_kernels(side, padding):
    x = torch.randn(3, 2, 12, 9, dtype=torch.float64)
    want = unfolded(x, (side, side), (1, 1), (padding, padding), 1)
    torch.testing.assert_close(moments(x, (side, side), (1, 1), (padding, padding), 1), want, rtol=1e-11, atol=1e-11)


def test_float32_images_keep_seven_digits():
    torch.manual_seed(0)
    x = torch.randn(40, 8, 16, 16).relu()
    want = unfolded(x.double(), (3, 3), (1, 1), (1, 1), 1)
    got = moments(x, (3, 3), (1, 1), (1, 1), 1, parts=4)
    assert (got - want).norm() / want.norm() < 1e-6


def test_taking_starts_anew():
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    sums = PatchMoments((3, 3), (1, 1), (1, 1), 1, (2, 6, 6), torch.device("cpu"), x.dtype)
    sums.add(x)
    first = taken(sums)
    sums.add(x)
    torch.testing.assert_close(taken(sums), first, rtol=1e-13, atol=0)


def test_dead_channels_stay_dead():
    x = torch.randn(4, 3, 6, 6)
    x[:, 1] = 0
    got = moments(x, (3, 3), (1, 1), (1, 1), 1)
    assert torch.equal(got[0, 9:18].abs().sum(), torch.zeros((), dtype=torch.float64))


def test_taps_that_see_nothing_but_zeros_stay_exactly_zero():
    """Correlations take borders away by subtraction; what is left of a dead tap must not be its rounding errors."""
    torch.manual_seed(0)
    images = torch.rand(40, 6, 2, 2)
    images[:, 1, 0] = 0  # active in its last row only
    images[:, 2] = 0
    images[:, 3, :, 1] = 0
    moments = PatchMoments((3, 3), (1, 1), (1, 1), 1, (6, 2, 2), torch.device("cpu"), torch.float32)
    moments.add(images)
    got = torch.zeros(1, 54, 54, dtype=torch.float64)
    moments.take(got)
    patches = torch.nn.functional.unfold(images.double(), 3, padding=1).transpose(0, 1).flatten(1)
    want = patches @ patches.T
    dead = want.diagonal() == 0
    assert int(dead.sum()) == 9 + 3 + 3 and torch.equal(got[0].diagonal() == 0, dead)
    assert not got[0][dead].any() and not got[0][:, dead].any()
    torch.testing.assert_close(got[0], want, rtol=1e-5, atol=1e-4)
