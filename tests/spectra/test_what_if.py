"""What-ifs against networks in which the change was really made, and κ taken apart against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lcaudit.capture import measure
from lcaudit.core.measurements import PERCENTILES
from lcaudit.spectra import analyse
from lcaudit.spectra.eigenvalues import percentile_index
from tests.cases import mlp, network, probe

INPUTS = torch.randn(240, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
IMAGES = torch.randn(150, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class RMSNorm(nn.Module):
    """Of a whole sample, whatever its shape."""

    def forward(self, x):
        return x / (x.square().flatten(1).mean(1) + torch.finfo(torch.float32).eps).sqrt().view(
            -1, *[1] * (x.dim() - 1)
        )


def measured(model, inputs, name, **options):
    """The named layer's spectra, in float64."""
    run = {"device": torch.device("cpu"), "dtype": torch.float64, "batch_size": 50, "seed": 0} | options
    found = {one.layer.name: one for one in measure(network(model), probe(inputs), **run).layers}
    return analyse(found[name], float32=False)


def inserted(model: nn.Sequential, place: int, norm: nn.Module) -> nn.Sequential:
    """``model`` with ``norm`` before its layer at ``place``."""
    return nn.Sequential(*model[:place], norm, *model[place:])


def kappa(matrix: np.ndarray, percentile: str, rank: int | None = None) -> float:
    values = np.sort(np.linalg.eigvalsh(matrix))[::-1]
    values = values[: rank or len(values)]
    return values[0] / values[percentile_index(percentile, len(values))]


@pytest.mark.parametrize(
    ("change", "norm"), [("layer_norm", nn.LayerNorm(9, elementwise_affine=False)), ("rms_norm", RMSNorm())]
)
def test_norms_before_the_head_are_predicted(change, norm):
    """Σ_x exactly; Σ_g is another function's, so that the product is compared for the Σ_g of before."""
    torch.manual_seed(4)
    model = mlp(5, 9, 4).double()
    before = measured(model, INPUTS, "2", norms=True)
    with_norm = inserted(model, 2, norm.double())
    after = measured(with_norm, INPUTS, "3")
    what_if = before.what_if[change]
    assert before.gradient.largest.raw != pytest.approx(after.gradient.largest.raw, rel=1e-3), "another function"
    for p in PERCENTILES[:3]:
        assert what_if.condition_number[p].raw == pytest.approx(after.input.condition_number[p].raw, rel=1e-8)
    assert what_if.gain.raw == pytest.approx(
        before.input.condition_number["80"].raw / after.input.condition_number["80"].raw, rel=1e-8
    )
    assert not what_if.gain.reliable, "no interval, so nothing is judged by it"
    rows = norm(model[:2](INPUTS)).detach().numpy()
    probabilities = torch.softmax(model(INPUTS), 1).detach().numpy()
    gradient = np.diag(probabilities.mean(0)) - probabilities.T @ probabilities / len(rows)
    product = np.kron(rows.T @ rows / len(rows), gradient)
    rank = before.gradient.rank * after.input.rank
    for p in ("50", "80"):
        assert what_if.product[p].value == pytest.approx(kappa(product, p, rank), rel=1e-7)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("change", "norm"), [("layer_norm", nn.GroupNorm(1, 4, affine=False)), ("rms_norm", RMSNorm())]
)
def test_norms_before_a_convolution_are_predicted(change, norm, padding):
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=padding, stride=2), nn.Flatten(),
        nn.LazyLinear(3),
    ).double()  # fmt: skip
    model(IMAGES)
    assert change not in measured(model, IMAGES, "2").what_if, "only where it was asked for, or at a cheap head"
    what_if = measured(model, IMAGES, "2", norms=True).what_if[change]
    after = measured(inserted(model, 2, norm.double()), IMAGES, "3")
    for p in PERCENTILES[:3]:
        assert what_if.condition_number[p].raw == pytest.approx(after.input.condition_number[p].raw, rel=1e-8)


def test_layers_that_share_an_input_share_its_norms():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(torch.relu(self.first(x)) * torch.relu(self.second(x)))

    torch.manual_seed(6)
    model = Shared().double()
    one, other = (measured(model, INPUTS, name, norms=True).what_if["layer_norm"] for name in ("first", "second"))
    assert one.condition_number == other.condition_number and one.product != other.product


def test_whitening_leaves_the_condition_of_the_gradient_alone():
    """Made for real: the inverse root before the head, the root folded into its weight, the function the same."""
    torch.manual_seed(7)
    model = mlp(5, 9, 4).double()
    before = measured(model, INPUTS, "2")
    features = model[:2](INPUTS).detach()
    mean = features.mean(0)
    values, vectors = torch.linalg.eigh((features - mean).T @ (features - mean) / len(features))
    root, inverse = ((vectors * values ** (sign / 2)) @ vectors.T for sign in (1, -1))
    white, head = nn.Linear(9, 9).double(), nn.Linear(9, 4).double()
    with torch.no_grad():
        white.weight.copy_(inverse)
        white.bias.copy_(-inverse @ mean)
        head.weight.copy_(model[2].weight @ root)
        head.bias.copy_(model[2].bias + model[2].weight @ mean)
    changed = nn.Sequential(*model[:2], white, head)
    torch.testing.assert_close(changed(INPUTS), model(INPUTS), rtol=1e-9, atol=1e-11)
    after, what_if = measured(changed, INPUTS, "3"), before.what_if["whitening"]
    for p in PERCENTILES[:3]:
        assert after.input.condition_number[p].raw == pytest.approx(1, rel=1e-8) == what_if.condition_number[p].value
        assert what_if.product[p].value == pytest.approx(after.fisher.condition_number[p].raw, rel=1e-8)
        assert what_if.product[p].value == pytest.approx(before.gradient.condition_number[p].raw, rel=1e-8)
    assert what_if.gain.raw == before.input.condition_number["80"].raw


@pytest.mark.parametrize("change", ["centring", "batch_norm"])
def test_the_product_is_predicted_exactly(change):
    torch.manual_seed(8)
    model = mlp(5, 9, 4).double()
    before = measured(model, INPUTS, "2")
    features = model[:2](INPUTS).detach()
    norm = nn.BatchNorm1d(9, affine=False).double()
    norm.running_mean = features.mean(0)
    norm.running_var = torch.ones(9).double() - norm.eps if change == "centring" else features.var(0, correction=0)
    changed, head = inserted(model, 2, norm), nn.Linear(9, 4).double()
    with torch.no_grad():
        head.weight.copy_(model[2].weight * (norm.running_var + norm.eps).sqrt())
        head.bias.copy_(model[2].bias + model[2].weight @ norm.running_mean)
    changed[3] = head
    after = measured(changed, INPUTS, "3")
    for p in PERCENTILES[:3]:
        assert before.what_if[change].product[p].value == pytest.approx(after.fisher.condition_number[p].raw, rel=1e-8)


def test_what_a_condition_number_is_made_of_by_its_definition():
    """Covariance and correlation matrix by NumPy's own functions."""
    torch.manual_seed(9)
    model = mlp(5, 9, 4).double()
    got = measured(model, INPUTS, "2").attribution
    features = model[:2](INPUTS).detach().numpy()
    raw, centred = features.T @ features / len(features), np.cov(features.T, bias=True)
    correlation = np.corrcoef(features.T)
    assert set(got) == {"50", "80"}
    for p, parts in got.items():
        assert parts.mean.raw == pytest.approx(kappa(raw, p) / kappa(centred, p), rel=1e-8)
        # batch norm's ε is 1e-5 of variances near 0.1
        assert parts.scale.raw == pytest.approx(kappa(centred, p) / kappa(correlation, p), rel=5e-3)
        assert parts.correlation.raw == pytest.approx(kappa(correlation, p), rel=5e-3)
        for part in (parts.mean, parts.scale, parts.correlation):
            assert part.low < part.value < part.high


def test_a_constant_input_has_no_parts_that_are_numbers():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[0].weight.zero_()
    got = measured(model, INPUTS, "1")
    assert np.isnan(got.what_if["whitening"].gain.value) and np.isnan(got.attribution["80"].correlation.value)


@settings(max_examples=20, deadline=None)
@given(
    shift=st.floats(-30, 30), spread=st.floats(0, 6), seed=st.integers(0, 100), positive=st.booleans(),
    p=st.sampled_from(["50", "80"]),
)  # fmt: skip
def test_the_parts_make_up_the_whole(shift, spread, seed, positive, p):
    """log κ_p = mean + scale + correlation, in the best estimates as in the figures of this very probe."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, 6, dtype=torch.float64, generator=generator)
    inputs = (inputs.abs() if positive else inputs) * torch.logspace(0, spread, 6, dtype=torch.float64) + shift
    one = measured(nn.Sequential(nn.Linear(6, 3).double()), inputs, "0")
    parts, whole = one.attribution[p], one.input.condition_number[p]
    each = (parts.mean, parts.scale, parts.correlation)
    assert sum(np.log(part.value) for part in each) == pytest.approx(np.log(whole.value), abs=1e-8)
    assert sum(np.log(part.raw) for part in each) == pytest.approx(np.log(whole.raw), abs=1e-8)


def test_threads_that_share_the_samples_sum_the_same_norms():
    torch.manual_seed(10)
    model, threads = mlp(5, 9, 4).double(), torch.get_num_threads()
    alone = measured(model, INPUTS, "2", norms=True, batch_size=40)
    try:
        torch.set_num_threads(2)
        shared = measured(model, INPUTS, "2", norms=True, batch_size=40)
    finally:
        torch.set_num_threads(threads)
    for change in ("layer_norm", "rms_norm"):
        for p in PERCENTILES[:3]:
            one, other = (found.what_if[change].condition_number[p].value for found in (alone, shared))
            assert one == pytest.approx(other, rel=1e-9)
