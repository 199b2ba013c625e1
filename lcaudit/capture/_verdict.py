"""From readings' distances to a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lcaudit.capture._trial import GROUPS, Hypothesis, Method
from lcaudit.core.identification import HypothesisScore, Identification
from lcaudit.core.quantity import Quantity
from lcaudit.core.statistics import student_t
from lcaudit.core.types import Network, Preprocessing

#: What was declared or identified is contradicted only by a reading this many times better.
CONTRADICTS = 2.0
#: Coverage of the interval of a difference between two readings that must not hold 0.
LEVEL = 0.99
#: A reading that is this many times worse needs no more samples.
WORSE = 5.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A reading with its squared distances, float64 [1 + G], and how many samples they come from."""

    hypothesis: Hypothesis
    squares: torch.Tensor
    samples: int

    @property
    def score(self) -> float:
        """The distance; 0 where it is below its own noise."""
        return math.sqrt(max(0.0, float(self.squares[0])))

    def ratio(self, judged: Sequence[Judged], method: Method) -> float:
        """To the best one's, where that is not below the method's resolution."""
        return _ratio(self, _best(judged), method)

    @property
    def reading(self) -> tuple[int, Preprocessing]:
        """Network and preprocessing; the augmentation only helps to compare."""
        return id(self.hypothesis.network), self.hypothesis.preprocessing


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision. ``preprocessing``: the one to use in place of the probe's own, or ``None`` to leave it."""

    network: Network
    network_known: bool
    preprocessing: Preprocessing | None
    record: Identification


def open_to_chance(judged: Sequence[Judged], method: Method) -> bool:
    """Whether a reading is as much worse than the best as it takes, but not beyond chance."""
    best = _best(judged)
    return any(
        _ratio(one, best, method) >= method.limit and not _differ(one, best) for one in judged if one is not best
    )


def decide(
    judged: Sequence[Judged],
    method: Method,
    taken: tuple[Network, Preprocessing],
    unknown: tuple[str, ...],
    confidence: str,
    passes: int,
) -> Verdict:
    """Decide between readings; see ``docs/identification.md`` for the rules and where their limits come from.

    Args:
        taken: the reading that stands if nothing speaks against it. unknown: what was open before.
        confidence: of the probe's preprocessing.
    """
    best, *rivals = sorted(judged, key=lambda one: float(one.squares[0]))
    clear = {one.reading: _ratio(one, best, method) >= method.limit and _differ(one, best) for one in rivals}
    here = [one for one in rivals if one.hypothesis.network is best.hypothesis.network]
    elsewhere = [one for one in rivals if one not in here]
    fits = math.isfinite(best.score) and best.score <= method.fits
    network_known = fits and all(clear[one.reading] for one in elsewhere)
    base = next((one for one in judged if one.reading == (id(taken[0]), taken[1])), best)
    own = next((one for one in judged if one.reading == (id(best.hypothesis.network), taken[1])), None)
    kept = own is best or (own is not None and not clear[own.reading])
    network = best.hypothesis.network if network_known else taken[0]
    decision: Literal["agrees", "chosen by probe", "contradicted", "ambiguous"]
    preprocessing: Preprocessing | None = None
    limit = method.limit
    if not math.isfinite(best.score):
        decision = "ambiguous"
        reason = "No reading could be run on the probe"
    elif not fits:
        decision = "ambiguous"
        reason = (
            f"No reading reproduces what training left: the best is off by {best.score:.2g}, and one that fits by "
            f"{method.fits:g} at most. Other data, other augmentation, averaged weights or an unknown preprocessing "
            "do that"
        )
    elif not rivals:
        decision = "agrees"
        reason = (
            f"What was {_known(confidence)} fits: it is off by {best.score:.2g}, up to {method.agrees:g} needs no "
            "comparison"
        )
    elif "preprocessing" in unknown or "network" in unknown:
        settled = all(clear[one.reading] for one in here)
        decision = "chosen by probe" if network_known and settled else "ambiguous"
        if settled and "preprocessing" in unknown and network_known:
            preprocessing = best.hypothesis.preprocessing
        reason = _compared(best, rivals, method) if decision != "ambiguous" else _close(best, rivals, clear, method)
        if network_known and "preprocessing" not in unknown and not kept:
            limit = CONTRADICTS
            decision = "contradicted" if confidence == "declared" else "chosen by probe"
            preprocessing = None if confidence == "declared" else best.hypothesis.preprocessing
            if own is not None and _ratio(own, best, method) < CONTRADICTS:
                decision, preprocessing = "ambiguous", None
            else:
                reason = f"What was {_known(confidence)} does not fit: {_against(own or base, best, method)}"
    elif kept:
        decision = "agrees"
        reason = f"What was {_known(confidence)} fits as well as anything else: {_compared(best, rivals, method)}"
    elif _ratio(base, best, method) < CONTRADICTS:
        decision = "ambiguous"
        reason = _close(best, rivals, clear, method)
        limit = CONTRADICTS
    else:
        decision = "contradicted" if confidence == "declared" else "chosen by probe"
        limit = CONTRADICTS
        preprocessing = None if confidence == "declared" else best.hypothesis.preprocessing
        reason = f"What was {_known(confidence)} does not fit: {_against(base, best, method)}"
    used = (id(network), preprocessing or taken[1])
    scores = tuple(
        _record(one, best, method, one.reading == used, clear.get(one.reading, False)) for one in (best, *rivals)
    )
    record = Identification(method.name, decision, unknown, f"{reason}.", scores, limit, best.samples, passes)
    return Verdict(network, network_known, preprocessing, record)


def _best(judged: Sequence[Judged]) -> Judged:
    return min(judged, key=lambda one: float(one.squares[0]))


def _known(confidence: str) -> str:
    return "declared" if confidence == "declared" else "identified"


def _compared(best: Judged, rivals: Sequence[Judged], method: Method) -> str:
    ratio = _ratio(rivals[0], best, method)
    return (
        f"{_words(best)} is off by {best.score:.2g}, the next best ({_words(rivals[0])}) by {rivals[0].score:.2g}, "
        f"×{ratio:.1f}"
    )


def _against(taken: Judged, best: Judged, method: Method) -> str:
    """What does not fit, before what does."""
    return (
        f"{_words(taken)} is off by {taken.score:.2g}, the best ({_words(best)}) by {best.score:.2g}, "
        f"×{_ratio(taken, best, method):.1f}"
    )


def _close(best: Judged, rivals: Sequence[Judged], clear: dict[tuple[int, Preprocessing], bool], method: Method) -> str:
    near = [one for one in rivals if not clear[one.reading]]
    listed = "; ".join(f"{_words(one)} ×{_ratio(one, best, method):.2g}" for one in near[:3])
    return f"{_words(best)} fits best, off by {best.score:.2g}, but others cannot be told from it: {listed}"


def _words(one: Judged) -> str:
    return f"{one.hypothesis.network.record.title}, {one.hypothesis.preprocessing.title}"


def _ratio(one: Judged, best: Judged, method: Method) -> float:
    resolution = method.resolution or math.sqrt(_error(best.squares[1:]))
    floor = max(best.score, resolution)
    return max(one.score, resolution) / floor if floor else (1.0 if not one.score else math.inf)


def _differ(one: Judged, best: Judged) -> bool:
    """Whether their squared distances differ beyond chance, on the same samples."""
    if not math.isfinite(float(one.squares[0])):
        return True
    difference = one.squares - best.squares
    return float(difference[0]) > student_t(GROUPS - 1, LEVEL) * _error(difference[1:])


def _error(replicates: torch.Tensor) -> float:
    """Standard error by the grouped jackknife."""
    groups = len(replicates)
    return float(((groups - 1) / groups * (replicates - replicates.mean()).square().sum()).sqrt())


def _record(one: Judged, best: Judged, method: Method, used: bool, clear: bool) -> HypothesisScore:
    square = float(one.squares[0])
    reach = student_t(GROUPS - 1) * _error(one.squares[1:]) if math.isfinite(square) else math.inf
    score = Quantity(
        one.score,
        "1",
        math.sqrt(max(0.0, square - reach)) if math.isfinite(square) else None,
        math.sqrt(max(0.0, square + reach)) if math.isfinite(square) else None,
        method=f"grouped jackknife over {GROUPS} groups of samples, sampling noise subtracted",
        n=one.samples,
        degrees=GROUPS - 1,
        reliable=math.isfinite(square) and math.isfinite(reach),
    )
    hypothesis = one.hypothesis
    return HypothesisScore(
        hypothesis.network.record.title,
        hypothesis.preprocessing.title,
        hypothesis.augmentation,
        score,
        _ratio(one, best, method),
        clear,
        used,
    )
