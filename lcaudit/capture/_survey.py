"""One look at the network, on a few samples: which weights act, as what, on how many rows, fed by what.

The measuring run then knows its layers beforehand: how much memory their sums take, which of them cannot
be measured and why, and how many rows each has per sample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lcaudit.capture._forward import forward
from lcaudit.capture._watch import Use, Watch
from lcaudit.capture._weights import Block, Weight, Weights
from lcaudit.capture.handlers._base import Call, Handler, Shape
from lcaudit.capture.wiring import UNKNOWN, trace
from lcaudit.core.text import display_name


@dataclass(slots=True)
class Found:
    """One weight that acts in the forward pass.

    Attributes:
        call: its first use, without its numbers. uses: in one pass. rows: in one pass, over all uses.
        by_module: whether a module of the kind applies it, which another could take the place of.
        blocks: parameters' elements that are measured with it, the bias among them.
        reads, through: see :class:`lcaudit.core.measurements.LayerRecord`; ``unknown`` where uses differ.
        twin: the first of the layers that read this very tensor one after another; ``None`` for no other.
        apart: name of the same weight as a table of rows, or, for that, as a matrix; ``""`` for none.
    """

    weight: Weight
    kind: str
    handler: Handler
    call: Call
    outputs_first: bool
    depth: int
    shape: Shape
    norm: float
    by_module: bool
    uses: int = 0
    rows: int = 0
    refused: str = ""
    reads: str = ""
    through: str = ""
    twin: Found | None = None
    apart: str = ""
    blocks: set[Block] = field(default_factory=set)

    @property
    def geometry(self) -> str:
        """In words: the kernel's, then whatever keeps the layer from being one module that acts once."""
        said = [self.handler.geometry(self.call)]
        said.append(f"used {self.uses} times" if self.uses > 1 else "")
        said.append(self.shared)
        said.append("" if self.by_module else "not applied by a module of its own")
        return ", ".join(part for part in said if part)

    @property
    def shared(self) -> str:
        """Which other modules own the weight or apply it otherwise, in words; ``""`` for none."""
        names = dict.fromkeys((*self.weight.sharers, *filter(None, [self.apart])))
        return f"shared with {', '.join(map(display_name, names))}" if names else ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look found.

    Attributes:
        found: weights by key.
        unrecorded: whether parts of the pass run unrecorded: a reentrant checkpoint, which is recomputed later.
        samples: how many were looked at.
        aside: by parameter's id, an operation that takes it and is not measured.
    """

    found: dict[Any, Found]
    unrecorded: bool
    samples: int
    aside: dict[int, str]


def survey(
    module: torch.nn.Module,
    weights: Weights,
    inputs: torch.Tensor,
    adapt: Callable[[Handler], Handler] = lambda handler: handler,
) -> Survey:
    """Look at one forward pass; twice, and backward, where parts of it are only recorded when recomputed.

    Cost: one forward pass over ``inputs``.
    """
    look = _Look(weights, adapt)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")  # they will, below
        look.run(module, inputs)
    if look.unrecorded and inputs.is_floating_point():
        look = _Look(weights, adapt)
        look.run(module, inputs.detach().requires_grad_(True))
    look.settle()
    return Survey(look.found, look.unrecorded, len(inputs), look.aside)


class _Look:
    def __init__(self, weights: Weights, adapt: Callable[[Handler], Handler]) -> None:
        self.weights = weights
        self.watch = Watch(weights, self._see, self._see_aside, adapt)
        self.found: dict[Any, Found] = {}
        self.aside: dict[int, str] = {}
        self.leaves: set[int] = set()
        self.kept: list[torch.Tensor] = []
        self.before: tuple[Found, Read] | None = None
        self.depth = 0
        self.unrecorded = self.recomputing = False

    def run(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        self.inputs = inputs
        with self.watch.modules(module), self.watch:
            output = forward(module, inputs)
            if self.unrecorded and isinstance(output, torch.Tensor) and output.requires_grad:
                self.recomputing = True
                torch.autograd.backward(output.sum())

    def _see(self, use: Use, output: torch.Tensor) -> torch.Tensor:
        self.unrecorded |= not torch.is_grad_enabled()
        found = self.found.get(use.weight.key)
        if found is None:
            found = self._new(use)
        if not self.recomputing:
            self._add(found, use)
            self._pair(found, use)
        if torch.is_grad_enabled():
            self._wire(found, use.call.inputs)
            if not output.requires_grad:
                leaf = output.detach().requires_grad_(True)
                self.kept.append(leaf)
                self.leaves.add(id(leaf))
                output = leaf.clone()
        return output

    def _new(self, use: Use) -> Found:
        found = Found(
            use.weight,
            use.kind,
            use.handler,
            replace(use.call, inputs=torch.empty_like(use.call.inputs, device="meta")),  # its shape, not its numbers
            use.outputs_first,
            self.depth,
            use.handler.shape(use.call),
            float(use.call.weight.detach().cpu().double().norm()),
            # attention reaches into its output projection, past that module's own forward
            use.handler.owner is not torch.nn.Module or (use.weight.of_module and not use.tokens_first),
        )
        self.found[use.weight.key] = found
        self.depth += 1
        if use.weight.block:
            found.blocks.add(use.weight.block)
        else:
            found.blocks.update((id(p), 0, p.numel()) for p in use.weight.owner.parameters())
        return found

    def _add(self, found: Found, use: Use) -> None:
        found.refused = found.refused or use.handler.refuse(use.call)
        if use.kind != found.kind:
            kinds = " and ".join(sorted({found.kind, use.kind})).replace("_", " ")
            shared = f"{found.shared} and " if found.shared else ""
            found.refused = found.refused or f"its weight is {shared}used in two ways: {kinds}"
        elif use.outputs_first is not found.outputs_first:
            found.refused = found.refused or "its weight is used in two ways: as it is and transposed"
        elif use.handler.shape(use.call) != found.shape:
            found.refused = found.refused or "its weight is used in two ways: with different groups"
        found.uses += 1
        if not found.refused:
            found.rows += math.prod(use.handler.rows(use.call))
        bias = self.weights.block(use.call.bias)
        if bias:
            found.blocks.add(bias)

    def _pair(self, found: Found, use: Use) -> None:
        """Whether this layer reads what the one before it did, as query, key and value projections do."""
        before, self.before = self.before, (found, Read.of(found.handler, use.call))
        if before and before[0] is not found and self.before[1].same(before[1]):
            found.twin = before[0].twin or before[0]

    def _wire(self, found: Found, inputs: torch.Tensor) -> None:
        reads, through = trace(inputs, self.inputs, self.leaves)
        if not found.reads:
            found.reads, found.through = reads, through
        elif (reads, through) != (found.reads, found.through):
            found.reads, found.through = UNKNOWN, ""

    def _see_aside(self, parameter: int, function: str) -> None:
        self.aside.setdefault(parameter, function)

    def settle(self) -> None:
        """Refuse what cannot be told apart."""
        partly = self.weights.overlapping([one.weight.block for one in self.found.values() if one.weight.block])
        for one in self.found.values():
            block = one.weight.block
            other = self.found.get(one.weight.other_use)
            one.apart = other.weight.name if other else ""
            if block in partly:
                one.refused = one.refused or "its weight is used both whole and in part"
            if block and block[0] in self.aside:
                name = display_name(self.aside[block[0]])
                one.refused = one.refused or f"its weight is also used by {name!r}, which is not measured"
            one.reads = one.reads or UNKNOWN
            if one.twin and (one.uses > 1 or one.twin.uses > 1):
                one.twin = None


@dataclass(frozen=True, slots=True)
class Read:
    """What a layer read; the tensor is held, so that no other takes its place, and may be overwritten later."""

    accumulator: Any
    options: Any
    inputs: torch.Tensor
    version: int

    @classmethod
    def of(cls, handler: Handler, call: Call) -> Read:
        """Now."""
        return cls(handler.accumulator, call.options, call.inputs, call.inputs._version)

    def same(self, other: Read) -> bool:
        """Whether both have the same rows: of one tensor, unchanged between them, read in one way."""
        x, y = self.inputs, other.inputs
        return (
            self.accumulator is other.accumulator
            and self.options == other.options
            and self.version == other.version
            and x.data_ptr() == y.data_ptr()
            and (x.shape, x.stride(), x.dtype, x.device) == (y.shape, y.stride(), y.dtype, y.device)
        )
