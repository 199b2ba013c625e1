"""Bring weights that a normalisation makes scale-invariant back to the norm that they were drawn with."""

from __future__ import annotations

import math

from lcaudit.core.figures import number
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Effect, Finding, Fix
from lcaudit.core.quantity import exact
from lcaudit.core.recipe import Step
from lcaudit.core.text import count
from lcaudit.fixes._base import FREE, Plan, Remedy, Study, are_paths, briefly, insertable, layers_of, named

CODE = '''\
import torch


@torch.no_grad()
def rescale(model: torch.nn.Module, pairs: dict[str, tuple[str, float]]) -> None:
    """Multiply each layer by its factor; batch norm's statistics follow, so that the outputs stay the same."""
    for name, (norm_name, factor) in pairs.items():
        layer, norm = model.get_submodule(name), model.get_submodule(norm_name)
        for parameter in layer.parameters():
            parameter.mul_(factor)
        if getattr(norm, "running_mean", None) is not None:
            norm.running_mean.mul_(factor)
            norm.running_var.copy_((factor**2 * (norm.running_var + norm.eps) - norm.eps).clamp(min=0))


rescale(model, {pairs})
'''


def he_ratio(spectra: LayerSpectra) -> float:
    """‖W‖ / √(2 d_out), the norm that He initialisation gives in expectation."""
    return spectra.weight_norm / math.sqrt(2 * spectra.layer.outputs)


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Safe: only layers whose output nothing but one normalisation reads."""
    norms = {link.layer: link.normalisation for link in measurements.links if link.normalisation}
    layers = tuple(one for one in layers_of(finding, measurements) if one.layer.name in norms and he_ratio(one) > 0)
    if not layers:
        return None
    pairs = {one.layer.name: (norms[one.layer.name], 1 / he_ratio(one)) for one in layers}
    return Fix(
        id="rescale-weights",
        title=f"Scale the weights of {briefly(layers)} down; a normalisation follows",
        applicability="safe",
        layers=tuple(one.layer.name for one in layers),
        effects=tuple(
            Effect(
                one.layer.name,
                "‖W‖ / its He-initialised norm",
                exact(he_ratio(one)),
                exact(1.0),
                exact(he_ratio(one), "×"),
                "computed",
            )
            for one in layers
        ),
        how=(
            f"Divide weight and bias of {named(layers)} by {', '.join(number(he_ratio(one)) for one in layers[:6])}"
            f"{' …' if len(layers) > 6 else ''}, and let the batch norm's running statistics follow. The function is "
            "the same, gradients grow by that factor and steps turn the weights by its square again. Then find out why "
            "the norm grew: weight decay that is too weak for the learning rate lets it."
        ),
        code=CODE.replace("{pairs}", repr(pairs)) if are_paths([*pairs, *(norm for norm, _ in pairs.values())]) else "",
        cost="None: no parameter is added; optimiser state must be made anew.",
        price=FREE,
    )


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every layer, to its He-initialised norm."""
    norms = {link.layer: link.normalisation for link in study.measurements.links}
    spectra = {one.layer.name: one for one in study.measurements.layers}
    left_out = {name: reason for name in fix.layers if (reason := insertable(name, study))}
    steps = tuple(
        Step(
            fix.id,
            "rescale",
            {"layer": name, "normalisation": norms[name]},
            {"factor": (1 / he_ratio(spectra[name]),)},
        )
        for name in fix.layers
        if name not in left_out
    )
    return Plan(steps, f"weights of {count(len(steps), 'layer')} scaled to the norm of He initialisation", left_out)


FIX = Remedy("rescale-weights", ("LC201",), propose, plan, order=2)
