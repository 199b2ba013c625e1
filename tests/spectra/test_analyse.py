"""Eigenvalues, condition numbers and what-ifs against literal computations."""

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
from lcaudit.spectra.eigenvalues import EFFECTIVE_RANK, ENTROPY_RANK, KAPPA, Eigenvalues, percentile_index, products
from lcaudit.spectra.second_moment import BATCH_NORM_EPS, GroupedMoments
from tests.cases import Residual, mlp, network, probe
from tests.oracles import literal

CPU = torch.device("cpu")


def moments(module, inputs, dtype=torch.float64, **options):
    arguments = {"device": CPU, "dtype": dtype, "batch_size": 50, "seed": 0} | options
    return measure(network(module.to(dtype)), probe(inputs.to(dtype)), **arguments)


def spectra(module, inputs, dtype=torch.float64, **options):
    measured = moments(module, inputs, dtype, **options)
    return {m.layer.name: analyse(m, float32=dtype == torch.float32) for m in measured.layers}


def test_condition_numbers_of_every_layer_equal_the_literal_ones():
    torch.manual_seed(0)
    model, inputs = Residual(channels=6), torch.randn(120, 2, 7, 7, dtype=torch.float64)
    measured = moments(model, inputs)
    for layer in measured.layers:
        got = analyse(layer, float32=False)
        sums = layer.inputs.second.sum(0).numpy() / layer.inputs.rows.sum().item()
        gradient = layer.gradient.sum(0).numpy() / 120
        for p in PERCENTILES:
            assert got.input.condition_number[p].raw == pytest.approx(literal.kappa(sums, int(p)), rel=1e-9)
            assert got.gradient.condition_number[p].raw == pytest.approx(literal.kappa(gradient, int(p)), rel=1e-7)
        assert got.input.largest.raw == pytest.approx(np.linalg.eigvalsh(sums).max(), rel=1e-12)
        assert got.input.trace.raw == pytest.approx(np.trace(sums[0]), rel=1e-12)
        whole = literal.kronecker_eigenvalues(sums[0], gradient[0])
        assert got.fisher.largest.raw == pytest.approx(whole[0], rel=1e-10)
        assert got.scaled_curvature.raw == pytest.approx(got.fisher_largest.raw * layer.weight_norm**2, rel=1e-10)
        alone = analyse(replace(layer, block="not asked for"), float32=False)
        assert alone.scaled_curvature.raw == pytest.approx(whole[0] * layer.weight_norm**2, rel=1e-10)
        assert alone.fisher_largest is None and alone.trust == "not measured: not asked for"
        rank = got.input.rank * got.gradient.rank
        assert got.fisher.rank == rank
        kappa = whole[0] / whole[math.ceil(0.8 * rank) - 1]
        assert got.fisher.condition_number["80"].raw == pytest.approx(kappa, rel=1e-6)


def test_the_softmax_head_has_rank_one_less_than_classes():
    torch.manual_seed(1)
    got = spectra(mlp(5, 8, 4), torch.randn(300, 5))["2"]
    assert got.gradient.rank == 3 and got.gradient.dimension == 4
    assert got.gradient.condition_number["100"].raw < 1e6
    assert got.gradient_label == "expected, closed form"


def test_dead_features_are_rank_and_not_condition_number():
    torch.manual_seed(2)
    model = mlp(6, 12, 3)
    with torch.no_grad():
        model[0].weight[4:7] = 0
        model[0].bias[4:7] = -1
    got = spectra(model, torch.randn(400, 6))["2"]
    assert (got.input.dimension, got.input.zero, got.input.rank) == (12, 3, 9)
    assert got.input.condition_number["100"].raw < 1e6


def inserted(model: nn.Sequential, place: int, norm: nn.Module) -> nn.Sequential:
    """``model`` with ``norm`` before its layer at ``place``."""
    layers = list(model)
    return nn.Sequential(*layers[:place], norm, *layers[place:])


@pytest.mark.parametrize(("padding", "stride", "groups"), [(0, 1, 1), (1, 1, 1), (1, 2, 2), (2, 3, 1), ("same", 1, 2)])
def test_batch_norm_before_a_convolution_is_predicted_exactly(padding, stride, groups):
    """As it can be folded: the zeros first, so that the function is the same at the borders too."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=padding, stride=stride, groups=groups), nn.Flatten(), nn.LazyLinear(3),
    ).double()  # fmt: skip
    inputs = torch.randn(150, 2, 8, 8, dtype=torch.float64)
    model(inputs)
    around = nn.ZeroPad2d(tuple(model[2]._reversed_padding_repeated_twice))
    features = around(model[:2](inputs)).detach()
    before = {m.layer.name: m for m in moments(model, inputs).layers}["2"]
    norm = nn.BatchNorm2d(4, affine=False).double()
    norm.running_mean, norm.running_var = features.mean((0, 2, 3)), features.var((0, 2, 3), correction=0)
    sigma, centre = (norm.running_var + norm.eps).sqrt(), norm.running_mean
    bare = nn.Conv2d(4, 6, 3, stride=stride, groups=groups).double()
    with torch.no_grad():
        per_group = model[2].weight.reshape(groups, 6 // groups, 4 // groups, 9)
        bare.weight.copy_((per_group * sigma.reshape(groups, 1, -1, 1)).reshape(bare.weight.shape))
        bare.bias.copy_(model[2].bias + (per_group.sum(3) * centre.reshape(groups, 1, -1)).sum(2).flatten())
    folded = nn.Sequential(*model[:2], around, norm, bare, *model[3:]).eval()
    torch.testing.assert_close(folded(inputs), model(inputs), rtol=1e-9, atol=1e-11)
    after = {m.layer.name: m for m in moments(folded, inputs).layers}["4"]
    predicted = GroupedMoments(before.inputs).whole().batch_norm()
    np.testing.assert_allclose(predicted, GroupedMoments(after.inputs).whole().uncentred(), rtol=1e-9, atol=1e-12)
    what_if = analyse(before, float32=False).what_if["batch_norm"]
    found = analyse(after, float32=False)
    for p in PERCENTILES:
        assert what_if.condition_number[p].raw == pytest.approx(found.input.condition_number[p].raw, rel=1e-8)


def test_batch_norm_before_the_head_is_predicted_exactly_and_keeps_the_gradient():
    torch.manual_seed(4)
    model = mlp(5, 9, 4).double()
    inputs = torch.randn(200, 5, dtype=torch.float64) + 1
    features = model[:2](inputs).detach()
    mean, variance = features.mean(0), features.var(0, correction=0)
    norm = nn.BatchNorm1d(9, affine=False).double()
    norm.running_mean, norm.running_var = mean, variance
    folded = inserted(model, 2, norm)
    scale = (variance + BATCH_NORM_EPS).sqrt()
    head = nn.Linear(9, 4).double()
    with torch.no_grad():
        head.weight.copy_(model[2].weight * scale)
        head.bias.copy_(model[2].bias + model[2].weight @ mean)
    folded[3] = head
    torch.testing.assert_close(folded.eval()(inputs), model(inputs), rtol=1e-10, atol=1e-12)
    before, after = spectra(model, inputs)["2"], spectra(folded, inputs)["3"]
    what_if = before.what_if["batch_norm"]
    assert what_if.condition_number["80"].raw == pytest.approx(after.input.condition_number["80"].raw, rel=1e-9)
    assert before.gradient.largest.raw == pytest.approx(after.gradient.largest.raw, rel=1e-9)
    kappa = before.input.condition_number["80"].raw / after.input.condition_number["80"].raw
    assert what_if.gain.raw == pytest.approx(kappa, rel=1e-9)


def test_float32_products_leave_condition_numbers_alone():
    torch.manual_seed(5)
    inputs = torch.randn(400, 2, 8, 8)
    model = Residual(channels=12)
    fast, slow = spectra(model, inputs, torch.float32), spectra(model, inputs, torch.float64)
    for name, spectrum in slow.items():
        for p in ("50", "80"):
            want = spectrum.input.condition_number[p].raw
            assert fast[name].input.condition_number[p].raw == pytest.approx(want, rel=1e-4)
        assert fast[name].input.rank == spectrum.input.rank


def test_nearly_dead_features_count_and_duplicates_do_not_whatever_the_precision():
    torch.manual_seed(8)
    free = torch.randn(600, 6).abs()
    inputs = torch.cat([free * torch.tensor([1e3, 1, 1, 1, 1e-4, 1e-5]), free[:, 1:3]], 1)  # energies 16 decades apart
    model = nn.Sequential(nn.Linear(8, 3))
    for dtype in (torch.float32, torch.float64):
        got = spectra(model, inputs, dtype)["0"].input
        literal_rank = np.linalg.matrix_rank(inputs[:, :6].double().numpy() / [1e3, 1, 1, 1, 1e-4, 1e-5])
        assert literal_rank == 6 and got.rank == 5, "the smallest lies under d · 2.2e-16 of the largest"
    fast, slow = (spectra(model, inputs, dtype)["0"].input for dtype in (torch.float32, torch.float64))
    assert fast.condition_number["80"].raw == pytest.approx(slow.condition_number["80"].raw, rel=1e-4)


def test_a_constant_input_has_no_direction_once_it_is_centred():
    torch.manual_seed(9)
    constant = torch.rand(1, 9).expand(300, 9)
    for dtype in (torch.float32, torch.float64):
        got = spectra(nn.Sequential(nn.Linear(9, 3)), constant, dtype)["0"]
        assert got.input.rank == 1 and got.centred.rank == 0
        assert not got.what_if["batch_norm"].gain.reliable and not got.what_if["centring"].gain.reliable


def test_grouped_convolution_takes_the_spectra_of_its_groups_together():
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.LazyLinear(2)).double()
    inputs = torch.randn(200, 4, 5, 5, dtype=torch.float64)
    inputs[:, 2:] *= 10
    model(inputs)
    layer = moments(model, inputs).layers[0]
    blocks = layer.inputs.second.sum(0).numpy() / layer.inputs.rows.sum().item()
    got = analyse(layer, float32=False)
    assert blocks.shape == (2, 18, 18) and got.input.dimension == 36
    assert got.input.condition_number["80"].raw == pytest.approx(literal.kappa(blocks, 80), rel=1e-10)


def test_too_few_samples_are_never_judged():
    torch.manual_seed(7)
    got = spectra(mlp(4, 64, 3), torch.randn(150, 4))["2"]
    kappa = got.input.condition_number["80"]
    assert not kappa.reliable and kappa.against(1.0) == "unknown" and got.enough_samples >= 256
    assert got.what_if["batch_norm"].gain.against(1e-9) == "unknown"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_condition_numbers_do_not_change_with_scale(values, scale):
    values = np.sort(np.array(values))[::-1]
    one, other = Eigenvalues(values, 1e-12).logs(), Eigenvalues(values * scale, 1e-12).logs()
    np.testing.assert_allclose(one[2:], other[2:], atol=1e-9)
    assert np.all(np.diff(one[KAPPA:]) >= 0), "κ_p grows with p"
    shares = values / values.sum()
    want = [values.sum() / values[0], math.exp(-(shares * np.log(shares)).sum())]
    np.testing.assert_allclose(np.exp(one[[EFFECTIVE_RANK, ENTROPY_RANK]]), want, rtol=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 400))
def test_percentile_index_is_the_ceiling_of_the_share(rank):
    for p in PERCENTILES:
        assert percentile_index(p, rank) == math.ceil(int(p) * rank / 100) - 1
        assert 0 <= percentile_index(p, rank) < rank


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_products_are_the_eigenvalues_of_the_kronecker_product(left, right, seed):
    draw = np.random.default_rng(seed)
    a, b = (m @ m.T for m in (draw.normal(size=(left, left + 1)), draw.normal(size=(right, right + 1))))
    one, other = np.linalg.eigvalsh(a), np.linalg.eigvalsh(b)
    got = np.sort(products(one, np.zeros(left, int), other, np.zeros(right, int), np.multiply))[::-1]
    np.testing.assert_allclose(got, literal.kronecker_eigenvalues(a, b), rtol=1e-8, atol=1e-10 * got[0])


def test_an_orthogonal_change_of_basis_leaves_the_spectrum():
    torch.manual_seed(8)
    inputs = torch.randn(300, 6, dtype=torch.float64) * torch.arange(1, 7)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    model = mlp(6, 5, 3)
    one, other = (spectra(model, x)["0"].input for x in (inputs, inputs @ rotation))
    for p in PERCENTILES:
        assert one.condition_number[p].raw == pytest.approx(other.condition_number[p].raw, rel=1e-9)
