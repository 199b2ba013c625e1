"""What the probe says of network and preprocessing: which readings were compared, and the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lcaudit.core.quantity import Quantity


@dataclass(frozen=True, slots=True)
class HypothesisScore:
    """How well one reading of the checkpoint fits the probe; smaller is better.

    Attributes:
        network: title. preprocessing: in words. augmentation: with which the score was smallest.
        score: see :class:`Identification`; 0 where it is below its own noise.
        ratio: of this score to the best one, which counts as no less than the method's resolution.
        clear: whether the two differ beyond chance, on the same samples.
        used: whether the audit measured with this reading.
    """

    network: str
    preprocessing: str
    augmentation: str
    score: Quantity
    ratio: float
    clear: bool
    used: bool


@dataclass(frozen=True, slots=True)
class Identification:
    """What the probe says of network and preprocessing.

    Attributes:
        method: ``batch-norm replay`` or ``gradient stationarity`` (see ``docs/identification.md``).
        decision: ``agrees`` (what was declared or identified fits), ``chosen by probe``, ``contradicted`` (what was
            declared does not fit, another reading does, and the audit measured what was declared), ``ambiguous``
            or ``not tested``.
        open: what was not known before: ``network``, ``preprocessing``, both or nothing.
        reason: one sentence. scores: best first; the finalists only.
        limit: ratio from which a reading counts as worse.
        samples: behind each final score. passes: samples run forward in all.
    """

    method: str
    decision: Literal["agrees", "chosen by probe", "contradicted", "ambiguous", "not tested"]
    open: tuple[str, ...]
    reason: str
    scores: tuple[HypothesisScore, ...] = ()
    limit: float = 0.0
    samples: int = 0
    passes: int = 0
