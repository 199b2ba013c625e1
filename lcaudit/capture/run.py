"""One forward and backward run: streamed second moments of every layer's input and gradient.

Only pre-activation gradients are computed: parameters do not require gradients, so the backward pass
never forms a weight gradient. Inputs are reduced to their moments while the forward pass runs and are
not kept. Products are in the network's precision, sums in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture._as_found import as_found
from lcaudit.capture._batches import batches, edges
from lcaudit.capture._forward import forward
from lcaudit.capture._layer import LayerSums, layer_sums
from lcaudit.capture._rows import kept
from lcaudit.capture._survey import survey
from lcaudit.capture._watch import Use, Watch
from lcaudit.capture._weights import Block, Weights
from lcaudit.capture.batch_norm import Replay
from lcaudit.capture.coverage import not_audited
from lcaudit.capture.fit import Fit
from lcaudit.capture.handlers._base import Call
from lcaudit.capture.labels import draw, uniforms
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.types import LayerMoments, Moments, Network, Probe

#: Groups of samples kept apart for intervals; ten is where the grouped jackknife's coverage settles.
GROUPS = 10


def measure(
    network: Network,
    probe: Probe,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Moments:
    """Run the probe through the network once and return every layer's moments.

    The module is handed back exactly as it came: weights, buffers, gradients, device, type, modes, flags.

    Args:
        batch_size: samples per pass; never changes a number beyond rounding.
        seed: of the label draws. progress: called with (samples done, samples in all).

    Raises:
        UnknownArchitecture: the network does not return [batch, classes].

    Cost: about two plain forward and backward passes; memory of one pass plus
        10 · Σ d_in² · 8 bytes, whatever the number of samples.
    """
    with as_found(network.module, device, dtype) as module:
        run = _Run(module, probe, device, dtype, batch_size)
        uniform = uniforms(probe.keys, seed)
        with run.hooks():
            for group, start, stop in run.batches:
                labels = None if probe.labels is None else torch.from_numpy(probe.labels[start:stop]).to(device)
                mask = None if probe.mask is None else probe.mask(start, stop)
                run.mask = None if mask is None or bool(mask.all()) else mask.to(device)
                run.step(run.inputs(start, stop), labels, uniform[start:stop].to(device), group)
                progress(stop, len(probe.keys))
        return run.finish()


class _Run:
    """State of one run: the sums of every layer, and the watch that feeds them."""

    def __init__(
        self, module: torch.nn.Module, probe: Probe, device: torch.device, dtype: torch.dtype, batch_size: int
    ) -> None:
        self.module, self.probe, self.device, self.dtype = module, probe, device, dtype
        self.samples = len(probe.keys)
        self.groups = min(GROUPS, self.samples)
        tokens = 0 if probe.mask is None else probe.mask(0, 1).shape[1]
        self.batches = batches(self.samples, self.groups, batch_size, tokens)
        # Apple's devices have no float64: the sums live on the CPU there
        self.sums_on = torch.device("cpu") if device.type == "mps" else device
        self.weights = Weights(module)
        self.unrecorded = False
        # a number of samples that differs from the batches' shows which rows do not grow with the batch
        few = min(3 if all(stop - start == 2 for _, start, stop in self.batches) else 2, self.samples)
        self.survey = survey(module, self.weights, self.inputs(0, few))
        self.unrecorded = self.survey.unrecorded
        self.layers = layer_sums(self.survey, self.groups, self.sums_on)
        self.late: set[int] = set()
        self.watch = Watch(self.weights, self._see)
        self.replays: dict[str, tuple[int, Replay]] = {}
        self.fit = Fit()
        self.group = self.depth = 0
        self.backward_pass = False
        self.mask: torch.Tensor | None = None
        self.leaves: list[torch.Tensor] = []
        self.last: tuple[LayerSums, torch.Tensor] | None = None
        self.head: LayerSums | None = None

    def inputs(self, start: int, stop: int) -> torch.Tensor:
        """Samples as the network takes them; token indices stay whole numbers."""
        inputs = self.probe.batch(start, stop).to(self.device)
        if not inputs.is_floating_point():
            return inputs
        # gradients enter a reentrant checkpoint only where its input asks for one
        return inputs.to(self.dtype).detach().requires_grad_(self.unrecorded)

    @contextmanager
    def hooks(self) -> Iterator[None]:
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
        group = self.group * layer.groups // self.groups
        if not self.backward_pass:  # there, checkpoints compute what was seen before once more
            layer.see_input(replace(call, inputs=call.inputs.detach()), group, keep)
            self.depth += 1
        if torch.is_grad_enabled():
            if not output.requires_grad:
                # the graph starts here: a leaf, and a copy of it that functions in place may overwrite
                leaf = output.detach().requires_grad_(True)
                self.leaves.append(leaf)
                output = leaf.clone()
            if not layer.refused:
                shape = replace(call, inputs=torch.empty_like(call.inputs, device="meta"))
                output.register_hook(lambda gradient: self._see_gradient(layer, shape, gradient, group, keep))
        self.last = (layer, output)
        return output

    def _keep(self, layer: LayerSums, use: Use) -> torch.Tensor | None:
        """Rows that have a gradient and are no padding; ``None`` for all."""
        keep = use.handler.kept(use.call)
        if self.mask is None or layer.refused:
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
        if layer is not self.head and not layer.refused:
            layer.see_gradient(call, gradient, group, keep)

    def _batch_norm_hook(self, name: str, part: _BatchNorm) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            if self.backward_pass:
                return
            if name not in self.replays:
                self.replays[name] = (self.depth, Replay(part, self.groups, self.sums_on))
            self.replays[name][1].add(args[0].detach().to(self.sums_on), self.group)

        return hook

    def step(self, inputs: torch.Tensor, labels: torch.Tensor | None, uniform: torch.Tensor, group: int) -> None:
        """One batch, forward and backward."""
        self.group, self.depth, self.leaves, self.last, self.head = group, 0, [], None, None
        with self.watch:
            logits = forward(self.module, inputs)
        if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or logits.shape[0] != inputs.shape[0]:
            seen = (
                f"a tensor {list(logits.shape)}" if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
            )
            raise UnknownArchitecture(f"the network returned {seen}, expected logits [batch, classes]")
        for layer in self.layers.values():
            layer.close_pass(len(inputs))
        self.fit.add(logits.detach(), labels)
        if self.last and self.last[1] is logits and not self.last[0].refused and self.last[0].found.uses == 1:
            self.head = self.last[0]
            probabilities = logits.detach().to(self.sums_on).double().softmax(-1)
            self.head.see_probabilities(probabilities, group * self.head.groups // self.groups)
        if logits.requires_grad:
            drawn = draw(logits.detach(), uniform)
            drawn = drawn.clamp_max(logits.shape[1] - 1)  # logits that are not a number have no draw
            self._backward(torch.nn.functional.cross_entropy(logits, drawn, reduction="sum"))

    def _backward(self, loss: torch.Tensor) -> None:
        """Gradients of every layer's output; parameters are frozen and get none."""
        self.backward_pass = True
        try:
            with self.watch:
                # a reentrant checkpoint refuses to run backward towards given tensors only
                torch.autograd.backward(loss, inputs=None if self.unrecorded else self.leaves)
        finally:
            self.backward_pass = False
            for leaf in self.leaves:
                leaf.grad = None

    def finish(self) -> Moments:
        """Close the sums."""
        sizes = np.diff(edges(self.samples, self.groups))
        reasons: dict[int, str] = dict.fromkeys(self.late, "it runs for some samples only")
        finished: list[LayerMoments] = []
        audited: set[Block] = set()
        for layer in sorted(self.layers.values(), key=lambda one: one.found.depth):
            counts = torch.zeros(layer.groups, dtype=torch.int64)
            for group, size in enumerate(sizes):
                counts[group * layer.groups // self.groups] += int(size)
            own = layer.found.blocks - audited
            moments = layer.finish(counts, sum(size for _, _, size in own), layer is self.head)
            if moments:
                finished.append(moments)
                audited |= own
            else:
                reasons |= dict.fromkeys((block[0] for block in layer.found.blocks), layer.refused)
        return Moments(
            layers=tuple(finished),
            batch_norms=tuple(
                replay.finish(name, depth, self.samples) for name, (depth, replay) in self.replays.items()
            )
            if self.groups > 1
            else (),
            fit=self.fit.finish(),
            not_audited=not_audited(self.module, reasons, self.survey.aside, audited),
        )
