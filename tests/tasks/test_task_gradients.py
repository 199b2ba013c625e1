"""Σ_g of every layer through each task's output gradients, against every assignment of labels in turn."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture.labels import streams, uniforms
from lcaudit.capture.tasks import Fisher, settle, tasks
from lcaudit.core.errors import UsageError
from tests.cases import Residual, mlp
from tests.tasks.task_oracle import (
    Pixels,
    Tokens,
    every_answer,
    every_class,
    every_sign,
    second_moments,
    through,
    watched,
)

SEED = 11


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class Flat(nn.Module):
    """One output [b] instead of [b, 1]."""

    def __init__(self):
        super().__init__()
        self.body = mlp(3, 4, 1)

    def forward(self, x):
        return self.body(x).squeeze(1)


#: name: task, model, inputs, number of outputs, class axis last
CASES = {
    "classes, mlp": ("classification", lambda: mlp(5, 6, 4), (6, 5), 4, False),
    "classes, residual": ("classification", Residual, (5, 2, 6, 6), 3, False),
    "two classes": ("classification", lambda: mlp(3, 4, 2), (5, 3), 2, False),
    "pixels": ("classification", Pixels, (3, 2, 4, 4), 3, False),
    "tokens": ("classification", Tokens, (4, 3, 3), 4, True),
    "labels": ("binary", lambda: mlp(4, 6, 3), (6, 4), 3, False),
    "one label": ("binary", Flat, (6, 3), 1, False),
    "label per pixel": ("binary", lambda: Pixels(1), (3, 2, 4, 4), 1, False),
    "values": ("regression", lambda: mlp(4, 6, 3), (6, 4), 3, False),
    "one value": ("regression", Flat, (6, 3), 1, False),
    "value per pixel": ("regression", lambda: Pixels(2), (3, 2, 4, 4), 2, False),
}
EVERY = {"classification": every_class, "binary": every_answer, "regression": every_sign}


def case(name):
    torch.manual_seed(0)
    task, make, shape, classes, last = CASES[name]
    model, inputs = make().double().eval(), normal(*shape)
    with torch.no_grad():
        outputs = model(inputs)
    objective = settle(task, tuple(outputs.shape), classes=classes)
    assert (objective.layout.axis == -1) == last
    return task, model, inputs, outputs, objective, last


def check(found, wanted):
    assert set(found) == set(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", CASES)
def test_exact_labels_are_every_assignment_of_labels(name):
    task, model, inputs, outputs, objective, last = case(name)
    fisher = Fisher(draws="exact")
    keys = np.arange(len(inputs))
    _, found, passes = through(model, inputs, lambda o: objective.gradients(o, fisher, keys=keys, seed=SEED))
    every = [EVERY[task](one.movedim(-1, 0) if last else one) for one in outputs]
    wanted = second_moments(model, inputs, task, every, last)
    check(found, wanted)
    assert passes == objective.passes(outputs, fisher)
    if name in ("classes, mlp", "two classes"):
        assert passes == outputs.shape[1] - 1
    head = list(wanted)[-1]
    torch.testing.assert_close(objective.closed_form(outputs), wanted[head][0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_empirical_fisher_uses_the_given_labels_as_torch_would(name):
    task, model, inputs, outputs, objective, last = case(name)
    shape = objective.layout.positions(tuple(outputs.shape)) if task == "classification" else outputs.shape
    targets = {
        "classification": torch.randint(0, CASES[name][3], shape),
        "binary": torch.randint(0, 2, shape).double(),
        "regression": normal(*shape),
    }[task]
    given = [[(1.0, one)] for one in targets]
    _, found, passes = through(
        model,
        inputs,
        lambda o: objective.gradients(o, Fisher("empirical"), keys=np.arange(len(inputs)), seed=SEED, targets=targets),
    )
    check(found, second_moments(model, inputs, task, given, last))
    assert passes == 1


def literal_draw(task, outputs, lots):
    """Targets of one sample from its uniform numbers, one prediction after another; ``outputs`` [T, C]."""
    rows = []
    for row, uniform in zip(outputs, lots, strict=True):
        if task == "classification":
            rows.append(int((row.softmax(0).cumsum(0)[:-1] <= uniform[0]).sum()))
        elif task == "binary":
            rows.append([float(u < f.sigmoid()) for f, u in zip(row, uniform, strict=True)])
        else:
            quantiles = [NormalDist().inv_cdf(float(u)) for u in uniform]
            rows.append([float(f + q) for f, q in zip(row, quantiles, strict=True)])
    return torch.tensor(rows, dtype=torch.int64 if task == "classification" else torch.float64)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_drawn_labels_are_the_published_numbers_through_the_inverse_distribution(name, draws):
    task, model, inputs, outputs, objective, last = case(name)
    keys = np.array([7, 2, 31, 4, 5, 90])[: len(inputs)]
    rows = objective.layout.rows(outputs)
    positions, width = rows.shape[1:]
    each = 1 if task == "classification" else width
    assignments = []
    for i, key in enumerate(keys):
        mine = []
        for index in range(draws):
            if task == "classification" and outputs.dim() == 2:
                lots = uniforms(keys[i : i + 1], SEED, index)
            else:
                lots = streams(np.array([key]), SEED, positions * each, index)
            drawn = literal_draw(task, rows[i], lots.reshape(positions, each))
            one = outputs[i].movedim(-1, 0) if last else outputs[i]
            drawn = drawn.reshape(one.shape[1:]) if task == "classification" else drawn.T.reshape(one.shape)
            mine.append((1 / draws, drawn))
        assignments.append(mine)
    _, found, passes = through(
        model, inputs, lambda o: objective.gradients(o, Fisher(draws=draws), keys=keys, seed=SEED)
    )
    assert passes == draws
    wanted = second_moments(model, inputs, task, assignments, last)
    check(found, wanted)


@pytest.mark.parametrize("name", ["classes, mlp", "pixels", "labels", "value per pixel"])
def test_many_draws_tend_to_the_exact_expectation(name):
    _, model, inputs, _, objective, _ = case(name)
    keys, draws = np.arange(len(inputs)), 2000
    _, exact, _ = through(model, inputs, lambda o: objective.gradients(o, Fisher(draws="exact"), keys=keys, seed=SEED))
    outputs, seen = watched(model, inputs)
    layer = next(iter(seen))
    each = []
    for gradient in objective.gradients(outputs, Fisher(draws=draws), keys=keys, seed=SEED):
        (found,) = torch.autograd.grad(outputs, seen[layer], gradient * draws**0.5, retain_graph=True)
        rows = found.movedim(1, -1).flatten(0, -2)
        each.append(rows.T @ rows)
    stacked = torch.stack(each)
    error = stacked.std(0) / draws**0.5
    distance = (stacked.mean(0) - exact[layer][0]).abs()
    assert bool((distance <= 5 * error).all()), "no entry is off by five standard errors"
    assert float((distance[error > 0] / error[error > 0]).mean()) > 0.3, "nor suspiciously exact"
    assert float(error.max() / exact[layer].abs().max()) < 0.05


def test_the_null_direction_of_a_softmax_stays_one_where_the_network_is_sure():
    """diag(p) − p pᵀ with p within 1e-9 of one-hot: formed by subtraction, the null direction drowns in rounding."""
    torch.manual_seed(SEED)
    outputs = 25 * torch.eye(10, dtype=torch.float64)[torch.randint(10, (500,))] + normal(500, 10)
    fisher = settle("classification", (500, 10)).closed_form(outputs)
    values = torch.linalg.eigvalsh(fisher)
    assert abs(values[0]) < 1e-14 * values[-1] and values[1] > 1e-6 * values[-1]
    assert fisher.sum(1).abs().max() < 1e-14 * fisher.diagonal().max()


def test_the_closed_form_is_the_hessian_of_the_loss_at_the_outputs():
    torch.manual_seed(1)
    outputs = normal(4, 5)
    targets = {
        "classification": torch.tensor([0, 4, 2, 2]),
        "binary": torch.randint(0, 2, (4, 5)).double(),
        "regression": normal(4, 5),
    }
    for name in tasks():
        objective = settle(name, (4, 5), targets[name], classes=5)
        wanted = torch.zeros(5, 5, dtype=torch.float64)
        for i in range(4):

            def loss(row, i=i, objective=objective, name=name):
                task = objective.task
                return task.loss(row[None], targets[name][i : i + 1])[0]

            wanted += torch.autograd.functional.hessian(loss, outputs[i])
        torch.testing.assert_close(objective.closed_form(outputs), wanted, rtol=1e-12, atol=1e-14)


def test_positions_that_do_not_count_have_no_gradient_and_enter_no_moment():
    torch.manual_seed(2)
    model, inputs = Tokens().double(), normal(4, 3, 3)
    with torch.no_grad():
        outputs = model(inputs)
    targets = torch.tensor([[0, 1, 2], [3, -100, 1], [-100, -100, 0], [1, 1, 1]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, True, True], [True, False, True]])
    counts = mask & (targets != -100)
    objective = settle("classification", (4, 3, 4), targets, classes=4)
    keys = np.arange(4)

    def gradients(fisher):
        return lambda o: objective.gradients(o, fisher, keys=keys, seed=SEED, targets=targets, mask=mask)

    _, found, _ = through(model, inputs, gradients(Fisher(draws="exact")))
    every = [every_class(one.T, ~row) for one, row in zip(outputs, counts, strict=True)]
    wanted = second_moments(model, inputs, "classification", every, classes_last=True)
    check(found, wanted)
    torch.testing.assert_close(objective.closed_form(outputs, targets, mask), wanted["head"][0])
    _, found, _ = through(model, inputs, gradients(Fisher("empirical")))
    given = [[(1.0, torch.where(row, one, -100))] for one, row in zip(targets, counts, strict=True)]
    check(found, second_moments(model, inputs, "classification", given, classes_last=True))
    (one,) = gradients(Fisher())(outputs)
    assert not one[~counts].any() and bool(one[counts].any(-1).all())


def test_confident_outputs_keep_their_second_moment():
    """p within 1e-16 of 0 and 1: the root has no cancellation, and no division by nothing."""
    outputs = torch.tensor([[40.0, 0.0, -800.0], [-800.0, 0.0, 0.0], [0.0, 800.0, -800.0]], dtype=torch.float64)
    objective = settle("classification", (3, 3), classes=3)
    passes = list(objective.gradients(outputs, Fisher(draws="exact"), keys=np.arange(3), seed=0))
    moment = sum(gradient[:, :, None] * gradient[:, None, :] for gradient in passes)
    p = float(np.exp(-40.0))
    torch.testing.assert_close(
        moment[0, :2, :2], p * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double(), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(moment[1, 1:, 1:], 0.25 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double())
    assert not moment[2].any() and bool(moment.isfinite().all())


def test_what_cannot_be_done_is_said():
    objective = settle("classification", (2, 50, 100), torch.zeros(2, 50, dtype=torch.int64), classes=100)
    outputs = torch.zeros(2, 50, 100)
    with pytest.raises(UsageError, match=r"4.?950 backward passes per batch, expected at most 4096"):
        list(objective.gradients(outputs, Fisher(draws="exact"), keys=np.arange(2), seed=0))
    with pytest.raises(UsageError, match="needs labels"):
        list(objective.gradients(outputs, Fisher("empirical"), keys=np.arange(2), seed=0))
    with pytest.raises(UsageError, match="0 label draws"):
        Fisher(draws=0)


def test_labels_of_the_second_moment_name_their_expectation():
    words = {name: settle(name, (2, 3), classes=3) for name in tasks()}
    assert words["classification"].label(Fisher()) == "expected, one draw per sample"
    assert words["binary"].label(Fisher(draws=4)) == "expected, 4 draws per sample"
    assert words["classification"].label(Fisher(draws="exact")) == "expected, exact over classes"
    assert words["binary"].label(Fisher(draws="exact")) == "expected, exact over labels"
    assert words["regression"].label(Fisher(draws="exact")) == "expected, exact over outputs"
    assert words["regression"].label(Fisher("empirical", "exact")) == "empirical, given labels"
