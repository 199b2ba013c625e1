"""One file per task: which predictive distribution the outputs stand for, and so which Fisher is measured.

:func:`settle` decides on the first batch; the :class:`Objective` it returns gives each batch's losses,
gradients for the backward passes and the closed form at the layer that gives the outputs; :class:`FitSums`
sums error, loss and entropy.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lcaudit.capture.tasks._base import Task
from lcaudit.capture.tasks._fit import FitSums
from lcaudit.capture.tasks._layout import find
from lcaudit.capture.tasks._objective import CLOSED_FORM, Fisher, Objective, fisher_of
from lcaudit.core import plugins
from lcaudit.core.errors import AuditError, UsageError
from lcaudit.core.text import display_name

__all__ = ["CLOSED_FORM", "Fisher", "FitSums", "Objective", "fisher_of", "settle", "tasks"]

AUTO = "auto"


def tasks() -> dict[str, Task]:
    """Every task by name."""
    return {name: plugins.load(__name__, name, "TASK") for name in plugins.names(__name__)}


def settle(
    name: str,
    shape: tuple[int, ...],
    targets: Tensor | None = None,
    *,
    classes: int = 0,
    ignore_index: int = -100,
    last: bool = False,
) -> Objective:
    """The task called ``name``, or for ``auto`` the only one for which outputs and targets speak.

    Args:
        shape: of one batch of outputs, [b, …].
        targets: of any number of samples; all of the probe's, so that batch size decides nothing.
        classes: width of the network's output if known, else 0.
        ignore_index: label of positions that do not count.
        last: whether it is known that the last axis of outputs with positions holds the classes.

    Raises:
        UsageError: no such task; ``auto`` and no task, or several, fit the evidence.
        ProbeUnavailable: targets that the named task cannot take.
    """
    shape = shape if targets is None else (len(targets), *shape[1:])
    known = tasks()
    if name != AUTO:
        if name not in known:
            raise UsageError(f"unknown task {display_name(name)}, expected one of {', '.join([AUTO, *known])}")
        return _named(name, known[name], shape, targets, classes, ignore_index, last)
    fitting, refused = [], []
    for candidate, task in known.items():
        try:
            objective = _named(candidate, task, shape, targets, classes, ignore_index, last)
        except AuditError as error:
            refused.append(f"{candidate}: {error.message}")
            continue
        if objective.evidence:
            fitting.append(objective)
        else:
            refused.append(f"{candidate}: nothing in the data speaks for it")
    if len(fitting) == 1:
        return fitting[0]
    why = "; ".join(f"{one.name}: {one.evidence}" for one in fitting) or "; ".join(refused)
    raise UsageError(
        f"outputs {_words(shape, targets)} fit {'several tasks' if fitting else 'no task'}, expected one ({why})",
        f"name it: --task {' or --task '.join(known)}",
    )


def _named(
    name: str, task: Task, shape: tuple[int, ...], targets: Tensor | None, classes: int, ignore_index: int, last: bool
) -> Objective:
    layout = find(shape, None if targets is None else tuple(targets.shape), classes, task.indices, last)
    width = layout.width(shape)
    if width < task.least_width:
        raise UsageError(f"{task.title} with {width} output per position, expected at least {task.least_width}")
    objective = Objective(name, task, layout, ignore_index)
    counted = None
    if targets is not None:
        rows = layout.target_rows(targets, shape, task.indices)
        counted = rows[rows != ignore_index] if task.indices else rows.flatten(0, 1)
        objective.checked(counted, width)
    return replace(objective, evidence=task.evidence(counted, shape, width))


def _words(shape: tuple[int, ...], targets: Tensor | None) -> str:
    if targets is None:
        return f"{list(shape)} without labels"
    return f"{list(shape)} and {str(targets.dtype).removeprefix('torch.')} targets {list(targets.shape)}"
