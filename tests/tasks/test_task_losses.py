"""Losses of samples, the sum over positions, and the figures of fit."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lcaudit.capture.tasks import Fisher, FitSums, _batch, settle
from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.quantity import wilson
from lcaudit.core.statistics import NORMAL_95
from tests.oracles.literal import kappa
from tests.tasks.task_oracle import Tokens, through

torch.manual_seed(0)
LOGITS = torch.randn(6, 4, 3, 3, dtype=torch.float64)
CLASSES = torch.randint(0, 4, (6, 3, 3))
CLASSES[1, 0], CLASSES[4] = -100, -100
ANSWERS = torch.randint(0, 2, LOGITS.shape).double()
VALUES = torch.randn_like(LOGITS)
PLACES = (1, 2, 3)
WANTED = {
    "classification": (CLASSES, F.cross_entropy(LOGITS, CLASSES, reduction="none").sum((1, 2))),
    "binary": (ANSWERS, F.binary_cross_entropy_with_logits(LOGITS, ANSWERS, reduction="none").sum(PLACES)),
    "regression": (VALUES, F.mse_loss(LOGITS, VALUES, reduction="none").sum(PLACES) / 2),
}


@pytest.mark.parametrize("chunk", [1, 20, 10**6])
@pytest.mark.parametrize("name", WANTED)
def test_the_loss_of_a_sample_is_the_sum_over_its_positions(name, chunk, monkeypatch):
    monkeypatch.setattr(_batch, "_CHUNK", chunk)
    targets, wanted = WANTED[name]
    objective = settle(name, tuple(LOGITS.shape), targets, classes=4)
    torch.testing.assert_close(objective.loss(LOGITS, targets), wanted)
    last = settle(name, (6, 3, 3, 4), targets if name == "classification" else targets.movedim(1, -1), classes=4)
    moved = targets if name == "classification" else targets.movedim(1, -1)
    torch.testing.assert_close(last.loss(LOGITS.movedim(1, -1), moved), wanted)


@pytest.mark.parametrize("name", WANTED)
def test_the_empirical_gradient_is_that_of_the_loss(name, monkeypatch):
    monkeypatch.setattr(_batch, "_CHUNK", 30)
    targets, _ = WANTED[name]
    objective = settle(name, tuple(LOGITS.shape), targets, classes=4)
    leaf = LOGITS.clone().requires_grad_()
    mask = torch.rand(6, 3, 3) > 0.3
    objective.loss(leaf, targets, mask)  # detached: no graph is kept
    literal = {
        "classification": lambda: F.cross_entropy(leaf, CLASSES, reduction="none"),
        "binary": lambda: F.binary_cross_entropy_with_logits(leaf, ANSWERS, reduction="none").sum(1),
        "regression": lambda: F.mse_loss(leaf, VALUES, reduction="none").sum(1) / 2,
    }[name]()
    (wanted,) = torch.autograd.grad((literal * mask).sum(), leaf)
    (found,) = objective.gradients(LOGITS, Fisher("empirical"), keys=np.arange(6), seed=0, targets=targets, mask=mask)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(objective.loss(LOGITS, targets, mask), (literal * mask).sum((1, 2)).detach())


def test_mean_instead_of_sum_scales_eigenvalues_and_moves_no_condition_number():
    """With T positions in every sample; with fewer in some, the mean is another loss with another κ."""
    model, inputs = Tokens().double(), torch.randn(40, 5, 3, dtype=torch.float64)
    objective, keys = settle("classification", (40, 5, 4), classes=4), np.arange(40)
    ragged = torch.arange(5) < torch.tensor([1, 5] * 20)[:, None]

    def moments(mean, mask):
        def gradients(outputs):
            divisor = mask.sum(1)[:, None, None] if mean else 1
            for one in objective.gradients(outputs, Fisher(draws="exact"), keys=keys, seed=0, mask=mask):
                yield one / divisor

        return {name: moment[0] for name, moment in through(model, inputs, gradients)[1].items()}

    everything = torch.ones(40, 5, dtype=torch.bool)
    total, mean = moments(False, everything), moments(True, everything)
    for name in total:
        torch.testing.assert_close(mean[name], total[name] / 25)
        for p in (50, 80):
            assert kappa(mean[name].numpy(), p) == pytest.approx(kappa(total[name].numpy(), p), rel=1e-9)
    total, mean = moments(False, ragged), moments(True, ragged)
    apart = [abs(math.log(kappa(mean[n].numpy(), 80) / kappa(total[n].numpy(), 80))) for n in ("first", "second")]
    assert max(apart) > 0.01


def fit(name, outputs, targets, batch=4, **options):
    sums = FitSums(settle(name, tuple(outputs.shape), targets, **options))
    for start in range(0, len(outputs), batch):
        sums.add(outputs[start : start + batch], None if targets is None else targets[start : start + batch])
    return sums.finish()


def test_fit_of_a_classifier():
    logits, labels = torch.randn(30, 5), torch.randint(0, 5, (30,))
    found = fit("classification", logits, labels)
    losses = F.cross_entropy(logits.double(), labels, reduction="none")
    assert found.error == wilson(int((logits.argmax(1) != labels).sum()), 30)
    assert found.loss.value == pytest.approx(float(losses.mean()))
    half = NORMAL_95 * float(losses.std()) / 30**0.5
    assert (found.loss.low, found.loss.high) == pytest.approx((found.loss.value - half, found.loss.value + half))
    assert found.chance == pytest.approx(1 - int(labels.bincount().max()) / 30)
    p = logits.double().softmax(1)
    assert found.entropy.value == pytest.approx(float(torch.special.entr(p).sum(1).mean()))
    bare = fit("classification", logits, None)
    assert bare.error is bare.loss is bare.chance is None and bare.entropy == found.entropy


def test_fit_per_position_counts_positions_and_trusts_samples():
    """Eight positions that agree with each other are one independent prediction, not eight."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (200, 1), generator=generator).expand(200, 8).clone()
    right = torch.rand(200, 1, generator=generator) < 0.8
    logits = F.one_hot(torch.where(right, labels, (labels + 1) % 3), 3).double() * 2
    labels[::3, 5:] = -100
    counted = labels != -100
    found = fit("classification", logits, labels, classes=3)
    wrong = (logits.argmax(-1) != labels) & counted
    assert found.error.value == pytest.approx(float(wrong.sum() / counted.sum()))
    independent = wilson(round(200 * found.error.value), 200)
    assert found.error.high - found.error.low == pytest.approx(independent.high - independent.low, rel=0.1)
    losses = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    assert found.loss.value == pytest.approx(float(losses.sum() / counted.sum()))
    assert found.error.n == found.loss.n == 200
    assert found.chance == pytest.approx(1 - int(labels[counted].bincount().max()) / int(counted.sum()))


def test_fit_of_independent_labels():
    logits, targets = torch.randn(40, 3), (torch.rand(40, 3) < torch.tensor([0.1, 0.5, 0.8])).float()
    found = fit("binary", logits, targets)
    assert found.error.value == pytest.approx(float(((logits > 0) != (targets > 0)).double().mean()))
    assert found.loss.value == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, targets)), rel=1e-6)
    share = targets.double().mean(0)
    assert found.chance == pytest.approx(float(torch.minimum(share, 1 - share).mean()))
    p = logits.double().sigmoid()
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    assert found.entropy.value == pytest.approx(float(entropy.mean()))


def test_fit_of_a_regression():
    outputs, targets = torch.randn(20, 3), torch.randn(20, 3)
    found = fit("regression", outputs, targets)
    assert found.error is None and found.chance is None
    assert found.loss.value == pytest.approx(float(F.mse_loss(outputs, targets)) / 2, rel=1e-6)
    assert found.entropy.value == pytest.approx(0.5 * math.log(2 * math.pi * math.e))


def test_all_right_is_not_certain():
    logits = torch.eye(3).repeat(10, 1)[:, :, None].expand(30, 3, 6) * 9
    labels = torch.arange(3).repeat(10)[:, None].expand(30, 6)
    error = fit("classification", logits, labels).error
    assert error.value == 0 and error.high == pytest.approx(wilson(0, 30).high)


def test_a_probe_on_which_nothing_counts_has_no_figures():
    logits, labels = torch.randn(4, 6, 3), torch.full((4, 6), -100)
    found = fit("classification", logits, labels, classes=3)
    assert found.error is found.loss is found.chance is None
    assert math.isnan(found.entropy.value) and not found.entropy.reliable
    objective = settle("classification", (4, 6, 3), labels, classes=3)
    for fisher in (Fisher(), Fisher("empirical"), Fisher(draws="exact")):
        for one in objective.gradients(logits, fisher, keys=np.arange(4), seed=0, targets=labels):
            assert one.shape == logits.shape and not one.any()
    assert not objective.closed_form(logits, labels).any() and not objective.loss(logits, labels).any()


def test_targets_that_do_not_fit_are_named():
    objective = settle("classification", (4, 10), torch.arange(4))
    with pytest.raises(ProbeUnavailable, match="labels run from 0 to 99, expected 0 to 9"):
        objective.loss(torch.zeros(2, 10), torch.tensor([99, 0]))
    with pytest.raises(ProbeUnavailable, match=r"targets \[3\] for outputs \[2, 10\], expected \[2\]"):
        objective.loss(torch.zeros(2, 10), torch.tensor([1, 2, 3]))
    with pytest.raises(ProbeUnavailable, match=r"a mask \[2, 10\]"):
        objective.loss(torch.zeros(2, 10), torch.tensor([1, 2]), torch.ones(2, 10))
    with pytest.raises(ProbeUnavailable, match="not finite"):
        settle("regression", (2, 1), torch.tensor([[0.5], [math.nan]]))
    with pytest.raises(ProbeUnavailable, match="neither 0 nor 1"):
        settle("binary", (2, 1), torch.tensor([0, 2]))
