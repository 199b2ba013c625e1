"""The noise of drawn labels is inside every interval that resamples samples, since draws belong to samples."""

import numpy as np
import pytest
import torch

from lcaudit.capture.tasks import Fisher, settle
from lcaudit.core.statistics import student_t

GROUPS, SAMPLES, RUNS, CLASSES = 10, 400, 400, 4


def network(generator):
    """Hidden pre-activations [n, 6] → (logits, ∂logits/∂hidden): confident, so drawn labels are noisy."""
    weight = torch.randn(CLASSES, 6, generator=generator, dtype=torch.float64) * 3

    def run(hidden):
        active = torch.tanh(hidden)
        return active @ weight.T, weight * (1 - active.square()).unsqueeze(1)

    return run


def hidden(count, generator):
    mixing = torch.linspace(0.3, 1.5, 6, dtype=torch.float64)
    return torch.randn(count, 6, generator=generator, dtype=torch.float64) * mixing


def exact_moments(logits, jacobian):
    """E[g gᵀ] of each sample, from the definition."""
    p = logits.softmax(1)
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return jacobian.transpose(1, 2) @ fisher @ jacobian


def drawn_moments(logits, jacobian, draws):
    objective = settle("classification", tuple(logits.shape), classes=CLASSES)
    keys = np.arange(len(logits))
    total = torch.zeros(len(logits), 6, 6, dtype=torch.float64)
    for gradient in objective.gradients(logits, Fisher(draws=draws), keys=keys, seed=1):
        g = (gradient.unsqueeze(1) @ jacobian).squeeze(1)
        total += g[:, :, None] * g[:, None, :]
    return total


def log_largest(matrices):
    return torch.linalg.eigvalsh(matrices)[..., -1].log()


def jackknife(moments):
    """Bias-corrected log λmax and the reach of its interval, by run: delete one of ten groups of samples."""
    groups = moments.reshape(RUNS, GROUPS, SAMPLES // GROUPS, 6, 6).mean(2)
    full = log_largest(groups.mean(1))
    left_out = log_largest((groups.sum(1, keepdim=True) - groups) / (GROUPS - 1))
    error = ((GROUPS - 1) / GROUPS * (left_out - left_out.mean(1, keepdim=True)).square().sum(1)).sqrt()
    return GROUPS * full - (GROUPS - 1) * left_out.mean(1), student_t(GROUPS - 1) * error


@pytest.fixture(scope="module")
def simulation():
    generator = torch.Generator().manual_seed(5)
    run = network(generator)
    truth = log_largest(exact_moments(*run(hidden(400_000, generator))).mean(0))
    logits, jacobian = run(hidden(RUNS * SAMPLES, generator))
    return truth, logits, jacobian


@pytest.mark.parametrize("draws", [1, 4])
def test_resampling_samples_covers_the_noise_of_the_draws(simulation, draws):
    truth, logits, jacobian = simulation
    centre, reach = jackknife(drawn_moments(logits, jacobian, draws))
    covered = float(((centre - truth).abs() <= reach).double().mean())
    assert 0.95 - 3 * 0.011 <= covered <= 0.95 + 3 * 0.011, "three binomial standard errors of 400 runs"


def test_an_interval_that_left_the_draws_out_would_not(simulation):
    truth, logits, jacobian = simulation
    centre, full = jackknife(drawn_moments(logits, jacobian, 1))
    _, reach = jackknife(exact_moments(logits, jacobian))  # the samples' noise alone
    assert float(((centre - truth).abs() <= reach).double().mean()) < 0.85
    assert float((full / reach).median()) > 1.3


def test_more_draws_narrow_the_interval_down_to_the_samples_own_noise(simulation):
    _, logits, jacobian = simulation
    widths = [float(jackknife(drawn_moments(logits, jacobian, m))[1].median()) for m in (1, 4, 16)]
    least = float(jackknife(exact_moments(logits, jacobian))[1].median())
    assert widths[0] > widths[1] > widths[2] > 0.99 * least
    # the draws' share of the variance falls like 1/m
    shares = [width**2 - least**2 for width in widths]
    assert shares[0] / shares[1] == pytest.approx(4, rel=0.35)
