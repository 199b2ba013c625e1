"""One case against the oracle: the worst relative error of each figure."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import torch

from lcaudit.capture import measure
from lcaudit.capture.labels import draw, uniforms
from lcaudit.core.types import Moments
from lcaudit.spectra import analyse
from tests.cases import network, probe
from tests.conformance.case_base import Case
from tests.oracles import layer_rows, literal

SEED = 3
DTYPES = (torch.float64, torch.float32)


def measured(model: torch.nn.Module, inputs: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype) -> Moments:
    """Moments of a copy of ``model``."""
    given = probe(inputs)
    if mask is not None:
        given = replace(given, mask=lambda start, stop: mask[start:stop])
    return measure(
        network(copy.deepcopy(model)), given, device=torch.device("cpu"), dtype=dtype, batch_size=5, seed=SEED
    )


def worst_errors(case: Case, bias: bool) -> dict[torch.dtype, float]:
    """Largest relative error over Σ_x, μ, Σ_g of every layer and κ_50, κ_80 of Σ_x, Σ_g and their products."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same'")  # torch speaks of its own copy
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")  # nor do they need it
        torch.manual_seed(11)
        inputs = case.inputs()
        model = case.build(bias).eval()
        mask = case.mask(inputs) if case.mask else None
        twin, layers = case.twin(copy.deepcopy(model).double())
        exact = inputs.double() if inputs.is_floating_point() else inputs
        logits = copy.deepcopy(model).double()(exact).detach()
        torch.testing.assert_close(twin(exact).detach(), logits, rtol=1e-10, atol=1e-12)
        drawn = [[(1.0, int(y))] for y in draw(logits, uniforms(np.arange(len(inputs)), SEED))]
        want = layer_rows.factors(twin, layers, exact, drawn, mask)
        runs = {dtype: measured(model, inputs, mask, dtype) for dtype in DTYPES}
        head = next((one.layer.name for one in runs[torch.float64].layers if one.layer.is_head), None)
        if head:
            every = [[(float(p), c) for c, p in enumerate(row)] for row in logits.softmax(-1)]
            want[head] = layer_rows.factors(twin, {head: layers[head]}, exact, every, mask)[head]
        return {dtype: _worst(moments, want, dtype == torch.float32) for dtype, moments in runs.items()}


def _worst(moments: Moments, want: dict[str, layer_rows.Factors], float32: bool) -> float:
    assert {one.layer.name for one in moments.layers} == set(want), [n.reason for n in moments.not_audited]
    errors = []
    for one in moments.layers:
        oracle = want[one.layer.name]
        inputs, rows, samples = one.inputs, int(one.inputs.rows.sum()), int(one.samples.sum())
        assert rows == oracle.rows, one.layer.name
        mean = inputs.first.sum(0) / rows
        x, g = oracle.x.numpy(), oracle.g.numpy()
        errors += [
            _apart((inputs.second.sum(0) / rows).numpy(), x),
            _apart(mean.numpy(), oracle.mu.numpy()),
            _apart(one.gradient.sum(0).numpy() / samples, g),
        ]
        spectra = analyse(one, float32=float32)
        for p in ("50", "80"):
            for spectrum, truth in (
                (spectra.input, literal.kappa(x, int(p))),
                (spectra.gradient, literal.kappa(g, int(p))),
                (spectra.fisher, layer_rows.product_kappa(x, g, int(p))),
            ):
                errors.append(abs(spectrum.condition_number[p].raw / truth - 1))
    return max(errors)


def _apart(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))
