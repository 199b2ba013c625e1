"""What a measuring run would cost, from its first look at the network and one batch: nothing is measured.

Memory of the moments is exact, for kept rows an upper bound where some are padding or the head has several draws.
Operations of the passes are counted on one batch and multiplied; those of the moments
follow from the layers' shapes, exactly but where patch moments come from correlations, whose small
transforms are estimated. Those of eigenvalue problems are the textbook's counts (Golub and Van Loan 2013, 8.3). Times
are operations over this machine's speed, measured in a fraction of a second; they are estimates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lcaudit.capture import fisher_block, normed
from lcaudit.capture._graph import Graph
from lcaudit.capture._stream import Run
from lcaudit.capture._survey import Found
from lcaudit.capture._target import Target
from lcaudit.capture._watch import Use
from lcaudit.capture.budget import Form, Forms
from lcaudit.capture.gram import Gradients
from lcaudit.capture.handlers._base import product_operations
from lcaudit.capture.run import prepared
from lcaudit.capture.stores import TESTS
from lcaudit.capture.tasks import Fisher
from lcaudit.core.plan import PlannedLayer, PlannedMoment, Stage
from lcaudit.core.types import Network, Probe

CALIBRATION = "one batch forward and backward, one product of two matrices and one eigenvalue problem"
#: Sides of the matrices that are multiplied, and whose eigenvalues are found, to tell this machine's speed.
_PRODUCT, _PROBLEM = 768, 192
#: Operations of a symmetric eigenvalue problem over the cube of its side, with eigenvectors and without.
_VECTORS, _VALUES = 9, 4 / 3
#: Copies of the largest matrix that its eigenvalue problems need at once.
_COPIES = 6


def plan_run(
    network: Network,
    probe: Probe,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    task: str,
    ignore_index: int,
    fisher: Fisher,
    convention: str,
    layers: Sequence[str],
    max_memory: int,
) -> tuple[tuple[PlannedLayer, ...], tuple[Stage, ...]]:
    """The layers and what each stage costs; arguments as for :func:`lcaudit.capture.measure`.

    Raises:
        LimitExceeded, UsageError, UnknownArchitecture, ProbeUnavailable: as the run itself would.

    Cost: two forward passes and one backward pass over one batch.
    """
    target = Target(probe, task, network.record.classes, ignore_index, fisher, 0)
    with prepared(_Planned, network, probe, target, device, dtype, batch_size, convention, layers, max_memory) as run:
        return run.costs()


class _Planned(Run):
    """A run that keeps nothing."""

    def _sums(self, max_memory: int) -> dict[Any, Any]:
        self.forms = self._forms(max_memory)
        self.final: tuple[Any, torch.Tensor] | None = None
        return {}

    def _see(self, use: Use, output: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            output = self.graph.begin(output)
        self.final = (use.weight.key, output)
        return output

    def costs(self) -> tuple[tuple[PlannedLayer, ...], tuple[Stage, ...]]:
        """Every layer, and every stage."""
        stop = max(stop - start for _, start, stop in self.batches)
        ahead, back, passes, held, head = self._counted(stop)
        seconds = self._timed(lambda: self._pass(stop))
        looked, n = self.survey.samples, self.samples
        multiply, solve = _speeds(self.dtype)
        found = self.survey.found
        layers = tuple(
            _layer(one, self.forms[key], looked, n, self.device, closed=key == head)
            for key, one in sorted(found.items(), key=lambda pair: pair[1].depth)
        )
        moments = sum(one.operations for layer in layers for one in layer.moments) + self._norms(looked, n)
        problems = sum(one.eigenvalue_operations for layer in layers for one in layer.moments)
        share = passes * back / max(1, ahead + back) + ahead / max(1, ahead + back)
        singles = [one for key, one in found.items() if not one.refused and not fisher_block.refused(one, looked)]
        wanted = fisher_block.most_of(n) if self.target.fisher.kind == "expected" and singles else 0
        gram = sum(_gram_operations(one, looked, wanted) for one in singles)
        largest = max((one.side for layer in layers for one in layer.moments), default=0)
        weights = sum(parameter.nbytes for parameter in self.module.parameters())
        kept = min(
            fisher_block.MOST_BYTES, wanted * sum(_entries(one, looked) for one in singles) * self.dtype.itemsize
        )
        return layers, (
            Stage("passes", (ahead * (n + looked) + passes * back * n), weights + held, seconds * share * n / stop),
            Stage("moments", moments, sum(layer.nbytes for layer in layers), moments / multiply),
            Stage("single gradients", (ahead + back) * wanted + gram, kept, seconds * wanted / stop + gram / multiply),
            Stage("eigenvalues", problems, _COPIES * 8 * largest**2, problems / solve),
        )

    def _norms(self, looked: int, samples: int) -> int:
        """Operations of the normalised inputs that are summed unasked."""
        last = max((one for one in self.survey.found.values() if not one.refused), key=_depth, default=None)
        key = next((key for key, one in self.survey.found.items() if one is last), None)
        if last is None or not normed.wanted(last, self.forms[key], self.survey.found.values()):
            return 0
        return normed.operations(last, last.rows // looked * samples, self.device)

    def _pass(self, stop: int) -> torch.Tensor:
        """One batch forward and backward, without a moment."""
        self.graph, inputs = Graph(self.unrecorded), self.inputs(0, stop)
        with self.watch.modules(self.module), self.watch:
            outputs = self.outputs(inputs)
            if outputs.requires_grad:
                self.graph.backward(outputs, torch.ones_like(outputs))
        return outputs

    def _counted(self, stop: int) -> tuple[int, int, int, int, Any]:
        """Operations of one sample forward and backward, backward passes, bytes held between, the closed form's key."""
        held: dict[int, int] = {}

        def hold(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.graph, inputs = Graph(self.unrecorded), self.inputs(0, stop)
        own = {parameter.untyped_storage().data_ptr() for parameter in self.module.parameters()}
        with self.watch.modules(self.module), torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            with FlopCounterMode(display=False) as ahead, self.watch:
                outputs = self.outputs(inputs)
            mask = None if self.probe.mask is None else self.probe.mask(0, stop).to(self.device)
            passes = self.target.batch(outputs.detach(), 0, stop, mask).passes
            with FlopCounterMode(display=False) as back, self.watch:
                if outputs.requires_grad:
                    self.graph.backward(outputs, torch.ones_like(outputs))
        expected = self.target.fisher.kind == "expected" and self.final and self.final[1] is outputs
        head = self.final[0] if expected and self.final and self.survey.found[self.final[0]].uses == 1 else None
        self.final = None
        between = sum(size for place, size in held.items() if place not in own)
        return ahead.get_total_flops() // stop, back.get_total_flops() // stop, passes, between, head

    def _timed(self, work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.final = None
        return time.perf_counter() - started


def _depth(found: Found) -> int:
    return found.depth


def _speeds(dtype: torch.dtype) -> tuple[float, float]:
    """Operations per second of products in ``dtype``, and of eigenvalue problems, on the CPU."""
    square = torch.ones(_PRODUCT, _PRODUCT, dtype=dtype)
    started = time.perf_counter()
    square @ square
    multiply = 2 * _PRODUCT**3 / max(1e-9, time.perf_counter() - started)
    matrix = np.cov(np.random.default_rng(0).standard_normal((_PROBLEM, 2 * _PROBLEM)))
    started = time.perf_counter()
    np.linalg.eigh(matrix)
    return multiply, _VECTORS * _PROBLEM**3 / max(1e-9, time.perf_counter() - started)


def _layer(found: Found, forms: Forms, looked: int, samples: int, device: torch.device, closed: bool) -> PlannedLayer:
    shape = found.shape
    sides = found.weight.name, found.kind, shape.inputs * shape.groups, shape.outputs * shape.groups, shape.groups
    if found.refused:
        return PlannedLayer(*sides, refused=found.refused)
    rows = found.rows // looked * samples
    shared = forms.shared is not None
    inputs = PlannedMoment(
        "Σ_x", "shared" if shared else forms.inputs.kind, forms.groups, shape.inputs, rows,
        0 if shared else forms.inputs.nbytes,
        0 if shared else _forming(forms.inputs, rows, device, found, samples),
        _solving(forms.inputs, rows, samples, 3),
    )  # fmt: skip
    many = rows if closed else forms.gradient.rows or 0
    gradient = PlannedMoment(
        "Σ_g", forms.gradient.kind, forms.groups, shape.outputs, many, forms.gradient.nbytes,
        # the closed form's product is no matrix times its own transpose to PyTorch
        2 * many * forms.gradient.pairs * forms.gradient.side**2
        if closed and forms.gradient.kind == "sums"
        else _forming(forms.gradient, many, device),
        _solving(forms.gradient, many, samples, 1),
    )  # fmt: skip
    return PlannedLayer(*sides, moments=(inputs, gradient), why=forms.why)


def _forming(form: Form, rows: int, device: torch.device, found: Found | None = None, samples: int = 0) -> int:
    """Operations that form a moment."""
    if form.kind in ("rows", "counts"):
        return 0
    if form.kind == "sketch":
        return 4 * form.pairs * form.side * rows * (min(form.span, form.side) + TESTS)
    own = found.handler.operations(found.call, form.groups) if found and found.handler.operations else None
    if own is not None and found:
        return own * found.uses * samples
    return form.pairs * product_operations(form.side, rows, device)


def _solving(form: Form, rows: int, samples: int, changes: int) -> int:
    """About how many operations the eigenvalues take, with intervals where there are rows enough."""
    if form.kind == "rows":
        return int(form.pairs * (changes * rows**2 * form.side + (2 * changes - 1) * _VALUES * rows**3))
    if form.kind == "counts":  # so many counts can differ
        return int(changes * _VALUES * min(form.side, math.isqrt(2 * rows)) ** 3)
    if form.kind == "sketch":
        return form.pairs * (changes + 1) * 4 * form.side * form.span**2
    enough = rows >= 4 * form.side and samples >= 100
    problems = (
        changes * (_VECTORS * (1 + form.groups) if form.side <= 96 else _VECTORS) if enough else changes * _VALUES
    )
    return int(form.pairs * problems * form.side**3)


def _entries(found: Found, looked: int) -> int:
    """Numbers kept of one sample's gradient."""
    return Gradients(found, looked).entries


def _gram_operations(found: Found, looked: int, wanted: int) -> int:
    return 2 * wanted**2 * _entries(found, looked)
