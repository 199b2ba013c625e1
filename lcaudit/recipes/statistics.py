"""Other running statistics for one batch norm: another function, so nothing is predicted."""

from __future__ import annotations

from torch import nn

from lcaudit.core.recipe import Step
from lcaudit.recipes._base import Operation, batch_norm_at, numbers_of, unchanged_names, unchanged_tensors, variance_of


def _apply(root: nn.Module, step: Step) -> None:
    norm = batch_norm_at(root, step, "normalisation")
    assert norm.running_mean is not None and norm.running_var is not None, "asked for one with statistics"
    mean, variance = numbers_of(step, "mean", norm.num_features), variance_of(step, norm.num_features)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


OPERATION = Operation(("normalisation",), ("mean", "variance"), _apply, unchanged_tensors, unchanged_names, None)
