"""Per-sample gradients and their Gram matrix against one-sample-at-a-time autograd."""

import pytest
import torch
from torch import nn

from lcaudit.capture.gram import SampleGradients

CASES = {
    "linear": (lambda: nn.Linear(5, 3), (9, 5)),
    "tokens": (lambda: nn.Linear(5, 3, bias=False), (9, 4, 5)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (9, 4, 7, 6)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (9, 2, 5, 5)),
    "one dimension": (lambda: nn.Conv1d(2, 3, 3), (9, 2, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (9, 2, 4, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_gram_of_gradients_has_the_fishers_eigenvalues(name):
    torch.manual_seed(0)
    make, shape = CASES[name]
    module, inputs = make().double(), torch.randn(shape, dtype=torch.float64)
    outputs = module(inputs)
    gradients = torch.randn_like(outputs)
    literal = []
    for x, g in zip(inputs, gradients, strict=True):
        (one,) = torch.autograd.grad(module(x[None]), module.weight, g[None])
        literal.append(one.flatten())
    literal = torch.stack(literal)
    kept = SampleGradients(module, 100)
    for part in (slice(0, 4), slice(4, 9)):
        kept.see_input(inputs[part])
        kept.see_gradient(gradients[part])
    gram = kept.gram()
    torch.testing.assert_close(gram, literal @ literal.T, rtol=1e-12, atol=1e-12)
    fisher = torch.linalg.eigvalsh(literal.T @ literal / 9)
    assert torch.linalg.eigvalsh(gram)[-1] / 9 == pytest.approx(float(fisher[-1]), rel=1e-10)


def test_only_the_first_samples_are_kept():
    module = nn.Linear(3, 2)
    kept = SampleGradients(module, 5)
    for _ in range(4):
        kept.see_input(torch.randn(3, 3))
        kept.see_gradient(torch.randn(3, 2))
    assert sum(map(len, kept.inputs)) == 5 and kept.gram().shape == (5, 5)


def test_a_layer_without_gradients_has_no_gram():
    kept = SampleGradients(nn.Linear(3, 2), 5)
    kept.see_input(torch.randn(3, 3))
    assert kept.gram() is None
