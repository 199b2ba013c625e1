"""Which single samples' gradients are formed, and the small second run that forms them.

The expected Fisher block of a layer is (1/n) Σ_i Σ_c p_ic G_ic G_icᵀ, G_ic the weight gradient of sample i's
loss had its label been c. A trained network is sure of most samples, so nearly all of the sum sits in few
of the n·C pairs; one drawn label per sample misses most of those. So pairs are drawn, with chances in
proportion to √p_ic ‖e_c − p_i‖, the size of their gradient at the logits, and weighted by 1/chance
(Horvitz & Thompson 1952): unbiased, over samples *and* labels. The weights share a factor that makes the
energy at the logits, Σ p_ic ‖e_c − p_i‖², right, since that is known exactly.

Every pair has its own random number, so neither order nor batch size decides which pairs are drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lcaudit.capture import _lanes as lanes
from lcaudit.capture._batches import edges
from lcaudit.capture._choose import NOT_ASKED
from lcaudit.capture._forward import forward
from lcaudit.capture._graph import Graph
from lcaudit.capture._layer import LayerSums
from lcaudit.capture._survey import Found
from lcaudit.capture._watch import Use, Watch
from lcaudit.capture._weights import Weights
from lcaudit.capture.gram import Gradients
from lcaudit.capture.handlers._base import Call
from lcaudit.capture.labels import streams
from lcaudit.core.types import SampleGram

#: Gradients per layer. Measured: with twice as many the interval is no narrower on trained networks,
#: where the number of the probe's samples limits it.
WANTED = 128
#: … and of so many at most for each sample: where samples are few they limit it, and each costs a pass.
FOR_EACH = 2
#: With fewer the figure says little.
FEWEST = 32
#: Bytes that the kept gradients of all layers may take together.
MOST_BYTES = 512 * 2**20
_DRAW = 2**31  # place of these random numbers in their sequence, apart from the labels'

NO_MODULE = "its weight is not applied once, by a module of its own"
NO_ROWS = "gradients of single samples are not formed for this kind of layer"
NOT_FIRST = "its rows do not follow the batch"
TOO_LARGE = "single samples' gradients would take too much memory"
CERTAIN = "the network is certain of every sample"
NOT_FINITE = "outputs or gradients are not finite"


class Pairs:
    """Pairs (sample, label) drawn among all: ``sample``, ``label``, int64 [m], in order of samples."""

    def __init__(self, probabilities: np.ndarray, keys: np.ndarray, seed: int, wanted: int) -> None:
        """``probabilities``: float64 [n, C]. ``keys``: int64 [n], of the samples in their data set."""
        self.probabilities, classes = probabilities, probabilities.shape[1]
        self.energies = probabilities * np.maximum(
            0.0, 1 - 2 * probabilities + np.square(probabilities).sum(1, keepdims=True)
        )
        self.numbers = streams(keys, seed, classes, _DRAW).numpy()
        self.flat = np.flatnonzero(self.numbers < self._chances(wanted))
        self.sample, self.label = self.flat // classes, self.flat % classes

    def _chances(self, wanted: int) -> np.ndarray:
        return chances(np.sqrt(self.energies).ravel(), wanted).reshape(self.energies.shape)

    def weights(self, wanted: int) -> np.ndarray:
        """[m], with which the pairs stand for all; 0 for those not drawn when only so many are wanted."""
        if not len(self.flat):
            return np.empty(0)
        chance = self._chances(wanted).ravel()[self.flat]
        drawn = self.numbers.ravel()[self.flat] < chance
        weights = np.divide(drawn, chance, out=np.zeros(len(chance)), where=drawn)
        shown = float(weights @ self.energies.ravel()[self.flat])
        return weights * (float(self.energies.sum()) / shown) if shown > 0 else weights * 0

    def logits(self, start: int, stop: int) -> np.ndarray:
        """√p_c (e_c − p) of some pairs, [b, C]: their gradients at the logits, but for the sign."""
        sample, label = self.sample[start:stop], self.label[start:stop]
        p = self.probabilities[sample]
        at, which = -p, np.arange(len(p))
        at[which, label] += 1
        return at * np.sqrt(p[which, label])[:, None]


def chances(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """Chances in proportion to ``sizes`` [k], none above 1, that add up to ``wanted`` where so many are not 0."""
    if wanted >= np.count_nonzero(sizes):
        return (sizes > 0).astype(float)
    ordered = np.sort(sizes)[::-1]
    rest = ordered.sum() - np.r_[0.0, np.cumsum(ordered)[:-1]]
    # so many are certain that the largest of the others has a chance of 1 at most
    certain = int(np.argmax(ordered * (wanted - np.arange(len(ordered))) <= rest))
    rest_exact = ordered[certain:].sum()  # the difference above loses digits where sizes differ a lot
    return np.minimum(1.0, sizes * ((wanted - certain) / rest_exact))


def sample_grams(
    modules: Sequence[torch.nn.Module],
    layers: dict[Any, LayerSums],
    samples: int,
    *,
    logits: torch.Tensor,
    inputs: Callable[[int, int], torch.Tensor],
    keys: np.ndarray,
    group: np.ndarray,
    batch_size: int,
    seed: int,
    unrecorded: bool,
) -> dict[Any, SampleGram | str]:
    """The Gram matrix of drawn gradients for every measured layer, or why there is none.

    Args:
        modules: copies of the network, each of which runs some of the gradients.
        layers: after the measuring run, by weight's key. samples: how many the survey looked at.
        logits: [n, C] of the whole probe. inputs: places in the probe → inputs of the network.
        group: int64 [n], of each sample. unrecorded: parts of the network are recomputed when going backward.

    Cost: forward and backward over :func:`most_of` samples, with weight gradients; m² · parameters operations.
    """
    # layers that were not asked for take their share of the memory, so that asking for fewer shifts no number
    found: dict[Any, SampleGram | str] = {
        key: refused(one.found, samples) for key, one in layers.items() if one.refused in ("", NOT_ASKED)
    }
    fitting = {key: Gradients(layers[key].found, samples) for key, why in found.items() if not why}
    if not logits.isfinite().all():
        return {key: why or NOT_FINITE for key, why in found.items()}
    size = torch.finfo(logits.dtype).bits // 8
    wanted = affordable({key: one.entries * size for key, one in fitting.items()}, most_of(len(keys)))
    pairs = Pairs(logits.double().softmax(-1).numpy(), keys, seed, max(wanted.values(), default=0))
    scales = {key: pairs.weights(most) for key, most in wanted.items()}
    for key in fitting:
        enough = key in wanted and np.count_nonzero(scales[key]) > 1
        found[key] = found[key] or ("" if enough else CERTAIN if key in wanted else TOO_LARGE)
    asked = {key: one for key, one in fitting.items() if not found[key] and not layers[key].refused}
    failed = _collected(modules, asked, pairs, scales, inputs, batch_size, unrecorded) if asked else {}
    counts = torch.bincount(torch.from_numpy(group))
    grams = lanes.each(lambda key: None if key in failed else asked[key].gram(), list(asked), len(modules))
    for key, gram in zip(asked, grams, strict=True):
        scale = torch.from_numpy(np.sqrt(scales[key][scales[key] > 0]))
        if gram is None or len(gram) != len(scale):
            found[key] = failed.get(key, NOT_FIRST)
        elif not gram.isfinite().all():
            found[key] = NOT_FINITE
        else:
            rows = torch.from_numpy(pairs.sample[scales[key] > 0])
            found[key] = SampleGram(scale[:, None] * gram * scale, torch.from_numpy(group)[rows], counts)
    return found


def _collected(
    modules: Sequence[torch.nn.Module], asked: dict[Any, Gradients], pairs: Pairs, scales: dict[Any, np.ndarray],
    inputs: Callable[[int, int], torch.Tensor], batch_size: int, unrecorded: bool,
) -> dict[Any, str]:  # fmt: skip
    """Form the gradients and put them into ``asked``; why there are none, by weight's key, where that is so."""
    size = max(1, batch_size // len(modules))
    number = len(modules) * math.ceil(len(pairs.flat) / size / len(modules))  # as many for each lane
    bounds = list(itertools.pairwise(edges(len(pairs.flat), number)))
    parts = lanes.split(bounds, len(modules), lambda bound: bound[1] - bound[0])
    runs = [
        _Run(module, Weights(module), {key: one.part() for key, one in asked.items()}, unrecorded)
        for module, _ in zip(modules, parts, strict=False)
    ]

    def lane(run: _Run, bounds: list[tuple[int, int]], check: Callable[[], None]) -> None:
        for start, stop in bounds:
            check()
            batch = torch.cat([inputs(place, place + 1) for place in pairs.sample[start:stop].tolist()])
            drawn = {key: torch.from_numpy(scales[key][start:stop] > 0) for key in run.layers}
            run.step(batch, torch.from_numpy(pairs.logits(start, stop)), drawn)

    lanes.run([partial(lane, run, bounds) for run, bounds in zip(runs, parts, strict=True)])
    failed: dict[Any, str] = {}
    for run in runs:
        failed |= run.failed
        for key, one in run.layers.items():
            asked[key].collect(one)
    return failed


def refused(found: Found, samples: int) -> str:
    """Why single samples' gradients are not formed at this layer, found by the survey of ``samples``; or ``""``."""
    if found.handler.sample_rows is None:
        return NO_ROWS
    if found.uses != 1 or found.weight.sharers or not found.by_module or found.weight.block is None:
        return NO_MODULE
    return "" if found.call.inputs.shape[0] == samples else NOT_FIRST


def most_of(samples: int) -> int:
    """Gradients per layer that a probe of so many samples is worth."""
    return min(WANTED, max(FEWEST, FOR_EACH * samples))


def affordable(sizes: dict[Any, int], wanted: int) -> dict[Any, int]:
    """How many gradients each layer may keep, by bytes of one, ``wanted`` at most; none where that would be too few.

    Equal shares, the smallest layers first: what one leaves over, the others divide.
    """
    shares: dict[Any, int] = {}
    left, waiting = MOST_BYTES, sorted(sizes, key=lambda key: sizes[key])
    for place, key in enumerate(waiting):
        most = min(wanted, left // (len(waiting) - place) // max(1, sizes[key]))
        if most >= FEWEST:
            shares[key] = most
            left -= most * sizes[key]
    return shares


class _Run:
    """Forward and backward over drawn pairs; ``layers`` collect, ``failed`` says why one does not."""

    def __init__(
        self, module: torch.nn.Module, weights: Weights, layers: dict[Any, Gradients], unrecorded: bool
    ) -> None:
        self.module, self.layers, self.unrecorded = module, layers, unrecorded
        self.watch = Watch(weights, self._see)
        self.failed: dict[Any, str] = {}
        self.copied: set[Any] = set()

    def step(self, inputs: torch.Tensor, at_logits: torch.Tensor, drawn: dict[Any, torch.Tensor]) -> None:
        """One batch. ``drawn``: for each layer, bool [b]."""
        self.samples, self.drawn = len(inputs), drawn
        copied = len(self.copied)
        self._pass(inputs, at_logits)
        if len(self.copied) > copied:  # an input was overwritten before its gradient came
            self._pass(inputs, at_logits)
        for key, (call, gradient) in self.fresh.items():
            keep = drawn[key].to(gradient.device)
            if bool(keep.any()):
                self.layers[key].add(replace(call, inputs=call.inputs[keep]), gradient[keep])
        self.fresh = {}

    def _pass(self, inputs: torch.Tensor, at_logits: torch.Tensor) -> None:
        self.graph, self.fresh = Graph(self.unrecorded), {}
        with self.watch.modules(self.module), self.watch:
            logits = forward(self.module, inputs)
            self.graph.backward(logits, at_logits.to(logits))

    def _see(self, use: Use, output: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return output
        output = self.graph.begin(output)
        key = use.weight.key
        if key in self.layers and key not in self.failed:
            inputs = use.call.inputs.detach()
            call = replace(use.call, inputs=inputs.clone() if key in self.copied else inputs)
            version = call.inputs._version
            output.register_hook(lambda gradient: self._see_gradient(key, call, version, gradient))
        return output

    def _see_gradient(self, key: Any, call: Call, version: int, gradient: torch.Tensor) -> None:
        if call.inputs._version != version:
            self.copied.add(key)
        elif len(call.inputs) != self.samples or len(gradient) != self.samples:
            self.failed[key] = NOT_FIRST
        else:
            self.fresh[key] = call, gradient.detach()
