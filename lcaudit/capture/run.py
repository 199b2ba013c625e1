"""One forward and backward run: streamed second moments of every layer's input and gradient.

Only pre-activation gradients are computed: parameters do not require gradients, so the backward pass
never forms a weight gradient. Inputs are reduced to their moments while the forward pass runs and are
not kept. Products are in the network's precision, sums in float64.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

import torch

from lcaudit.capture import _lanes as lanes
from lcaudit.capture._as_found import as_found
from lcaudit.capture._back_off import backing_off, outputs_of
from lcaudit.capture._batches import Span, batches, parted, spans
from lcaudit.capture._huang2020 import batch_statistics, channels_only
from lcaudit.capture._stream import Run
from lcaudit.capture._target import Target
from lcaudit.capture.tasks import AUTO, Fisher
from lcaudit.core.machine import single_products
from lcaudit.core.memory import UNKNOWN
from lcaudit.core.types import InputSums, Moments, Network, Probe

#: Groups of samples kept apart for intervals; ten is where the grouped jackknife's coverage settles.
GROUPS = 10
#: Samples after which inputs may stop, on probes of twice as many at least: with fewer few intervals are narrow.
FIRST_LOOK = 250
#: The default: one draw per sample from the network's own predictive distribution.
EXPECTED = Fisher()

R = TypeVar("R", bound="Run")


def measure(
    network: Network,
    probe: Probe,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int | str,
    seed: int,
    task: str = AUTO,
    ignore_index: int = -100,
    fisher: Fisher = EXPECTED,
    convention: str = "kfac",
    layers: Sequence[str] = (),
    max_memory: int = UNKNOWN,
    norms: bool = False,
    narrow: Callable[[InputSums], bool] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Moments:
    """Run the probe through the network once and return every layer's moments.

    The module is handed back exactly as it came: weights, buffers, gradients, device, type, modes, flags.

    Args:
        batch_size: samples per pass; never changes a number beyond rounding, but under ``huang2020``. ``auto``
            begins with what suits the device and halves it whenever memory runs out.
        seed: of the label draws. progress: called with (samples done, samples in all).
        task, ignore_index: see :func:`lcaudit.capture.tasks.settle`. fisher: whose labels Σ_g averages over.
        convention: ``kfac``, or ``huang2020`` (see :mod:`lcaudit.capture._huang2020`).
        layers: only these (see :func:`lcaudit.capture._choose.choose`); none for all. Never shifts a number.
        max_memory: bytes for the moments of all layers: see :mod:`lcaudit.capture.budget`.
        norms: sum every layer's input behind a LayerNorm and an RMSNorm too, and not the last linear one's alone.
        narrow: asked after some 250 samples, of all groups: an input's sums → whether it is summed no further.

    Raises:
        UnknownArchitecture: the network does not return one tensor, samples first.
        UsageError: no task, or several, fit outputs and labels; a Fisher that this probe does not allow.
        ProbeUnavailable: labels that the task cannot take.
        EnvironmentFailure: memory ran out.
        LimitExceeded: the moments do not fit into ``max_memory`` in any form.

    Cost: about two plain forward and backward passes, and a backward pass more for each further draw;
        memory of one pass, plus the moments', at most ``max_memory``, usually 10 · Σ d_in² · 8 bytes whatever the
        number of samples, and at most 512 MiB of single samples' gradients.
    """

    def run(size: int) -> Moments:
        target = Target(probe, task, network.record.classes, ignore_index, fisher, seed)
        found = _measure(
            network, probe, target, device, dtype, size, seed, convention, layers, max_memory, norms, narrow, progress
        )
        return replace(found, batch_size=size)

    return backing_off(run, batch_size, device, len(probe.keys), outputs_of(probe, network.record.classes))


def _measure(
    network: Network, probe: Probe, target: Target, device: torch.device, dtype: torch.dtype, batch_size: int,
    seed: int, convention: str, layers: Sequence[str], max_memory: int, norms: bool,
    narrow: Callable[[InputSums], bool] | None, progress: Callable[[int, int], None],
) -> Moments:  # fmt: skip
    with (
        single_products(),
        prepared(Run, network, probe, target, device, dtype, batch_size, convention, layers, max_memory) as run,
    ):
        run.sum_normed(norms)
        wanted = lanes.number(device, batch_size, run.groups) if convention == "kfac" and run.divisible() else 1
        modules = lanes.copies(run.module, wanted)
        tell, size = _Told(progress, len(probe.keys)), batch_size // len(modules)
        allowed = convention == "kfac" and len(probe.keys) >= 2 * FIRST_LOOK
        asked = narrow if allowed and run.worth_looking(len(probe.keys) - FIRST_LOOK) else None
        whole = spans(len(probe.keys), run.groups)
        first, rest = parted(whole, FIRST_LOOK) if asked else (whole, [])
        run.through(modules, _batches(probe, first, size), tell)
        if asked:
            run.stop_narrow(asked, first, len(modules))
            run.through(modules, _batches(probe, rest, size), tell)
        return run.finish(run.sample_grams(modules, batch_size, seed))


class _Told:
    """Counts samples of all lanes."""

    def __init__(self, progress: Callable[[int, int], None], samples: int) -> None:
        self.progress, self.samples, self.done = progress, samples, 0
        self.lock = threading.Lock()

    def __call__(self, more: int) -> None:
        with self.lock:
            self.done += more
            self.progress(self.done, self.samples)


@contextmanager
def prepared(
    kind: type[R], network: Network, probe: Probe, target: Target, device: torch.device, dtype: torch.dtype,
    batch_size: int, convention: str, layers: Sequence[str], max_memory: int,
) -> Iterator[R]:  # fmt: skip
    """A run, or a kind of one, over a network that is set up for it and put back afterwards."""
    samples, theirs = len(probe.keys), convention == "huang2020"
    planned = _batches(probe, spans(samples, min(GROUPS, samples)), batch_size)
    assert not theirs or target.fisher.kind == "empirical", "their labels are the given ones"
    with as_found(network.module, device, dtype) as module, ExitStack() as stack:
        if theirs:
            stack.enter_context(batch_statistics(module, planned))
        yield kind(
            module, probe, target, device, dtype, planned, channels_only if theirs else lambda kind: kind, layers,
            max_memory,
        )  # fmt: skip


def _batches(probe: Probe, parts: list[Span], batch_size: int) -> list[Span]:
    """(group, start, stop) of every batch."""
    return batches(parts, batch_size, 0 if probe.mask is None else probe.mask(0, 1).shape[1])
