"""What an audit would do, and what it would cost: the result of a dry run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedMoment:
    """How one second moment would be kept.

    Attributes:
        name: ``Σ_x`` or ``Σ_g``. form: ``sums``, ``rows``, ``sketch``, ``counts`` or ``shared`` with another layer.
        groups: of samples that are kept apart. side: of each of its blocks. rows: that the probe brings; 0 if unknown.
        nbytes: memory, exactly; for rows at most. operations: floating-point ones, to form it.
        eigenvalue_operations: about so many, for its eigenvalues.
    """

    name: str
    form: str
    groups: int
    side: int
    rows: int
    nbytes: int
    operations: int
    eigenvalue_operations: int


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One layer. ``why``: in words, where its forms are not the usual ones; ``refused``: why it is not measured."""

    name: str
    kind: str
    inputs: int
    outputs: int
    groups: int
    moments: tuple[PlannedMoment, ...] = ()
    why: str = ""
    refused: str = ""

    @property
    def nbytes(self) -> int:
        """Memory of its moments."""
        return sum(one.nbytes for one in self.moments)

    @property
    def operations(self) -> int:
        """Floating-point operations of its moments and their eigenvalues."""
        return sum(one.operations + one.eigenvalue_operations for one in self.moments)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: floating-point operations, memory at its height in bytes, and about how many seconds it takes here."""

    name: str
    operations: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What an audit would do.

    Attributes:
        samples, batch_size: of the probe. max_memory: bytes that the moments may take.
        seconds: of all stages, from a calibration on this machine. calibration: what that was, in words.
    """

    model: str
    network: str
    probe: str
    samples: int
    batch_size: int
    device: str
    max_memory: int
    layers: tuple[PlannedLayer, ...]
    stages: tuple[Stage, ...]
    calibration: str

    @property
    def nbytes(self) -> int:
        """Memory of all moments."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)
