"""What must not change the numbers, over every layer kind; and what they must change by."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lcaudit.capture import measure
from lcaudit.core.measurements import PERCENTILES
from lcaudit.spectra import analyse
from tests.cases import network, probe
from tests.conformance.conformance_cases import CASES

CPU = torch.device("cpu")
# shapes of one sample each: masks and tokens ride along
ANY_CASE = st.sampled_from(CASES)
SOME = settings(max_examples=15, deadline=None, derandomize=True)
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same'"),  # torch speaks of its own copy
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]


def made(case, seed=0):
    """(network in float64, inputs, mask)."""
    torch.manual_seed(seed)
    inputs = case.inputs()
    model = case.build(True).double().eval()
    return model, inputs.double() if inputs.is_floating_point() else inputs, case.mask(inputs) if case.mask else None


def moments(model, inputs, mask=None, keys=None, batch_size=5):
    given = probe(inputs)
    if mask is not None:
        given = replace(given, mask=lambda start, stop: mask[start:stop])
    if keys is not None:
        given = replace(given, keys=keys)
    return measure(network(model), given, device=CPU, dtype=torch.float64, batch_size=batch_size, seed=1)


def totals(measured):
    """Σ x xᵀ, Σ x sᵀ and Σ g gᵀ of every layer."""
    return {
        one.layer.name: (one.inputs.second.sum(0), one.inputs.first.sum(0), one.gradient.sum(0))
        for one in measured.layers
    }


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        for a, b in zip(left[name], right[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12 * float(a.abs().max()), msg=name)


def spectra(model, inputs):
    return {one.layer.name: analyse(one, float32=False) for one in moments(model, inputs).layers}


def kappas(spectrum):
    return np.array([spectrum.condition_number[p].raw for p in PERCENTILES])


@SOME
@given(ANY_CASE, st.integers(1, 30))
def test_batch_size(case, batch_size):
    model, inputs, mask = made(case)
    whole, parts = moments(model, inputs, mask), moments(model, inputs, mask, batch_size=batch_size)
    same(totals(whole), totals(parts))
    assert [n.reason for n in whole.not_audited] == [n.reason for n in parts.not_audited]


@SOME
@given(ANY_CASE, st.randoms(use_true_random=False))
def test_order_of_samples(case, random):
    model, inputs, mask = made(case)
    order = list(range(len(inputs)))
    random.shuffle(order)
    shuffled = moments(model, inputs[order], None if mask is None else mask[order], keys=np.array(order))
    same(totals(moments(model, inputs, mask)), totals(shuffled))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(ANY_CASE)
def test_threads(case):
    model, inputs, mask = made(case)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            runs.append(totals(moments(model, inputs, mask)))
    finally:
        torch.set_num_threads(before)
    same(*runs)


@SOME
@given(ANY_CASE)
def test_trace_is_the_sum_of_eigenvalues(case):
    model, inputs, mask = made(case)
    for one in moments(model, inputs, mask).layers:
        got = analyse(one, float32=False)
        x = one.inputs.second.sum(0) / int(one.inputs.rows.sum())
        g = one.gradient.sum(0) / int(one.samples.sum())
        traces = [block.diagonal(dim1=-2, dim2=-1).sum(-1) for block in (x, g)]
        assert got.input.trace.raw == pytest.approx(float(traces[0].sum()), rel=1e-10)
        assert got.gradient.trace.raw == pytest.approx(float(traces[1].sum()), rel=1e-10)
        assert got.fisher.trace.raw == pytest.approx(float((traces[0] * traces[1]).sum()), rel=1e-9)


def convolutional():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3),
    ).double()  # fmt: skip
    return model, torch.randn(40, 4, 5, 5, dtype=torch.float64) * torch.tensor([0.5, 1, 2, 3])[:, None, None] + 0.2


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.permutations(range(4)), st.permutations(range(6)))
def test_permutation_of_channels(inward, hidden):
    model, inputs = convolutional()
    other = copy.deepcopy(model)
    with torch.no_grad():  # the same function, its inputs and hidden channels in another order
        other[0].weight.copy_(model[0].weight[hidden][:, inward])
        other[0].bias.copy_(model[0].bias[hidden])
        other[2].weight.copy_(model[2].weight[:, hidden])
    permuted = inputs[:, inward]
    torch.testing.assert_close(other(permuted), model(inputs))
    one, two = spectra(model, inputs), spectra(other, permuted)
    for name in ("0", "2"):
        for part in ("input", "gradient", "fisher"):
            np.testing.assert_allclose(kappas(getattr(one[name], part)), kappas(getattr(two[name], part)), rtol=1e-6)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_orthogonal_change_of_the_inputs_basis(seed):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs = torch.randn(60, 6, dtype=torch.float64) * torch.arange(1, 7)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight @ rotation)
    one, two = spectra(model, inputs), spectra(other, inputs @ rotation)
    for name in one:
        for part in ("input", "centred", "gradient", "fisher"):
            np.testing.assert_allclose(kappas(getattr(one[name], part)), kappas(getattr(two[name], part)), rtol=1e-7)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(-3, 3))
def test_scale_of_the_inputs(exponent):
    scale = 10**exponent
    model, inputs = convolutional()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.div_(scale)
    one, two = spectra(model, inputs)["0"], spectra(other, inputs * scale)["0"]
    for part in ("input", "gradient", "fisher"):
        np.testing.assert_allclose(kappas(getattr(one, part)), kappas(getattr(two, part)), rtol=1e-6)
    assert two.input.largest.raw == pytest.approx(scale**2 * one.input.largest.raw, rel=1e-9)
    assert two.fisher.largest.raw == pytest.approx(scale**2 * one.fisher.largest.raw, rel=1e-9)
    assert two.scaled_curvature.raw == pytest.approx(one.scaled_curvature.raw, rel=1e-9)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.floats(-2, 2))
def test_scale_of_a_weight_before_batch_norm(exponent):
    scale = 10**exponent
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6, eps=0), nn.Tanh(), nn.Linear(6, 3)).double()
    model[1].running_var.uniform_(0.5, 2)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(scale)
    other[1].running_mean.mul_(scale)
    other[1].running_var.mul_(scale**2)
    inputs = torch.randn(50, 5, dtype=torch.float64)
    one, two = spectra(model.eval(), inputs)["0"], spectra(other.eval(), inputs)["0"]
    assert math.isclose(two.fisher.largest.raw * scale**2, one.fisher.largest.raw, rel_tol=1e-9)
    assert math.isclose(two.scaled_curvature.raw, one.scaled_curvature.raw, rel_tol=1e-9)
    np.testing.assert_allclose(kappas(one.fisher), kappas(two.fisher), rtol=1e-7)
