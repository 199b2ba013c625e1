"""Uniform numbers and draws depend on the seed, the sample, the draw and the place in the sample alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.capture.labels import streams, uniforms
from lcaudit.capture.tasks import Fisher, settle, tasks


def generated(keys, seed):
    """Place ``key`` in the sequence that the generator makes, all of it up to the largest key."""
    return np.random.Generator(np.random.Philox(key=seed)).random(int(keys.max(initial=0)) + 1)[keys]


@settings(deadline=None)
@given(keys=st.lists(st.integers(0, 20_000), max_size=30), seed=st.integers(0, 2**64))
def test_a_samples_number_is_its_place_in_one_sequence(keys, seed):
    keys = np.array(keys, dtype=np.int64)
    assert np.array_equal(uniforms(keys, seed).numpy(), generated(keys, seed))


def test_keys_may_be_as_large_as_they_like():
    keys = np.array([2**62 + 1, 0, 2**62, 10**12], dtype=np.int64)
    drawn = uniforms(keys, 5)
    assert len(set(drawn.tolist())) == 4 and float(drawn[1]) == generated(np.array([0]), 5)[0]
    assert torch.equal(drawn[[2]], uniforms(keys[[2]], 5))
    assert torch.equal(streams(keys, 5, 3)[[3]], streams(keys[[3]], 5, 3))


def test_no_two_sequences_share_numbers():
    keys = np.arange(50)
    rows = [uniforms(keys, 0, index) for index in range(3)] + [uniforms(keys, 1)]
    rows += [streams(keys, seed, 4, index).flatten() for seed in range(2) for index in range(3)]
    every = torch.cat(rows)
    assert len(every.unique()) == len(every)


def test_longer_streams_and_other_samples_shift_nothing():
    keys = np.array([8, 3, 3, 100])
    assert torch.equal(streams(keys, 2, 7)[:, :4], streams(keys, 2, 4))
    assert torch.equal(streams(keys, 2, 4)[[2, 0]], streams(keys[[2, 0]], 2, 4))
    assert torch.equal(streams(keys, 2, 4)[1], streams(keys, 2, 4)[2])
    assert streams(keys, 2, 0).shape == (4, 0)


def test_numbers_are_uniform_and_streams_uncorrelated():
    numbers = streams(np.arange(4000), 9, 5)
    assert bool((numbers >= 0).all() and (numbers < 1).all())
    share = torch.histc(numbers.flatten(), 20, 0, 1) / numbers.numel()
    assert bool((share - 0.05).abs().max() < 5 * (0.05 * 0.95 / numbers.numel()) ** 0.5)
    everything = torch.cat([numbers, streams(np.arange(4000), 9, 5, 1), uniforms(np.arange(4000), 9)[:, None]], 1)
    correlation = torch.corrcoef(everything.T) - torch.eye(11)
    assert float(correlation.abs().max()) < 5 / 4000**0.5


SHAPES = {"classification": [(12, 4), (12, 4, 2, 3)], "binary": [(12,), (12, 3)], "regression": [(12, 3), (12, 2, 5)]}


def passes(objective, outputs, draws, keys, **more):
    scaled = objective.gradients(outputs, Fisher(draws=draws), keys=keys, seed=4, **more)
    return torch.stack([one * draws**0.5 for one in scaled])


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in SHAPES for shape in SHAPES[name]])
def test_batches_order_and_further_draws_shift_no_draw(name, shape):
    torch.manual_seed(0)
    outputs, keys = torch.randn(*shape, dtype=torch.float64), np.random.default_rng(0).permutation(100)[:12]
    objective = settle(name, shape, classes=1 if len(shape) == 1 else shape[1])
    whole = passes(objective, outputs, 2, keys)
    torch.testing.assert_close(passes(objective, outputs, 5, keys)[:2], whole)
    order = torch.randperm(12)
    torch.testing.assert_close(passes(objective, outputs[order], 2, keys[order.numpy()]), whole[:, order])
    apart = [passes(objective, outputs[i : i + 5], 2, keys[i : i + 5]) for i in (0, 5, 10)]
    torch.testing.assert_close(torch.cat(apart, 1), whole)


def test_padding_on_either_side_shifts_no_draw():
    torch.manual_seed(1)
    outputs, keys = torch.randn(3, 4, 6, dtype=torch.float64), np.arange(3)
    objective = settle("classification", (3, 4, 6), classes=6)
    alone = passes(objective, outputs, 2, keys)
    for left, right in ((0, 3), (2, 0), (1, 1)):
        padded = torch.nn.functional.pad(outputs, (0, 0, left, right))
        mask = torch.nn.functional.pad(torch.ones(3, 4, dtype=torch.bool), (left, right))
        found = passes(objective, padded, 2, keys, mask=mask)
        torch.testing.assert_close(found[:, :, left : left + 4], alone)
        assert float(found.abs().sum()) == pytest.approx(float(alone.abs().sum()))


@pytest.mark.parametrize("name", sorted(tasks()))
def test_torchs_own_generator_is_left_alone_and_precision_is_the_outputs(name):
    outputs = torch.randn(6, 3)
    state = torch.get_rng_state()
    objective = settle(name, (6, 3), classes=3)
    (single,) = objective.gradients(outputs, Fisher(), keys=np.arange(6), seed=0)
    (double,) = objective.gradients(outputs.double(), Fisher(), keys=np.arange(6), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert single.dtype == torch.float32 and torch.equal(single, double.float())


def test_outputs_that_are_not_numbers_give_gradients_that_are_not_numbers():
    outputs = torch.tensor([[1.0, 2.0, 0.5], [float("nan"), 0.0, 1.0]])
    for name in tasks():
        objective = settle(name, (2, 3), classes=3)
        for draws in (1, "exact"):
            for one in objective.gradients(outputs, Fisher(draws=draws), keys=np.arange(2), seed=0):
                assert bool(one[0].isfinite().all())
                if name == "classification":
                    assert bool(one[1].isnan().any())
