"""What a comparison of two networks, a baseline and a history hold; free of torch.

The dataclasses below *are* the files' schemas (:mod:`lcaudit.core.serial`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lcaudit.core.quantity import Quantity

Kind = Literal["paired", "baseline"]
State = Literal["worse", "improved", "unchanged", "undecided", "new", "gone", "larger", "smaller"]
#: The parts of how something was measured, in words.
PARTS = {
    "data": "the data",
    "normalisation": "the normalisation",
    "samples": "the number of samples",
    "indices": "the choice of samples",
    "dtype": "the precision",
    "convention": "the convention",
    "fisher": "the labels of the Fisher",
    "mc_samples": "the number of label draws",
    "task": "the task",
    "ignore_index": "the ignored class index",
    "batch_size": "the batch size",
    "seed": "the seed",
    "layers": "the layers asked for",
    "estimator": "the version of the estimators",
}
STATES: tuple[State, ...] = ("worse", "undecided", "improved", "unchanged", "new", "gone", "larger", "smaller")


@dataclass(frozen=True, slots=True)
class Entry:
    """One layer × metric as a file keeps it, on one line.

    Attributes:
        metric: ``id`` of a :class:`~lcaudit.core.metrics.Metric`.
        value, low, high, level, degrees, n, reliable: of the :class:`~lcaudit.core.quantity.Quantity`.
        scale: on which the interval is even: ``log`` or ``linear``.
        rank, dimension: directions above the floor and side of the matrix behind it; 0 where there is none.
        checkpoint: beginning of the SHA-256 of the weights that it was measured on.
        accepted: why a worse value was taken, where one was; else ``""``.
    """

    layer: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    rank: int = 0
    dimension: int = 0
    level: float = 0.95
    degrees: int = 0
    scale: Literal["log", "linear"] = "log"
    reliable: bool = True
    checkpoint: str = ""
    accepted: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that was measured: name and digest of its file, and which network it is."""

    name: str
    sha256: str
    title: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a network is held against.

    Attributes:
        subject: the network of the latest change of the file.
        measurement: how the entries were measured; figures of another are not compared.
        environment: versions and machine of the latest change: a difference is named, not refused.
        entries: in order of execution.
    """

    schema: str
    schema_version: str
    subject: Subject
    measurement: Mapping[str, str]
    environment: Mapping[str, str]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One layer × metric before and after.

    Attributes:
        state: ``worse`` and ``improved`` lie beyond the corrected interval and the margin; ``larger`` and ``smaller``
            are the same of a figure of which neither is bad; ``undecided``: a figure is not reliable; ``new`` and
            ``gone``: only on one side.
        ratio: after / before with its 95 % interval. low, high: ends of the corrected one.
        reason: why it is undecided, new or gone, and anything else to know; else ``""``.
    """

    layer: str
    metric: str
    state: State
    judged: bool
    before: Quantity | None
    after: Quantity | None
    ratio: Quantity | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two networks, layer by layer.

    Attributes:
        kind: ``paired``, both measured on the same samples and label draws; ``baseline``, against stored figures.
        data: of the probe, in words. samples: used in each.
        alpha: chance, at most, of calling any unchanged figure worse. comparisons: how many it is divided by.
        margin: relative change below which nothing is worse or improved. margin_source: where that comes from.
        changes: in order of execution, those that are gone last. notes: what else to know, a sentence each.
        asked: patterns of the layers that were asked for; none for all.
    """

    kind: Kind
    before: Subject
    after: Subject
    data: str
    samples: int
    alpha: float
    comparisons: int
    margin: float
    margin_source: str
    changes: tuple[Change, ...]
    measurement: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def having(self, state: State) -> tuple[Change, ...]:
        """Judged changes with this state."""
        return tuple(change for change in self.changes if change.judged and change.state == state)

    @property
    def worst(self) -> tuple[Change, ...]:
        """What is worse, the largest change first."""
        return tuple(sorted(self.having("worse"), key=lambda change: -change.ratio.value if change.ratio else 0.0))

    @property
    def level(self) -> float:
        """Coverage of the corrected interval: ``alpha`` over ``comparisons`` is left out on each side."""
        return 1 - 2 * self.alpha / max(1, self.comparisons)

    @property
    def detectable(self) -> float | None:
        """The median over judged figures of the smallest factor that would have been called worse."""
        reaches = sorted(
            max(math.sqrt(change.high / change.low), 1 + self.margin)
            for change in self.changes
            if change.judged and change.low and change.high
        )
        return reaches[len(reaches) // 2] if reaches else None

    @property
    def by_layer(self) -> dict[str, tuple[Change, ...]]:
        """Changes of each layer, in order."""
        found: dict[str, list[Change]] = {}
        for change in self.changes:
            found.setdefault(change.layer, []).append(change)
        return {layer: tuple(changes) for layer, changes in found.items()}


@dataclass(frozen=True, slots=True)
class Point:
    """One checkpoint of a history, on one line.

    Attributes:
        key: of the weights and of how they were measured; the same key is never measured twice.
        measurement: digest of how it was measured: points that differ in it are not shown together.
        step: the last number in the checkpoint's name; ``None`` where it has none.
        settings: what ``measurement`` is the digest of.
    """

    key: str
    measurement: str
    name: str
    sha256: str
    step: int | None
    title: str
    data: str
    samples: int
    settings: Mapping[str, str]
    entries: tuple[Entry, ...]
