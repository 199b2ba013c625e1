"""One forward and backward run: streamed second moments of every layer's input and gradient.

Only pre-activation gradients are computed: parameters do not require gradients, so the backward pass
never forms a weight gradient. Inputs are reduced to their moments while the forward pass runs and are
not kept. Products are in the network's precision, sums in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture._layer import LayerSums
from lcaudit.capture.batch_norm import Replay
from lcaudit.capture.coverage import not_audited, shared_weights
from lcaudit.capture.fit import Fit
from lcaudit.capture.handlers import handler_for
from lcaudit.capture.labels import draw, uniforms
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.types import Moments, Network, Probe

#: Groups of samples kept apart for intervals; ten is where the grouped jackknife's coverage settles.
GROUPS = 10
#: Bytes of group sums that may be held; the widest layers get fewer groups beyond it.
GROUP_MEMORY = 4 * 2**30


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

    The module is moved to ``device`` and ``dtype``; its weights, modes and gradient flags are otherwise
    left as found.

    Args:
        batch_size: samples per pass; never changes a number beyond rounding.
        seed: of the label draws. progress: called with (samples done, samples in all).

    Raises:
        UnknownArchitecture: the network does not return [batch, classes].

    Cost: about two plain forward and backward passes; memory of one pass plus
        10 · Σ d_in² · 8 bytes, whatever the number of samples.
    """
    module = network.module.to(device=device, dtype=dtype)
    run = _Run(module, probe, device, len(probe.keys))
    uniform = uniforms(probe.keys, seed)
    with _as_found(module), run.hooks():
        for group, start, stop in _batches(len(probe.keys), run.groups, batch_size):
            labels = None if probe.labels is None else torch.from_numpy(probe.labels[start:stop]).to(device)
            inputs = probe.batch(start, stop).to(device=device, dtype=dtype)
            run.step(inputs, labels, uniform[start:stop].to(device), group)
            progress(stop, len(probe.keys))
    return run.finish()


def _batches(samples: int, groups: int, batch_size: int) -> Iterator[tuple[int, int, int]]:
    """(group, start, stop): batches never straddle the contiguous groups."""
    edges = np.linspace(0, samples, groups + 1).astype(int)
    for group, (low, high) in enumerate(itertools.pairwise(edges)):
        for start in range(low, high, batch_size):
            yield group, start, min(start + batch_size, high)


@contextmanager
def _as_found(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode, frozen parameters and full-precision products inside; everything restored after."""
    modes = [(part, part.training) for part in module.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    precision = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    try:
        module.eval()
        module.requires_grad_(False)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        with torch.enable_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
        for part, training in modes:
            part.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


class _Run:
    """State of one run: the sums of every layer, and hooks that feed them."""

    def __init__(self, module: torch.nn.Module, probe: Probe, device: torch.device, samples: int) -> None:
        self.module, self.probe, self.samples = module, probe, samples
        self.groups = min(GROUPS, samples)
        # Apple's devices have no float64: the sums live on the CPU there
        self.sums_on = torch.device("cpu") if device.type == "mps" else device
        self.shared = shared_weights(module)
        self.layers = self._layer_sums()
        self.replays: dict[str, tuple[int, Replay]] = {}
        self.fit = Fit()
        self.group = 0
        self.depth = 0
        self.leaves: list[torch.Tensor] = []
        self.last: tuple[LayerSums, torch.Tensor] | None = None
        self.head: LayerSums | None = None

    def _layer_sums(self) -> dict[str, LayerSums]:
        known = {name: (part, handler_for(part)) for name, part in self.module.named_modules()}
        chosen = {name: (part, *found) for name, (part, found) in known.items() if found and name not in self.shared}
        sizes = {name: _group_bytes(part, handler) for name, (part, _, handler) in chosen.items()}
        groups = dict.fromkeys(chosen, self.groups)
        for fewer in (4, 2):  # the widest layers first
            for name in sorted(sizes, key=lambda n: -sizes[n]):
                if sum(sizes[n] * groups[n] for n in sizes) > GROUP_MEMORY:
                    groups[name] = min(groups[name], fewer)
        return {
            name: LayerSums(name, kind, handler, part, groups[name]) for name, (part, kind, handler) in chosen.items()
        }

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Hooks on every measured layer and batch norm, removed on leaving."""
        with ExitStack() as stack:
            for name, part in self.module.named_modules():
                if name in self.layers:
                    stack.callback(part.register_forward_hook(self._layer_hook(self.layers[name])).remove)
                elif isinstance(part, _BatchNorm) and part.running_mean is not None:
                    stack.callback(part.register_forward_pre_hook(self._batch_norm_hook(name, part)).remove)
            yield

    def _layer_hook(self, layer: LayerSums) -> Callable[..., torch.Tensor | None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            group = self.group * layer.groups // self.groups
            layer.see_input(args[0], self.depth, group, self.sums_on)
            self.depth += 1
            if not output.requires_grad:
                # the graph starts here: a leaf, and a copy of it that functions in place may overwrite
                leaf = output.detach().requires_grad_(True)
                self.leaves.append(leaf)
                output = leaf.clone()
            if not layer.refused:
                layer.positions = layer.handler.positions(module, output)
                output.register_hook(lambda gradient: self._see_gradient(layer, gradient, group))
            self.last = (layer, output)
            return output

        return hook

    def _see_gradient(self, layer: LayerSums, gradient: torch.Tensor, group: int) -> None:
        if layer is not self.head and not layer.refused:
            layer.see_gradient(gradient, group)

    def _batch_norm_hook(self, name: str, part: _BatchNorm) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            if name not in self.replays:
                self.replays[name] = (self.depth, Replay(part, self.groups, self.sums_on))
            self.replays[name][1].add(args[0].detach().to(self.sums_on), self.group)

        return hook

    def step(self, inputs: torch.Tensor, labels: torch.Tensor | None, uniform: torch.Tensor, group: int) -> None:
        """One batch, forward and backward."""
        self.group, self.depth, self.leaves, self.last = group, 0, [], None
        for layer in self.layers.values():
            layer.calls = 0
        logits = self.module(inputs)
        if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or logits.shape[0] != inputs.shape[0]:
            seen = (
                f"a tensor {list(logits.shape)}" if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
            )
            raise UnknownArchitecture(f"the network returned {seen}, expected logits [batch, classes]")
        self.fit.add(logits.detach(), labels)
        self.head = None
        if self.last and self.last[1] is logits and not self.last[0].refused:
            self.head = self.last[0]
            probabilities = logits.detach().to(self.sums_on).double().softmax(-1)
            self.head.see_probabilities(probabilities, group * self.head.groups // self.groups)
        if self.leaves and logits.requires_grad:
            drawn = draw(logits.detach(), uniform)
            drawn = drawn.clamp_max(logits.shape[1] - 1)  # logits that are not a number have no draw
            loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
            torch.autograd.grad(loss, self.leaves, allow_unused=True)

    def finish(self) -> Moments:
        """Close the sums."""
        edges = np.diff(np.linspace(0, self.samples, self.groups + 1).astype(int))
        finished = []
        for layer in self.layers.values():
            counts = torch.zeros(layer.groups, dtype=torch.int64)
            for group, size in enumerate(edges):
                counts[group * layer.groups // self.groups] += int(size)
            moments = layer.finish(counts, layer is self.head)
            if moments:
                finished.append(moments)
        refused = {name: layer.refused for name, layer in self.layers.items() if layer.refused}
        refused |= {name: f"its weight is shared with {other}" for name, other in self.shared.items()}
        return Moments(
            layers=tuple(sorted(finished, key=lambda moments: moments.layer.depth)),
            batch_norms=tuple(
                replay.finish(name, depth, self.samples) for name, (depth, replay) in self.replays.items()
            )
            if self.groups > 1
            else (),
            fit=self.fit.finish(),
            not_audited=not_audited(self.module, refused, {m.layer.name for m in finished}),
        )


def _group_bytes(part: torch.nn.Module, handler: Any) -> int:
    shape = handler.shape(part)
    return int(8 * shape.groups * (shape.inputs**2 + shape.outputs**2))
