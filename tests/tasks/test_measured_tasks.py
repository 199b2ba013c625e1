"""Σ_g of whole measuring runs, every task and Fisher, against one sample and one assignment of labels at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import Fisher, measure
from lcaudit.capture.labels import draw, uniforms
from lcaudit.core.errors import AuditError, ProbeUnavailable, UsageError
from lcaudit.core.statistics import student_t
from lcaudit.spectra import analyse
from tests.cases import mlp, network, probe
from tests.conformance.case_wiring import Checkpointed
from tests.tasks.task_oracle import Pixels, Tokens, every_answer, every_class, every_sign, second_moments, watched

CPU = torch.device("cpu")
CLOSED = "expected, closed form"
EMPIRICAL = Fisher("empirical")


def run(model, inputs, labels=None, mask=None, classes=0, **options):
    given = probe(inputs, None if labels is None else np.asarray(labels))
    if mask is not None:
        given = replace(given, mask=lambda start, stop: mask[start:stop])
    arguments = {"device": CPU, "dtype": torch.float64, "batch_size": 4, "seed": 3} | options
    return measure(network(model, classes=classes), given, **arguments)


def moments_of(found):
    return {one.layer.name: one.gradient.sum(0) for one in found.layers}


def labels_of(found):
    return {one.layer.name: one.gradient_label for one in found.layers}


def check(found, wanted):
    got = moments_of(found)
    assert set(got) == set(wanted)
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def pixels():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (6, 2, 2))
    labels[torch.rand(6, 2, 2) < 0.3] = -100
    return Pixels().double().eval(), normal(6, 2, 4, 4), labels


def tokens():
    torch.manual_seed(1)
    labels = torch.randint(0, 4, (6, 3))
    labels[0, 1], labels[2, 0], labels[4] = -100, -100, torch.tensor([-100, 2, -100])
    return Tokens().double().eval(), normal(6, 3, 3), labels


@pytest.mark.parametrize("make", [pixels, tokens])
def test_positions_without_a_label_do_not_count(make):
    model, inputs, labels = make()
    last = make is tokens
    outputs = watched(model, inputs)[0].detach()
    each = [every_class(one.T if last else one, row == -100) for one, row in zip(outputs, labels, strict=True)]
    exact = second_moments(model, inputs, "classification", each, last)
    found = run(model, inputs, labels, fisher=Fisher(draws="exact"))
    check(found, exact)
    assert labels_of(found) == dict.fromkeys(exact, "expected, exact over classes") | {"head": CLOSED}
    assert [one.layer.is_head for one in found.layers] == [False, False, True]

    given = second_moments(model, inputs, "classification", [[(1.0, row)] for row in labels], last)
    found = run(model, inputs, labels, fisher=EMPIRICAL, batch_size=1)
    check(found, given)
    assert set(labels_of(found).values()) == {"empirical, given labels"} and found.layers[-1].layer.is_head
    check(run(model, inputs, labels.where(labels >= 0, 255), fisher=EMPIRICAL, ignore_index=255), given)

    counted = labels != -100
    wrong = (outputs.argmax(-1 if last else 1) != labels)[counted].double().mean()
    assert found.fit.error.value == pytest.approx(float(wrong))
    loss = nn.functional.cross_entropy(outputs.movedim(-1, 1) if last else outputs, labels)
    assert found.fit.loss.value == pytest.approx(float(loss))
    assert found.task.name == "classification" and "per position" in found.task.evidence


def test_padded_tokens_do_not_count():
    model, inputs, labels = tokens()
    mask = torch.tensor([[True, True, False], [True, True, True]] * 3)
    outputs = watched(model, inputs)[0].detach()
    each = [every_class(one.T, (row == -100) | ~real) for one, row, real in zip(outputs, labels, mask, strict=True)]
    wanted = second_moments(model, inputs, "classification", each, True)
    check(run(model, inputs, labels, mask, fisher=Fisher(draws="exact")), wanted)
    with pytest.raises(ProbeUnavailable, match=r"a mask \[.*expected"):
        run(model, inputs, labels, mask[:, :2])


VALUES = {
    "one answer": ("binary", lambda: mlp(4, 5, 1), (6, 4), every_answer, "expected, exact over labels"),
    "answers": ("binary", lambda: mlp(4, 5, 3), (6, 4), every_answer, "expected, exact over labels"),
    "answer per pixel": ("binary", lambda: Pixels(1), (4, 2, 4, 4), every_answer, "expected, exact over labels"),
    "one value": ("regression", lambda: mlp(4, 5, 1), (6, 4), every_sign, "expected, exact over outputs"),
    "values": ("regression", lambda: mlp(4, 5, 3), (6, 4), every_sign, "expected, exact over outputs"),
}


@pytest.mark.parametrize("name", VALUES)
def test_answers_and_real_values(name):
    task, make, shape, every, label = VALUES[name]
    torch.manual_seed(2)
    model, inputs = make().double().eval(), normal(*shape)
    outputs = watched(model, inputs)[0].detach()
    targets = torch.randint(0, 2, outputs.shape) if task == "binary" else normal(*outputs.shape)
    if name == "answers":
        targets[0] = 1  # or else the rows might be one-hot classes
    wanted = second_moments(model, inputs, task, [every(one) for one in outputs])
    found = run(
        model, inputs, targets.squeeze(1) if outputs.shape[1:] == (1,) else targets, fisher=Fisher(draws="exact")
    )
    check(found, wanted)
    assert found.task.name == task and found.task.evidence, "auto saw it"
    assert [found.layers[0].gradient_label, found.layers[-1].gradient_label] == [label, CLOSED]

    given = [[(1.0, one)] for one in targets.double()]
    found = run(model, inputs, targets, task=task, fisher=EMPIRICAL)
    check(found, second_moments(model, inputs, task, given))
    assert (found.fit.error is None) == (task == "regression") and found.fit.loss is not None


@pytest.mark.parametrize("draws", [1, 3])
def test_drawn_labels_are_averaged_over_their_draws(draws):
    torch.manual_seed(3)
    model, inputs = mlp(5, 6, 4).double().eval(), normal(7, 5)
    outputs = model(inputs).detach()
    drawn = [draw(outputs, uniforms(np.arange(7), 3, index)) for index in range(draws)]
    wanted = second_moments(model, inputs, "classification", [[(1 / draws, one[i]) for one in drawn] for i in range(7)])
    wanted["2"] = second_moments(model, inputs, "classification", [every_class(one) for one in outputs])["2"]
    found = run(model, inputs, fisher=Fisher(draws=draws))
    check(found, wanted)
    said = "one draw" if draws == 1 else "3 draws"
    assert labels_of(found) == {"0": f"expected, {said} per sample", "2": CLOSED}


@pytest.mark.parametrize("make", [pixels, tokens])
def test_batches_and_order_shift_no_draw(make):
    model, inputs, labels = make()
    order = np.array([4, 1, 0, 5, 3, 2])
    one = run(model, inputs, labels, fisher=Fisher(draws=2), batch_size=1)
    other = run(model, inputs, labels, fisher=Fisher(draws=2), batch_size=50)
    given = probe(inputs[order], labels.numpy()[order])
    given = replace(given, keys=order.astype(np.int64))
    moved = measure(
        network(model), given, device=CPU, dtype=torch.float64, batch_size=4, seed=3, fisher=Fisher(draws=2)
    )
    for found in (other, moved):
        check(found, moments_of(one))


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_recomputed_in_the_backward_pass_sees_every_pass(reentrant):
    torch.manual_seed(4)
    model, inputs = Checkpointed(True, reentrant, False).double().eval(), normal(6, 2, 5, 5)
    found = run(model, inputs, fisher=Fisher(draws="exact"))
    model.checkpointed = False
    check(found, moments_of(run(model, inputs, fisher=Fisher(draws="exact"))))


def test_a_head_whose_channels_are_not_the_classes_has_no_closed_form():
    """Linear over the last axis, the classes on the second: [b, 3 classes, 5 positions]."""
    torch.manual_seed(5)
    model, inputs = nn.Sequential(nn.Linear(4, 5)).double(), normal(6, 3, 4)
    labels = torch.randint(0, 3, (6, 5))
    found = run(model, inputs, labels, fisher=Fisher(draws="exact"))
    assert labels_of(found) == {"0": "expected, exact over classes"} and found.layers[0].layer.is_head
    every = [every_class(one) for one in model(inputs).detach()]
    check(found, second_moments(model, inputs, "classification", every))


def test_a_head_in_groups_has_a_closed_form_for_each():
    torch.manual_seed(6)
    model, inputs = nn.Sequential(nn.Conv2d(4, 4, 2, groups=2)).double(), normal(3, 4, 3, 2)
    found = run(model, inputs)
    every = [every_class(one) for one in model(inputs).detach()]
    check(found, second_moments(model, inputs, "classification", every))
    assert labels_of(found) == {"0": CLOSED}


def test_a_transposed_convolution_gives_outputs_by_patches():
    """Its rows are the input's pixels and their gradients patches of the output's: no closed form by class."""
    torch.manual_seed(9)
    model, inputs = nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2)).double(), normal(4, 2, 2, 2)
    found = run(model, inputs, torch.randint(0, 3, (4, 4, 4)), fisher=Fisher(draws="exact"))
    assert labels_of(found) == {"0": "expected, exact over classes"} and found.layers[0].layer.is_head


def test_what_a_run_cannot_do_is_one_error():
    torch.manual_seed(7)
    model, inputs = mlp(4, 5, 3), normal(20, 4)
    with pytest.raises(UsageError, match="needs labels"):
        run(model, inputs, fisher=EMPIRICAL)
    with pytest.raises(ProbeUnavailable, match="labels run from 0 to 3, expected 0 to 2"):
        run(model, inputs, np.arange(20) % 4, task="classification")
    with pytest.raises(AuditError, match="fit no task"):
        run(model, inputs, np.arange(20) % 4)
    with pytest.raises(UsageError, match=r"exact labels would take 8.?192 backward passes"):
        run(nn.Conv2d(1, 3, 1), normal(4, 1, 64, 64), classes=3, fisher=Fisher(draws="exact"))
    # a label out of range far beyond the first batch is found on the first
    labels = np.zeros(20, np.int64)
    labels[-1] = 7
    with pytest.raises(AuditError, match="0 to 7"):
        run(model, inputs, labels, batch_size=1)


def test_the_standard_error_of_a_drawn_moment_is_its_spread_over_samples_and_draws():
    """log λmax of Σ_g over runs with samples and draws of their own, against each run's jackknife."""
    torch.manual_seed(8)
    model = mlp(4, 6, 3).double().eval()
    with torch.no_grad():
        model[2].weight *= 6  # confident: the draws are noisy
    runs, samples, logs, errors = 40, 200, [], []
    inputs = normal(runs * samples, 4)
    for i in range(runs):
        part = slice(i * samples, (i + 1) * samples)
        found = measure(network(model), probe(inputs[part]), device=CPU, dtype=torch.float64, batch_size=50, seed=i)
        largest = analyse(found.layers[0], float32=False).gradient.largest
        logs.append(np.log(largest.plug_in if largest.plug_in is not None else largest.value))
        errors.append(np.log(largest.high / largest.low) / 2 / student_t(9))
    spread = float(np.std(logs, ddof=1))
    assert float(np.sqrt(np.mean(np.square(errors)))) == pytest.approx(spread, rel=0.35)
