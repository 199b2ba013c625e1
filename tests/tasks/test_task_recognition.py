"""Which task outputs and targets speak for, and what is said where they do not."""

import pytest
import torch

from lcaudit.capture.tasks import _base, settle, tasks
from lcaudit.core.errors import ProbeUnavailable, UsageError

INDEX = torch.tensor([0, 2, 1, 3])
FOUND = {
    "class indices": ((4, 5), INDEX, 0, "classification", 1),
    "small integers": ((4, 5), INDEX.to(torch.uint8), 0, "classification", 1),
    "indices per pixel": ((4, 5, 2, 2), INDEX[:, None, None].expand(4, 2, 2), 0, "classification", 1),
    "ignored pixels": ((4, 5, 2, 2), torch.full((4, 2, 2), -100), 0, "classification", 1),
    "indices per token": ((4, 7, 5), INDEX[:, None].expand(4, 7), 0, "classification", -1),
    "square, classes known": ((4, 5, 7), None, 7, "classification", -1),
    "no labels": ((4, 10), None, 10, "classification", 1),
    "no labels, pixels": ((4, 3, 8, 8), None, 3, "classification", 1),
    "several labels": ((4, 3), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1]]), 0, "binary", 1),
    "several labels, real": ((4, 2), torch.tensor([[1.0, 1], [0, 0], [1, 0], [1, 1]]), 0, "binary", 1),
    "one label, flat": ((4,), torch.tensor([0, 1, 1, 0]), 0, "binary", 0),
    "one label, [b, 1]": ((4, 1), torch.tensor([0.0, 1, 1, 0]), 0, "binary", 1),
    "booleans": ((4, 1), torch.tensor([[True], [False], [True], [True]]), 0, "binary", 1),
    "mask of pixels": ((2, 1, 2, 2), torch.tensor([[[0, 1], [1, 1]]] * 2), 0, "binary", 1),
    "values": ((4, 3), torch.randn(4, 3), 0, "regression", 1),
    "one value": ((4,), torch.tensor([0.0, 1.0, 2.0, 3.0]), 0, "regression", 0),
    "one value, [b, 1]": ((4, 1), torch.rand(4), 0, "regression", 1),
    "picture": ((2, 3, 4, 4), torch.rand(2, 3, 4, 4), 3, "regression", 1),
}
OPEN = {
    "one-hot rows": ((4, 5), torch.eye(5)[:4], "nothing in the data speaks for it"),
    "soft labels": ((4, 5), torch.rand(4, 5).softmax(1), "nothing in the data"),
    "one output, no labels": ((4, 1), None, "without labels fit no task"),
    "whole numbers, one output": ((4, 1), torch.tensor([0, 3, 1, 5]), "neither 0 nor 1"),
    "one kind of label only": ((4, 1), torch.zeros(4), "no task"),
    "labels out of range": ((4, 3), INDEX, "labels run from 0 to 3, expected 0 to 2"),
    "indices as reals": ((4, 5), INDEX.float(), "float32, expected class indices"),
    "another length": ((4, 5), torch.zeros(4, 7), "do not belong together"),
    "positions as many as classes": ((4, 5, 5), INDEX[:, None].expand(4, 5), "leave open which axis"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_data_speak(name):
    shape, targets, classes, task, axis = FOUND[name]
    objective = settle("auto", shape, targets, classes=classes)
    assert (objective.name, objective.layout.axis) == (task, axis)
    assert objective.evidence and "\n" not in objective.evidence


@pytest.mark.parametrize("name", OPEN)
def test_where_the_data_do_not_speak_the_user_is_asked(name):
    shape, targets, reason = OPEN[name]
    with pytest.raises(UsageError, match=reason) as caught:
        settle("auto", shape, targets)
    assert "expected one" in caught.value.message
    assert all(f"--task {task}" in caught.value.hint for task in tasks())


def test_what_the_user_names_is_taken():
    assert settle("binary", (4, 5), torch.eye(5)[:4]).name == "binary"
    assert settle("regression", (4, 1), torch.tensor([0, 3, 1, 5])).name == "regression"
    assert settle("binary", (4, 1)).evidence == ""
    with pytest.raises(UsageError, match="unknown task ranking, expected one of auto, binary, classification"):
        settle("ranking", (4, 5))
    with pytest.raises(UsageError, match="classification with 1 output"):
        settle("classification", (4, 1), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ProbeUnavailable, match="do not belong together, expected one class index per sample"):
        settle("classification", (4,))
    with pytest.raises(ProbeUnavailable, match="float32, expected class indices"):
        settle("classification", (4, 5), torch.zeros(4))


def test_the_number_of_samples_in_a_batch_decides_nothing():
    labels = torch.cat([torch.zeros(50), torch.ones(50)])
    for batch in (1, 7, 100):
        assert settle("auto", (batch, 1), labels).name == "binary"


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5), (4, 3, 2, 5)])
def test_rows_and_back(shape):
    outputs = torch.arange(torch.tensor(shape).prod()).reshape(shape)
    for axis in (1, -1) if len(shape) > 2 else (1,) if len(shape) == 2 else (0,):
        layout = settle("regression", shape).layout if len(shape) < 3 else None
        layout = layout or type(settle("regression", (1,)).layout)(axis)
        rows = layout.rows(outputs)
        assert rows.shape == (4, outputs.numel() // 4 // layout.width(shape), layout.width(shape))
        assert torch.equal(layout.restore(rows, outputs), outputs)
        assert layout.positions(shape)[0] == 4


def test_every_task_keeps_the_contract():
    outputs = torch.randn(6, 4, dtype=torch.float64)
    for name, task in tasks().items():
        uniform = torch.rand(6, task.numbers(4), dtype=torch.float64)
        targets = task.draw(outputs, uniform)
        assert targets.shape == ((6,) if task.indices else (6, 4)), name
        assert task.check(targets, 4) == ""
        assert task.loss(outputs, targets).shape == task.entropy(outputs).shape == (6,)
        assert task.residual(outputs, targets).shape == (6, 4)
        columns = list(task.root(outputs))
        assert len(columns) == task.columns(4)
        total = sum(column.T @ column for column in columns)
        torch.testing.assert_close(total, task.fisher(outputs))
        tally = task.tally(targets, 4)
        assert torch.equal(task.tally(targets[:2], 4) + task.tally(targets[2:], 4), tally)
        wrong, chance = task.wrong(outputs, targets), task.chance(tally)
        assert (wrong is None) == (chance is None) and (wrong is None or int(wrong.max()) <= task.predictions(4))
        assert task.title and task.convention.startswith("ℓ") and isinstance(task, _base.Task)
