"""Sums of one layer while batches stream through it."""

from __future__ import annotations

import torch

from lcaudit.capture.handlers._base import Accumulator, Handler, add_product
from lcaudit.capture.wiring import trace
from lcaudit.core.measurements import LayerRecord
from lcaudit.core.types import LayerMoments

#: Label of Σ_g by how the labels' expectation was taken.
CLOSED_FORM = "expected, closed form"
ONE_DRAW = "expected, one draw per sample"


class LayerSums:
    """One layer's accumulators; ``refused`` says why it is not measured, once that is known."""

    def __init__(self, name: str, kind: str, handler: Handler, module: torch.nn.Module, groups: int) -> None:
        self.name, self.kind, self.handler, self.module, self.groups = name, kind, handler, module, groups
        self.refused = ""
        self.depth = -1
        self.calls = 0
        self.positions = 1
        self.reads = self.through = ""
        self.label = ONE_DRAW
        self.inputs: Accumulator | None = None
        shape = handler.shape(module)
        self.shape = shape
        self.gradient = torch.zeros(groups, shape.groups, shape.outputs, shape.outputs, dtype=torch.float64)
        self.gradient_calls = 0

    def see_input(self, inputs: torch.Tensor, depth: int, group: int, device: torch.device) -> None:
        """Add the input of one call; the first call also fixes geometry and wiring."""
        self.calls += 1
        if self.calls > 1:
            self.refused = "it is used more than once in a pass"
            self.inputs = None
        if self.refused:
            return
        if self.depth < 0:
            self.depth = depth
            self.reads, self.through = trace(inputs)
            self.refused = self.handler.refuse(self.module, inputs)
            if self.refused:
                return
            self.inputs = self.handler.accumulator(self.module, inputs.detach(), self.groups, device)
            self.gradient = self.gradient.to(device)
        assert self.inputs is not None
        self.inputs.add(inputs.detach(), group)

    def see_gradient(self, gradient: torch.Tensor, group: int) -> None:
        """Add ∂ℓ/∂output of one batch, each sample's own loss."""
        self.gradient_calls += 1
        add_product(self.gradient[group], self.handler.gradient_rows(self.module, gradient.detach()))

    def see_probabilities(self, probabilities: torch.Tensor, group: int) -> None:
        """At the network's output: Σ_g in closed form, diag(p) − p pᵀ (float64 [b, C])."""
        self.label = CLOSED_FORM
        self.gradient_calls += 1
        self.gradient[group, 0] += torch.diag(probabilities.sum(0)) - probabilities.T @ probabilities

    def finish(self, samples: torch.Tensor, is_head: bool) -> LayerMoments | None:
        """The moments, or ``None`` with ``refused`` set."""
        if not self.refused and self.inputs is None:
            self.refused = "it did not run in the forward pass"
        if not self.refused and self.gradient_calls == 0:
            self.refused = "its output does not reach the loss"
        if self.refused or self.inputs is None:
            return None
        inputs, gradient = self.inputs.finish(), self.gradient.cpu()
        if not (inputs.second.isfinite().all() and gradient.isfinite().all()):
            self.refused = "its input or gradient is not finite on this probe"
            return None
        weight = self.module.weight
        assert isinstance(weight, torch.Tensor)
        record = LayerRecord(
            name=self.name,
            kind=self.kind,
            depth=self.depth,
            parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            inputs=self.shape.inputs * self.shape.groups,
            outputs=self.shape.outputs * self.shape.groups,
            groups=self.shape.groups,
            positions=self.positions,
            geometry=self.handler.geometry(self.module),
            reads=self.reads,
            through=self.through,
            is_head=is_head,
        )
        norm = float(weight.detach().double().norm())
        return LayerMoments(record, inputs, gradient, self.label, samples, norm)
