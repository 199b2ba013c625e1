"""Which of several networks, fed in which of several ways, is the one that was trained?

Readings of the checkpoint (network × preprocessing × training augmentation) are compared by a :class:`Method`:
batch-norm replay where there are batch norms, else gradient stationarity. What was declared or identified is tried by
itself first; only where something is open, or it does not fit, are all the others. Few samples choose the finalists,
more decide between them, on the same samples and the same augmentation draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lcaudit.capture._back_off import first_batch_size
from lcaudit.capture._trial import GROUPS, Hypothesis, Method, Trials
from lcaudit.capture._verdict import WORSE, Judged, Verdict, decide, open_to_chance
from lcaudit.capture.evaluate import evaluate, part_of
from lcaudit.capture.replay import METHOD as REPLAY
from lcaudit.capture.replay import batch_norms
from lcaudit.capture.stationarity import MOST_NUMBERS
from lcaudit.capture.stationarity import method as stationarity
from lcaudit.core.errors import AmbiguousArchitecture, UnknownArchitecture
from lcaudit.core.identification import Identification
from lcaudit.core.text import count
from lcaudit.core.types import Network, Preprocessing, Probe

#: Samples that decide, where there are as many; fewer than the latter decide nothing.
SAMPLES, LEAST = 300, 40
#: Samples where the first ones leave a reading that is worse, but not beyond chance.
MOST_SAMPLES = 1000
#: With an error above this share of a constant guess's, on so many samples, a network counts as untrained.
CHANCE, CHANCE_SAMPLES = 0.8, 300


def identify(
    networks: Sequence[Network],
    probe: Probe,
    preprocessings: Sequence[Preprocessing],
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int | str,
    seed: int,
    task: str = "auto",
    ignore_index: int = -100,
) -> tuple[Network, Probe, Identification | None]:
    """The network and the preprocessing that the probe's statistics speak for, with every reading's score.

    What the user declared is never replaced, only contradicted.

    Args:
        networks: all those that have the checkpoint's tensors; more than one where these do not tell.
        probe: opened for the first one. preprocessings: the probe's own first, then its rivals; none where samples
            are no images.

    Raises:
        AmbiguousArchitecture: several networks, and the probe does not decide between them.

    Cost: 500 samples forward where what is known fits. Where it fits and was assumed, 40 more for each rival and 300
        for each of three. Else 200 k p, with p normalisations (6 or 7 for coloured images) and k networks, instead of
        40 for each; and up to 3000 where that leaves something to chance. Gradient stationarity (labels, no batch
        norm) takes 80 k p + 700 samples forward and backward, and only where something is open.
    """
    first = networks[0]
    unknown: tuple[str, ...] = ("network",) if len(networks) > 1 else ()
    if probe.record.confidence == "assumed" and len(preprocessings) > 1:
        unknown += ("preprocessing",)
    method: Method | str = "samples are no images with values from 0 to 1"
    if preprocessings:
        method = _method(networks, probe, task, ignore_index)
    size = first_batch_size(batch_size, device, probe, networks[0].record.classes)
    if not isinstance(method, str) and not method.agrees:
        if not unknown:  # nothing is open, and one reading by itself has no scale
            return first, probe, None
        if _no_better_than_chance(first, probe, task, ignore_index, device, dtype, size):
            method = "the network does hardly better than chance on it, so that its gradient tells nothing of training"
    if isinstance(method, str):
        if len(networks) > 1:
            raise _undecided(networks, f"a probe could tell them apart, but {method}")
        silent = not unknown and not batch_norms(first.module)
        return first, probe, None if silent else Identification("", "not tested", unknown, _sentence(method))
    search = _Search(Trials(method, probe, device, dtype, size, seed), networks, preprocessings)
    verdict = search.settle(unknown, probe.record.confidence)
    return _apply(verdict, networks, probe)


class _Search:
    def __init__(self, trials: Trials, networks: Sequence[Network], preprocessings: Sequence[Preprocessing]) -> None:
        self.trials, self.networks, self.preprocessings = trials, networks, preprocessings
        self.samples = min(SAMPLES, len(trials.probe.keys))
        self.screened = min(trials.method.screened, self.samples)

    def settle(self, unknown: tuple[str, ...], confidence: str) -> Verdict:
        """Screen, compare, decide."""
        method, taken = self.trials.method, (self.networks[0], self.preprocessings[0])
        (_, base), *_ = self.trials.best([Hypothesis(*taken, name) for name in method.augmentations], self.screened)
        found = self._judge(base)
        fits = found.score <= method.agrees
        if fits and not unknown:
            return decide([found], method, taken, unknown, confidence, self.trials.passes)
        rivals = self._finalists(taken, (base.augmentation,) if fits else method.augmentations)
        judged = [found, *map(self._judge, rivals)]
        more = min(MOST_SAMPLES, len(self.trials.probe.keys))
        if more > self.samples and open_to_chance(judged, method):
            self.samples = more
            judged = [self._judge(one.hypothesis) if one.ratio(judged, method) < WORSE else one for one in judged]
        return decide(judged, method, taken, unknown, confidence, self.trials.passes)

    def _judge(self, hypothesis: Hypothesis) -> Judged:
        return Judged(hypothesis, self.trials.run(hypothesis, self.samples), self.samples)

    def _finalists(self, taken: tuple[Network, Preprocessing], augmentations: tuple[str, ...]) -> list[Hypothesis]:
        """The best other readings, and each network's best, with the augmentation that suits them best."""
        plain = [one for one in self.preprocessings if not (one.reversed_channels or one.transposed)]
        odd = [one for one in self.preprocessings if one not in plain and self.trials.method.exchanges]
        ranked = self.trials.best(
            [Hypothesis(n, p, a) for n in self.networks for p in plain for a in augmentations], self.screened
        )
        for network in self.networks:
            best = next(one for _, one in ranked if one.network is network)
            ranked += self.trials.best([Hypothesis(network, p, best.augmentation) for p in odd], self.screened)
        ranked.sort(key=lambda row: row[0])
        order: dict[tuple[int, Preprocessing], Hypothesis] = {}
        for _, one in ranked:
            order.setdefault((id(one.network), one.preprocessing), one)
        order.pop((id(taken[0]), taken[1]))
        rivals = list(order.values())
        chosen = rivals[: self.trials.method.finalists]
        chosen += [one for network in self.networks for one in [one for one in rivals if one.network is network][:1]]
        return [one for i, one in enumerate(chosen) if one not in chosen[:i]]


def _no_better_than_chance(
    network: Network, probe: Probe, task: str, ignore_index: int, device: torch.device, dtype: torch.dtype, size: int
) -> bool:
    """Whether a few hundred samples speak of no training: gradients of chance are smallest for the smallest inputs."""
    some = part_of(probe, probe.keys[:CHANCE_SAMPLES], True, CHANCE_SAMPLES)
    assert some is not None, "there are enough samples to compare readings"
    try:
        _, fit = evaluate(
            network.module, some, classes=network.record.classes, task=task, ignore_index=ignore_index, device=device,
            dtype=dtype, batch_size=size,
        )  # fmt: skip
    except UnknownArchitecture:  # the audit says why
        return False
    return fit.error is not None and fit.chance is not None and fit.error.value > CHANCE * fit.chance


def _method(networks: Sequence[Network], probe: Probe, task: str, ignore_index: int) -> Method | str:
    """How to compare, or why nothing can be compared."""
    if len(probe.keys) < LEAST:
        return f"it has {count(len(probe.keys), 'sample')}, and it takes {LEAST}"
    if len({network.record.input_shape for network in networks}) > 1:
        return "they take inputs of different shapes"
    if all(batch_norms(network.module) for network in networks):
        return REPLAY
    if probe.labels is None:
        return "without batch norms it takes labels"
    if max(network.record.parameters for network in networks) * GROUPS > MOST_NUMBERS:
        return "without batch norms it takes gradients of all weights, too many to keep here"
    return stationarity(probe, task, ignore_index, networks[0].record.classes)


def _apply(verdict: Verdict, networks: Sequence[Network], probe: Probe) -> tuple[Network, Probe, Identification]:
    """Network and probe as decided, and the record of it."""
    network, found = verdict.network, verdict.record
    if len(networks) > 1:
        if not verdict.network_known:
            raise _undecided(networks, found.reason)
        network = replace(network, record=replace(network.record, confidence="chosen by probe"))
    if verdict.preprocessing is None:
        return network, probe, found
    return network, _prepared(probe, verdict.preprocessing), found


def _prepared(probe: Probe, chosen: Preprocessing) -> Probe:
    """The probe with another preprocessing, said so in its record."""
    pixels, shape = probe.pixels, probe.record.shape
    assert pixels is not None

    def batch(start: int, stop: int) -> torch.Tensor:
        return chosen.apply(pixels(start, stop)).reshape(stop - start, *shape)

    changed = chosen.normalisation != probe.record.normalisation or chosen.reversed_channels or chosen.transposed
    source = f"chosen by the probe: {chosen.normalisation.source}"
    words = (*probe.record.preprocessing, *((f"chosen by the probe: {chosen.title}",) if changed else ()))
    record = replace(
        probe.record,
        normalisation=replace(chosen.normalisation, source=source),
        preprocessing=words,
        confidence="chosen by probe",
    )
    return replace(probe, record=record, batch=batch if changed else probe.batch)


def _undecided(networks: Sequence[Network], why: str) -> AmbiguousArchitecture:
    records = [network.record for network in networks]
    names = [
        f"{one.family}:{one.variant['architecture']}" if "architecture" in one.variant else one.family
        for one in records
    ]
    listed = "; ".join(f"{name}: {one.title}" for name, one in zip(names, records, strict=True))
    return AmbiguousArchitecture(
        f"{len(networks)} networks that compute different functions have exactly these tensors: {listed}; {why}",
        f"choose with {' or '.join(f'--arch {name}' for name in names)}, or pass --arch file.py:factory",
        tuple(names),
    )


def _sentence(why: str) -> str:
    return f"Network and preprocessing were not compared with others: {why}."
