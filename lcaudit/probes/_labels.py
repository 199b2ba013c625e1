"""Whether labels can be what the user says they are for."""

from __future__ import annotations

import numpy as np

from lcaudit.core.errors import ProbeUnavailable
from lcaudit.core.text import display_name

#: Tasks whose labels are no class numbers: only their losses know what they may be.
_VALUES = ("binary", "regression")


def check_labels(
    labels: np.ndarray, classes: int, name: str, task: str, ignore_index: int, each: tuple[int, ...] = ()
) -> None:
    """Class numbers must lie in 0 … classes − 1; where ``classes`` is 0, unknown, they must not be negative.

    Args:
        labels: int64 or float64, samples first. classes: width of the network's output, 0 if unknown.
        each: shape of one sample of a sequence, which may have a label at each of its positions; ``()`` if none is.
        task: what the user says they are for; under ``auto`` labels that cannot be class numbers may be others.

    Raises:
        ProbeUnavailable: naming the first label that does not fit.
    """
    if task in _VALUES:
        return
    shown, real = display_name(name), labels.dtype.kind == "f"
    rows = labels.reshape(len(labels), -1)
    if labels.ndim == 2 and labels.shape[1:] != each and ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all():
        raise ProbeUnavailable(
            f"{shown}: labels are {labels.dtype}, one row for each sample (one-hot?); expected one integer class "
            "number for each sample",
            "save labels.argmax(1) if they are one-hot, or say what they are, e.g. --task binary",
        )
    if real and (task == "classification" or (labels.ndim == 1 and classes > 1) or bool((rows == rows.round()).all())):
        raise ProbeUnavailable(
            f"{shown}: labels are {labels.dtype}, expected one integer class number for each sample or position",
            "save labels.astype('int64'), or say what they are, e.g. --task regression",
        )
    if real or (classes == 1 and task != "classification"):
        return  # the network's outputs will tell
    # where there are several labels for each sample, which outputs are the classes is known later
    above = (labels >= classes) & (classes > 0) if labels.ndim == 1 else np.zeros_like(labels, bool)
    wrong = np.argwhere(((labels < 0) | above) & (labels != ignore_index))
    if len(wrong):
        expected = f"the network's classes are 0 to {classes - 1}" if classes else "classes are numbered from 0"
        real_labels = labels[labels != ignore_index]
        from_one = classes > 0 and labels.ndim == 1 and real_labels.min() == 1 and real_labels.max() == classes
        raise ProbeUnavailable(
            f"{shown}: label {labels[tuple(wrong[0])]} at index {wrong[0][0]}, {expected}",
            "labels start at 0, these at 1: save labels - 1"
            if from_one
            else "pass the data set that the network was trained for, or name another --task or --ignore-index",
        )
