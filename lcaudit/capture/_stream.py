"""The run itself: sums of every layer, and the watch that feeds them while batches stream through the network.

Only pre-activation gradients are computed: parameters do not require gradients, so the backward pass
never forms a weight gradient. Inputs are reduced to their moments while the forward pass runs and are
not kept. Products are in the network's precision, sums in float64.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture import _lanes as lanes
from lcaudit.capture import normed
from lcaudit.capture._batches import edges
from lcaudit.capture._choose import choose
from lcaudit.capture._forward import forward
from lcaudit.capture._graph import Graph
from lcaudit.capture._layer import LayerSums, layer_sums
from lcaudit.capture._rows import kept
from lcaudit.capture._survey import survey
from lcaudit.capture._target import Held, Target
from lcaudit.capture._watch import Use, Watch
from lcaudit.capture._weights import Block, Weights
from lcaudit.capture.batch_norm import Replay
from lcaudit.capture.budget import Forms, plan_forms
from lcaudit.capture.coverage import not_audited
from lcaudit.capture.fisher_block import sample_grams
from lcaudit.capture.handlers._base import Call, Handler
from lcaudit.capture.tasks import CLOSED_FORM
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.types import InputSums, LayerMoments, Moments, Probe, SampleGram

#: Share of the inputs asked about that stop, about.
_STOPPED = 0.5


class Run:
    """State of one run: the sums of every layer, and the watch that feeds them."""

    def __init__(
        self,
        module: torch.nn.Module,
        probe: Probe,
        target: Target,
        device: torch.device,
        dtype: torch.dtype,
        batches: list[tuple[int, int, int]],
        adapt: Callable[[Handler], Handler],
        layers: Sequence[str],
        max_memory: int,
    ) -> None:
        self.module, self.probe, self.target, self.device, self.dtype = module, probe, target, device, dtype
        self.adapt = adapt
        self.reading = threading.Lock()  # a probe may read one open file
        self.samples = len(probe.keys)
        self.batches, self.groups = batches, batches[-1][0] + 1
        self.ran = 0
        # Apple's devices have no float64: the sums live on the CPU there
        self.sums_on = torch.device("cpu") if device.type == "mps" else device
        self.weights = Weights(module)
        self.unrecorded = False
        # a number of samples that differs from the batches' shows which rows do not grow with the batch
        few = min(3 if all(stop - start == 2 for _, start, stop in self.batches) else 2, self.samples)
        self.survey = survey(module, self.weights, self.inputs(0, few), adapt)
        self.unrecorded = self.survey.unrecorded
        choose(self.survey.found.values(), layers)
        self.layers = self._sums(max_memory)
        self._start()

    def _start(self) -> None:
        """What one thread keeps for itself."""
        self.late: set[int] = set()
        self.watch = Watch(self.weights, self._see, adapt=self.adapt)
        self.replays: dict[str, tuple[int, Replay]] = {}
        self.group = self.depth = 0
        self.backward_pass = False
        self.mask: torch.Tensor | None = None
        self.padded = False
        self.graph = Graph(self.unrecorded)
        self.last: tuple[LayerSums, Call, torch.Tensor] | None = None
        #: the layer that gives the outputs; the same where its Σ_g is taken in closed form
        self.head: LayerSums | None = None
        self.closed: LayerSums | None = None

    def _sums(self, max_memory: int) -> dict[Any, LayerSums]:
        """What the layers' moments are summed in."""
        return layer_sums(self.survey, self._forms(max_memory), self.sums_on)

    def _forms(self, max_memory: int) -> dict[Any, Forms]:
        """How each layer's moments are kept."""
        fisher = self.target.fisher
        passes = 1 if fisher.kind == "empirical" else None if fisher.draws == "exact" else int(fisher.draws)
        return plan_forms(
            self.survey.found, self.survey.samples, max_memory, samples=self.samples, groups=self.groups,
            passes=passes, dtype=self.dtype,
        )  # fmt: skip

    def sum_normed(self, everywhere: bool) -> None:
        """Sum inputs behind normalisations too: of all layers, or of a last linear one where that is cheap."""
        measured = sorted((one for one in self.layers.values() if not one.refused), key=lambda one: one.found.depth)
        for layer in measured if everywhere else measured[-1:]:
            if everywhere or normed.wanted(layer.found, layer.forms, self.survey.found.values()):
                layer.sum_normed()

    def inputs(self, start: int, stop: int) -> torch.Tensor:
        """Samples as the network takes them; token indices stay whole numbers."""
        with self.reading:
            inputs = self.probe.batch(start, stop).to(self.device)
        if not inputs.is_floating_point():
            return inputs
        # gradients enter a reentrant checkpoint only where its input asks for one
        return inputs.to(self.dtype).detach().requires_grad_(self.unrecorded)

    def over(self, batches: Sequence[tuple[int, int, int]], tell: Callable[[int], None]) -> None:
        """Run these batches through the network."""
        with self._hooks():
            for group, start, stop in batches:
                mask = None if self.probe.mask is None else self.probe.mask(start, stop)
                self.padded = mask is not None and not bool(mask.all())  # asked once, before it is on the device
                self.mask = None if mask is None else mask.to(self.device)
                self._step(start, stop, group)
                tell(stop - start)

    def divisible(self) -> bool:
        """Whether lanes would never write into the same sums, and would know each other's weights."""
        found = self.survey.found
        return all(one.groups in (0, self.groups) for one in self.layers.values()) and all(
            one.weight.block for one in found.values()
        )

    def through(
        self, modules: Sequence[torch.nn.Module], batches: Sequence[tuple[int, int, int]], tell: Callable[[int], None]
    ) -> None:
        """Run these batches through the network, in lanes where there are copies of it."""
        if len(modules) == 1:
            self.over(batches, tell)
        else:
            self.divide(modules, batches, tell)

    def worth_looking(self, left: int) -> bool:
        """Whether stopping some inputs before the ``left`` last samples may save more than looking at them takes."""
        saved = sum(one.saving(left) for one in self._asked(left))
        return saved * _STOPPED > sum(one.settling() for one in self.layers.values())

    def _asked(self, left: int) -> list[LayerSums]:
        # fewer groups than the run's are of forms that are never worth it
        return [one for one in self.layers.values() if one.groups == self.groups and one.saving(left) > 0]

    def stop_narrow(
        self, narrow: Callable[[InputSums], bool], done: Sequence[tuple[int, int, int]], at_once: int
    ) -> None:
        """Sum no further inputs that ``narrow`` says are known well enough. ``done``: the samples seen, by group."""
        left, counts = self.samples - _samples(done), torch.tensor([stop - start for _, start, stop in done])

        def ask(layer: LayerSums) -> InputSums | None:
            sums = layer.sums_so_far(counts)
            return sums if sums and narrow(sums) else None

        asked = self._asked(left)
        for layer, sums in zip(asked, lanes.each(ask, asked, at_once), strict=True):
            if sums:
                layer.stop(sums)

    def divide(
        self, modules: Sequence[torch.nn.Module], batches: Sequence[tuple[int, int, int]], tell: Callable[[int], None]
    ) -> None:
        """Run the batches in lanes, one for each copy of the network."""
        groups = [list(some) for _, some in itertools.groupby(batches, key=lambda batch: batch[0])]
        shares = lanes.split(groups, len(modules), lambda some: some[-1][2] - some[0][1])
        flat = [[batch for some in share for batch in some] for share in shares]
        bounds = list(itertools.accumulate((_samples(share) for share in flat), initial=self.ran))
        self.ran = bounds[-1]
        parts = [self._part(module, *pair) for module, pair in zip(modules, itertools.pairwise(bounds), strict=False)]

        def lane(part: Run, share: list[tuple[int, int, int]], check: Callable[[], None]) -> None:
            part.over(share, lambda done: (check(), tell(done)))

        lanes.run([partial(lane, part, share) for part, share in zip(parts, flat, strict=True)])
        for part in parts:
            self._collect(part)

    def _part(self, module: torch.nn.Module, first: int, last: int) -> Run:
        """A run in another thread, with its own network and sums; its samples counted in the order of running."""
        other = copy.copy(self)
        other.module, other.weights, other.target = module, Weights(module), self.target.part()
        other._start()
        parts: dict[int, LayerSums] = {}
        for one in self.layers.values():  # in order of execution: a twin comes first
            parts[id(one)] = one.part(first, last, self.samples, parts)
        other.layers = {key: parts[id(one)] for key, one in self.layers.items()}
        return other

    def _collect(self, part: Run) -> None:
        mine = {id(part.layers[key]): one for key, one in self.layers.items()}
        for key, one in self.layers.items():
            one.collect(part.layers[key])
        self.late |= part.late
        self.target.collect(part.target)
        self.head, self.closed = (one and mine[id(one)] for one in (part.head, part.closed))
        for name, (depth, replay) in part.replays.items():
            if name in self.replays:
                self.replays[name][1].collect(replay)
            else:
                self.replays[name] = depth, replay

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        """Hooks on batch norms, and on modules that change their input or weight, for the time inside."""
        with ExitStack() as stack:
            for name, part in self.module.named_modules():
                if isinstance(part, _BatchNorm) and part.running_mean is not None:
                    stack.callback(part.register_forward_pre_hook(self._batch_norm_hook(name, part)).remove)
            stack.enter_context(self.watch.modules(self.module))
            yield

    def _see(self, use: Use, output: torch.Tensor) -> torch.Tensor:
        layer = self.layers.get(use.weight.key)
        if layer is None:
            self.late.update(block[0] for block in [use.weight.block] if block)
            return output
        call, keep = use.call, self._keep(layer, use)
        shape = replace(call, inputs=torch.empty_like(call.inputs, device="meta"))
        group = self.group * layer.groups // self.groups
        if not self.backward_pass:  # there, checkpoints compute what was seen before once more
            layer.see_input(replace(call, inputs=call.inputs.detach()), group, keep)
            self.depth += 1
        if torch.is_grad_enabled():
            output = self.graph.begin(output)
            if not layer.refused:
                output.register_hook(lambda gradient: self._see_gradient(layer, shape, gradient, group, keep))
        self.last = (layer, shape, output)
        return output

    def _keep(self, layer: LayerSums, use: Use) -> torch.Tensor | None:
        """Rows that have a gradient and are no padding; ``None`` for all."""
        keep = use.handler.kept(use.call)
        if self.mask is None or not self.padded or layer.refused:
            return keep
        if not use.handler.maskable:
            layer.refused = f"padding cannot be left out of a {layer.found.kind.replace('_', ' ')} layer"
            return None
        real = kept(use.handler.rows(use.call), self.mask, use.tokens_first)
        if isinstance(real, str):
            layer.refused = real
            return None
        return real if keep is None else keep if real is None else keep & real

    def _see_gradient(
        self, layer: LayerSums, call: Call, gradient: torch.Tensor, group: int, keep: torch.Tensor | None
    ) -> None:
        if layer is not self.closed and not layer.refused:
            layer.see_gradient(call, gradient, group, keep)

    def _batch_norm_hook(self, name: str, part: _BatchNorm) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            if self.backward_pass:
                return
            if name not in self.replays:
                self.replays[name] = (self.depth, Replay(part, self.groups, self.sums_on))
            self.replays[name][1].add(args[0].detach().to(self.sums_on), self.group)

        return hook

    def _step(self, start: int, stop: int, group: int) -> None:
        """One batch, forward and backward."""
        inputs = self.inputs(start, stop)
        self.group, self.depth, self.last, self.head, self.closed = group, 0, None, None, None
        with self.watch:
            outputs = self.outputs(inputs)
        for layer in self.layers.values():
            layer.close_pass(len(inputs))
        held = self.target.batch(outputs.detach(), start, stop, self.mask)
        self._see_head(outputs, held)
        if outputs.requires_grad:
            self._backward(outputs, held)
        # hooks hold this run, and it would hold their graph: a cycle that no garbage collector sees
        self.last, self.graph = None, Graph(self.unrecorded)

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Of the network.

        Raises:
            UnknownArchitecture: it does not return one tensor, samples first.
        """
        outputs = forward(self.module, inputs)
        if not isinstance(outputs, torch.Tensor) or outputs.shape[:1] != inputs.shape[:1]:
            seen = (
                f"a tensor {list(outputs.shape)}"
                if isinstance(outputs, torch.Tensor)
                else f"a {type(outputs).__name__}"
            )
            raise UnknownArchitecture(
                f"the network returned {seen}, expected one tensor of outputs, [batch, …]",
                "wrap the network in the factory of --arch file.py:factory, so that forward returns that tensor alone",
            )
        return outputs

    def _see_head(self, outputs: torch.Tensor, held: Held) -> None:
        """The layer that gives the outputs, and its Σ_g in closed form where its channels are the classes."""
        if not self.last or self.last[2] is not outputs or self.last[0].refused or self.last[0].found.uses > 1:
            return
        self.head, call, _ = self.last
        if self.target.fisher.kind == "expected" and self.head.gives(call, held.channels()):
            self.closed = self.head
            self.head.see_closed_form(held, self.group * self.head.groups // self.groups)

    def _backward(self, outputs: torch.Tensor, held: Held) -> None:
        """Gradients of every layer's output, once for each pass; parameters are frozen and get none."""
        self.backward_pass = True
        passes = held.passes
        try:
            for done, gradient in enumerate(held.gradients(), 1):
                with self.watch:
                    self.graph.backward(outputs, gradient, retain_graph=done < passes)
        finally:
            self.backward_pass = False

    def sample_grams(
        self, modules: Sequence[torch.nn.Module], batch_size: int, seed: int
    ) -> dict[Any, SampleGram | str]:
        """The layers' own Fisher blocks, from gradients of some samples; by weight's key. ``modules``: copies."""
        scores = self.target.scores()
        if isinstance(scores, str):
            return dict.fromkeys(self.layers, scores)
        sizes = np.diff(edges(self.samples, self.groups))
        return sample_grams(
            modules, self.layers, self.survey.samples, logits=scores,
            inputs=self.inputs, keys=self.probe.keys, group=np.repeat(np.arange(self.groups), sizes),
            batch_size=batch_size, seed=seed, unrecorded=self.unrecorded,
        )  # fmt: skip

    def finish(self, blocks: Mapping[Any, SampleGram | str]) -> Moments:
        """Close the sums. ``blocks``: as :meth:`sample_grams` gives them."""
        sizes = np.diff(edges(self.samples, self.groups))
        fit, task = self.target.finish()
        reasons: dict[int, str] = dict.fromkeys(self.late, "it runs for some samples only")
        finished: list[tuple[LayerSums, LayerMoments]] = []
        missing: set[Block] = set()  # a weight counts where all that it does was measured
        for layer in sorted(self.layers.values(), key=lambda one: one.found.depth):
            counts = torch.zeros(layer.groups, dtype=torch.int64)
            for group, size in enumerate(sizes):
                counts[group * layer.groups // self.groups] += int(size)
            label = CLOSED_FORM if layer is self.closed else self.target.label
            moments = layer.finish(counts, layer is self.head, label)
            if moments:
                finished.append((layer, moments))
            else:
                missing |= layer.found.blocks
                reasons |= dict.fromkeys((block[0] for block in layer.found.blocks), layer.refused)
        audited: set[Block] = set()
        layers: list[LayerMoments] = []
        for layer, moments in finished:
            own = layer.found.blocks - audited - missing
            audited |= own
            record = replace(moments.layer, parameters=sum(size for _, _, size in own))
            layers.append(replace(moments, layer=record, block=blocks.get(layer.found.weight.key, "")))
        return Moments(
            layers=tuple(layers),
            batch_norms=tuple(
                replay.finish(name, depth, self.samples) for name, (depth, replay) in self.replays.items()
            )
            if self.groups > 1
            else (),
            fit=fit,
            task=task,
            not_audited=not_audited(self.module, reasons, self.survey.aside, audited),
        )


def _samples(batches: Sequence[tuple[int, int, int]]) -> int:
    return sum(stop - start for _, start, stop in batches)
