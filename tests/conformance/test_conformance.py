"""Every layer kind, option by option, against one-sample-at-a-time autograd in float64."""

import numpy as np
import pytest
import torch

from lcaudit.capture.labels import draw, uniforms
from tests.conformance.compare import SEED, measured, worst_errors
from tests.conformance.conformance_cases import CASES
from tests.oracles import layer_rows

LIMITS = {torch.float64: 1e-6, torch.float32: 1e-4}


@pytest.mark.parametrize(
    ("case", "bias"),
    [pytest.param(c, bias, id=f"{c}{'' if bias else ', no bias'}") for c in CASES for bias in c.biases],
)
def test_factors_and_condition_numbers(case, bias):
    for dtype, error in worst_errors(case, bias).items():
        assert error <= LIMITS[dtype], dtype


@pytest.mark.parametrize("bias", [True, False])
def test_one_sample_of_a_linear_layer_is_the_kronecker_product_itself(bias):
    # on vectors ∂ℓ/∂W = g xᵀ, so vec(∂ℓ/∂W) vec(∂ℓ/∂W)ᵀ = (x xᵀ) ⊗ (g gᵀ): no approximation is left
    torch.manual_seed(4)
    layer = torch.nn.Linear(3, 4, bias=bias)
    model = torch.nn.Sequential(layer, torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    inputs = torch.randn(1, 3, dtype=torch.float64)
    moments = measured(model, inputs, None, torch.float64).layers[0]
    labels = draw(model(inputs).detach(), uniforms(np.arange(1), SEED)).tolist()
    gradient = layer_rows.weight_gradients(model, layer, inputs, labels)[0, 0]
    flat = gradient.T.flatten()  # columns of W one after another, as ⊗ orders them
    product = torch.kron(moments.inputs.second[0, 0], moments.gradient[0, 0])
    torch.testing.assert_close(product, torch.outer(flat, flat), rtol=1e-12, atol=1e-18)
