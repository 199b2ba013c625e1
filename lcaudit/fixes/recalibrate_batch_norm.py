"""Gather the batch norms' running statistics again over training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.core.recipe import Step
from lcaudit.core.text import count
from lcaudit.fixes._base import FREE, Plan, Remedy, Study

if TYPE_CHECKING:
    from lcaudit.core.types import ChannelStatistics

#: Shares of the probe's own statistics that are tried.
SHARES = (1.0, 0.75, 0.5, 0.25)

CODE = '''\
import torch
from torch import nn


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, batches) -> None:
    """Replace running statistics by those of the batches: training inputs, augmented as in training."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()  # dropout stays off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    try:
        for batch in batches:
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


recalibrate_batch_norm(model, batches)
'''


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Always the same recipe: it changes the function, so the error decides whether it helped."""
    return request(measurements)


def request(measurements: Measurements) -> Fix:
    """The fix for every batch norm of the network."""
    return Fix(
        id="recalibrate-batch-norm",
        title="Gather the batch-norm statistics again over training data",
        applicability="unsafe",
        layers=tuple(layer.name for layer in measurements.batch_norms),
        effects=(),
        how=(
            "Only if the statistics are stale (after averaging, pruning, quantising or fine-tuning), not if the "
            "preprocessing or the data differ: then this would hide the mistake. Run a few thousand training samples, "
            "augmented as in training, in batches of 100 or more, and compare the error on held-out data before and "
            "after; keep the old statistics unless it falls."
        ),
        code=CODE,
        cost="One forward pass over a few thousand samples; no parameters; no retraining.",
        price=FREE,
    )


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every batch norm: its statistics mixed with the probe's, in the share that has the least loss.

    The share is chosen on the half of the probe that the statistics come from, and judged on the other half.
    Source of mixing: Schneider et al., NeurIPS 2020 (arXiv 2006.16971).
    """
    stored, found = study.stored_statistics(), study.running_statistics()
    tried = {share: _steps(fix.id, stored, found, share) for share in SHARES}
    losses = {share: study.loss(steps) for share, steps in tried.items()}
    share = min(SHARES, key=lambda one: losses[one] if losses[one] is not None else -one)
    samples = count(study.measurements.probe.samples, "sample")
    what = f"running statistics of {count(len(found), 'batch norm')} gathered again over {samples}"
    return Plan(tried[share], what + (f", mixed with the stored ones, {share:.0%} new" if share < 1 else ""), {})


def _steps(
    fix: str, stored: Mapping[str, ChannelStatistics], found: Mapping[str, ChannelStatistics], share: float
) -> tuple[Step, ...]:
    return tuple(
        Step(
            fix,
            "statistics",
            {"normalisation": name},
            {
                "mean": tuple(((1 - share) * stored[name].mean + share * new.mean).tolist()),
                "variance": tuple(((1 - share) * stored[name].variance + share * new.variance).tolist()),
            },
        )
        for name, new in found.items()
    )


FIX = Remedy("recalibrate-batch-norm", ("LC401",), propose, plan, order=0, request=request)
