"""One reading of a checkpoint, run on augmented images of the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from lcaudit.capture._as_found import as_found
from lcaudit.capture._batches import edges
from lcaudit.capture.augmentation import AUGMENTATIONS, augmented
from lcaudit.core.errors import AuditError
from lcaudit.core.types import Network, Preprocessing, Probe

#: Groups of samples kept apart for intervals.
GROUPS = 10


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What is tried: a network, what is done to its input, and what training did on top."""

    network: Network
    preprocessing: Preprocessing
    augmentation: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of consecutive samples of the probe.

    Attributes:
        pieces: (group, slice of the inputs): which rows belong to which group. start: place of the first one.
    """

    inputs: torch.Tensor
    pieces: tuple[tuple[int, slice], ...]
    start: int


@dataclass(frozen=True, slots=True)
class Method:
    """A way to say how far a network, fed in some way, is from what training left.

    Attributes:
        distance: (module in eval mode, batches, number of groups) → squared distance, sampling noise removed,
            float64 [1 + G]: of all samples, then without each group.
        resolution: a smaller distance counts as this one; 0 for the standard error of the best.
        limit: ratio of distances that tells two readings apart.
        fits: largest distance of a reading that can be right; infinite where the method has no scale.
        agrees: a distance that needs no comparison with others; 0 where the method has no scale.
        screened: samples that choose the finalists. augmentations: those that are tried.
        exchanges: whether exchanged channels and axes are tried.
    """

    name: str
    distance: Callable[[torch.nn.Module, Iterator[Batch], int], torch.Tensor]
    resolution: float
    limit: float
    fits: float
    agrees: float
    screened: int
    augmentations: tuple[str, ...] = tuple(AUGMENTATIONS)
    exchanges: bool = True


class Trials:
    """Runs hypotheses on the first samples of a probe; the same draws for all of them."""

    def __init__(
        self, method: Method, probe: Probe, device: torch.device, dtype: torch.dtype, batch_size: int, seed: int
    ) -> None:
        self.method, self.probe, self.device, self.dtype = method, probe, device, dtype
        self.batch_size, self.seed, self.passes = batch_size, seed, 0

    def run(self, hypothesis: Hypothesis, samples: int) -> torch.Tensor:
        """Squared distances, float64 [1 + G]; infinite where the network cannot take the input."""
        self.passes += samples
        with as_found(hypothesis.network.module, self.device, self.dtype) as module:
            try:
                found = self.method.distance(module, self._batches(hypothesis, samples), GROUPS)
            except AuditError:
                return torch.full((1 + GROUPS,), torch.inf, dtype=torch.float64)
        return found.nan_to_num(nan=torch.inf)

    def best(self, hypotheses: Sequence[Hypothesis], samples: int) -> list[tuple[float, Hypothesis]]:
        """(squared distance, hypothesis), smallest first."""
        rows = [(float(self.run(one, samples)[0]), one) for one in hypotheses]
        return sorted(rows, key=lambda row: row[0])

    def _batches(self, hypothesis: Hypothesis, samples: int) -> Iterator[Batch]:
        assert self.probe.pixels is not None
        bounds = edges(samples, GROUPS)
        for start in range(0, samples, self.batch_size):
            stop = min(samples, start + self.batch_size)
            images = self.probe.pixels(start, stop)
            shown = augmented(images, hypothesis.augmentation, self.probe.keys[start:stop], self.seed)
            inputs = hypothesis.preprocessing.apply(shown).reshape(stop - start, *self.probe.record.shape)
            pieces = tuple(
                (group, slice(max(low, start) - start, min(high, stop) - start))
                for group, (low, high) in enumerate(pairwise(bounds))
                if low < stop and high > start
            )
            yield Batch(inputs.to(self.device, self.dtype), pieces, start)
