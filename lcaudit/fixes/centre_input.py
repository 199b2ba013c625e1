"""Subtract the mean of what a layer reads, and fold the shift into its bias.

W (x − μ) + b′ with b′ = b + W μ is W x + b: the same function, but its weights see inputs without the
common direction that dominates their curvature.
"""

from __future__ import annotations

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.core.recipe import Step
from lcaudit.core.text import count
from lcaudit.fixes._base import (
    BORDERS,
    Plan,
    Remedy,
    Study,
    briefly,
    effects_of,
    foldable,
    gaining,
    insertable,
    named,
    pad_with_zeros,
    paths_in_code,
    price,
)

CODE = '''\
import torch
from torch import nn


class Centred(nn.Module):
    """A linear layer that reads x − mean; the mean is stored with the weights and not learned."""

    def __init__(self, layer: nn.Linear, mean: torch.Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("mean", mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x - self.mean)


@torch.no_grad()
def centre_input(model: nn.Module, names: list[str], batches) -> None:
    """Centre what each named linear layer reads, folded so that the outputs stay the same.

    batches: input tensors as the model takes them, at least a few hundred samples in all.
    """
    sums, hooks = {}, []

    def record(name):
        def hook(module, inputs):
            x = inputs[0].double().flatten(0, -2)
            total, rows = sums.get(name, (0, 0))
            sums[name] = total + x.sum(0), rows + len(x)

        return hook

    model.eval()  # the statistics that the network is used with
    try:
        hooks += [model.get_submodule(name).register_forward_pre_hook(record(name)) for name in names]
        for batch in batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name in names:
        layer = model.get_submodule(name)
        total, rows = sums[name]
        mean = (total / rows).to(layer.weight)
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)).to(layer.weight))
        layer.bias.add_(layer.weight @ mean)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, Centred(layer, mean))


centre_input(model, {names}, batches)
'''


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Safe, with code for linear layers; convolutions get it from ``lcaudit fix``."""
    layers = gaining("centring", finding, measurements)
    if not layers:
        return None
    padded = [spectra for spectra in layers if not foldable(spectra.layer)]
    linear = all(spectra.layer.kind == "linear" for spectra in layers)
    code = paths_in_code(layers) if linear else ""
    how = [
        f"Subtract the mean μ of what {named(layers)} "
        f"{'reads' if len(layers) == 1 else 'read'} (per feature; per channel for convolutions) and add W μ to the "
        "bias. The mean is kept as a constant and nothing else changes."
    ]
    if padded:
        how.append(f"{pad_with_zeros(padded, layers)}: {BORDERS}")
    how.append(
        "The outputs stay the same to rounding. When training goes on, the mean drifts: renew it, or use a "
        "BatchNorm, which follows it by itself."
    )
    return Fix(
        id="centre-input",
        title=f"Subtract the mean before {briefly(layers)}",
        applicability="safe",
        layers=tuple(spectra.layer.name for spectra in layers),
        effects=effects_of("centring", layers),
        how=" ".join(how),
        code=CODE.replace("{names}", code) if code else "",
        cost="One stored constant and one subtraction per input channel; no learned parameters; no retraining.",
        price=price(layers, parameters=0, operations=1),
    )


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every plain layer."""
    left_out = {name: reason for name in fix.layers if (reason := insertable(name, study))}
    padding = {name: study.padding(study.layer(name)) for name in fix.layers if name not in left_out}
    found = study.channel_statistics(padding) if padding else {}
    steps = tuple(
        Step(
            fix.id,
            "centre",
            {"layer": name},
            {"mean": tuple(statistics.mean.tolist()), "new_bias": (float(study.layer(name).bias is None),)},
        )
        for name, statistics in found.items()
    )
    return Plan(steps, f"the mean subtracted before {count(len(steps), 'layer')}, folded into the bias", left_out)


FIX = Remedy("centre-input", ("LC301", "LC302"), propose, plan, order=4)
