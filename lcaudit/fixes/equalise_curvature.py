"""Move a factor between consecutive layers so that both have the same largest curvature."""

from __future__ import annotations

import math

from lcaudit.core.links import Link
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.outcomes import Effect, Finding, Fix
from lcaudit.core.quantity import exact
from lcaudit.core.recipe import Step
from lcaudit.core.text import count, one_line
from lcaudit.fixes._base import FREE, NO_PLAIN_LAYER, Plan, Remedy, Study, are_paths

#: Sweeps over the pairs of a chain, each of which balances one pair; far more than a chain of 100 layers needs.
SWEEPS = 20_000

CODE = '''\
import torch


@torch.no_grad()
def equalise(model: torch.nn.Module, pairs: list[tuple[str, str, float]]) -> None:
    """Multiply each first layer by its factor and divide the second's weight by it: ReLU passes the factor on."""
    for first, second, factor in pairs:
        for parameter in model.get_submodule(first).parameters():
            parameter.mul_(factor)
        model.get_submodule(second).weight.div_(factor)


equalise(model, {pairs})
'''


def largest(spectra: LayerSpectra) -> float:
    """λmax of the layer's own Fisher block, or of the Kronecker product where that is not known."""
    return (spectra.fisher_largest or spectra.fisher.largest).value


def _pairs(finding_layers: tuple[str, ...], measurements: Measurements) -> list[Link]:
    return [
        link
        for link in measurements.links
        if link.homogeneous and len(link.readers) == 1 and link.layer in finding_layers
    ]


def factors(pairs: list[tuple[str, str]], curvature: dict[str, float]) -> list[float]:
    """For each (first, second) the s with which all λmax become as equal as the pairs allow.

    λ of the first becomes λ / s², of the second λ s². Each sweep sets both of a pair to their geometric mean.
    """
    logs = {name: math.log(value) for name, value in curvature.items()}
    moved = [0.0] * len(pairs)
    for _ in range(SWEEPS):
        most = 0.0
        for i, (first, second) in enumerate(pairs):
            step = (logs[first] - logs[second]) / 4  # log s
            logs[first] -= 2 * step
            logs[second] += 2 * step
            moved[i] += step
            most = max(most, abs(step))
        if most < 1e-9:
            break
    return [math.exp(one) for one in moved]


def _balanced(links: list[Link], measurements: Measurements) -> list[tuple[str, str, float]]:
    by_name = {one.layer.name: one for one in measurements.layers}
    pairs = [(link.layer, link.readers[0]) for link in links]
    usable = [pair for pair in pairs if all(name in by_name and largest(by_name[name]) > 0 for name in pair)]
    curvature = {name: largest(by_name[name]) for pair in usable for name in pair}
    return [(*pair, factor) for pair, factor in zip(usable, factors(usable, curvature), strict=True)]


def propose(finding: Finding, measurements: Measurements) -> Fix | None:
    """Safe: only pairs between which the graph shows positively homogeneous functions and no other reader."""
    balanced = _balanced(_pairs(finding.layers, measurements), measurements)
    if not balanced:
        return None
    by_name = {one.layer.name: one for one in measurements.layers}
    effects = tuple(_effect(by_name[first], by_name[second]) for first, second, _ in balanced)
    names = [f"{first} → {second}" for first, second, _ in balanced]
    layers = tuple(dict.fromkeys(name for pair in balanced for name in pair[:2]))
    return Fix(
        id="equalise-curvature",
        title=f"Move a factor between {one_line(names) if len(names) == 1 else f'{len(names)} pairs of layers'}",
        applicability="safe",
        layers=layers,
        effects=effects,
        how=(
            f"Multiply weight and bias of the first layer by s, divide the second's weight by s ({one_line(names)}): "
            "what lies between them is positively homogeneous, so the function stays the same to rounding. λmax of the "
            "first falls by s², that of the second grows by it; s is chosen so that both are equal."
        ),
        code=CODE.replace("{pairs}", repr(balanced)) if are_paths(layers) else "",
        cost="None: no parameter is added; optimiser state must be made anew.",
        price=FREE,
    )


def _effect(first: LayerSpectra, second: LayerSpectra) -> Effect:
    ratio = largest(first) / largest(second)
    ratio = max(ratio, 1 / ratio)
    metric = "λmax, larger / smaller of the pair"
    return Effect(first.layer.name, metric, exact(ratio), exact(1.0), exact(ratio, "×"), "computed")


def plan(fix: Fix, study: Study) -> Plan:
    """A step for every pair."""
    links = _pairs(fix.layers, study.measurements)
    steps, left_out = [], {}
    for first, second, factor in _balanced(links, study.measurements):
        if study.layer(first) is None or study.layer(second) is None:
            left_out[first] = NO_PLAIN_LAYER
        else:
            steps.append(Step(fix.id, "equalise", {"layer": first, "reader": second}, {"factor": (factor,)}))
    return Plan(tuple(steps), f"a factor moved between {count(len(steps), 'pair')} of layers", left_out)


FIX = Remedy("equalise-curvature", ("LC305",), propose, plan, order=3)
