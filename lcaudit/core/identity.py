"""What names and shapes say about which network a file holds, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lcaudit.core.measurements import Evidence


@dataclass(frozen=True, slots=True)
class Rival:
    """Another network that the same names and shapes admit.

    Attributes:
        arch: what ``--arch`` takes to choose it. differs: what tells it from the others, in words.
    """

    arch: str
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Recognition:
    """Which network names and shapes belong to.

    Attributes:
        confidence: ``declared`` by a configuration that the shapes bear out, ``identified``, ``assumed`` where
            public code with the same tensors computes another function, ``ambiguous`` or ``unknown``.
        arch: what ``--arch`` takes for it; empty where it is ambiguous or unknown.
        title: in words. classes: width of the output, 0 if unknown or without a head.
        input_shape: of one input, without the batch; empty if unknown.
        rivals: networks that have the same tensors and compute another function.
        hint: what to do next.
    """

    confidence: Literal["declared", "identified", "assumed", "ambiguous", "unknown"]
    title: str
    arch: str = ""
    classes: int = 0
    input_shape: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    rivals: tuple[Rival, ...] = ()
    hint: str = ""

    @property
    def recognised(self) -> bool:
        """Whether it is one network."""
        return self.confidence not in ("ambiguous", "unknown")


@dataclass(frozen=True, slots=True)
class Identity:
    """A checkpoint as a file, and which network it is.

    Attributes:
        name: base name. container: kind of file. size: bytes. tensors, numbers: how many.
        dtypes: tensors by stored type. unwrapped: prefixes and counters that were undone, in words.
    """

    name: str
    container: str
    size: int
    tensors: int
    numbers: int
    dtypes: Mapping[str, int]
    unwrapped: tuple[str, ...]
    network: Recognition
