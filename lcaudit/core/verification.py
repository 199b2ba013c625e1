"""What became of fixes that were applied and measured again; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lcaudit.core.quantity import Quantity


@dataclass(frozen=True, slots=True)
class AppliedFix:
    """A fix that was made.

    Attributes:
        fix, layers: its id, and the layers it changed, by their names in the original network.
        answers: id of the finding that it answers; ``""`` where it was asked for by name.
        applicability: as in :class:`lcaudit.core.outcomes.Fix`.
        what: what was done, one sentence.
        logits_probe, logits_held_out: largest change of the outputs that this fix made, relative to their
            largest absolute value; the second is ``None`` without held-out samples.
        error_before, error_after: on held-out samples, where they decided.
    """

    fix: str
    layers: tuple[str, ...]
    answers: str
    applicability: Literal["safe", "unsafe", "display"]
    what: str
    logits_probe: float
    logits_held_out: float | None
    error_before: Quantity | None = None
    error_after: Quantity | None = None


@dataclass(frozen=True, slots=True)
class RefusedFix:
    """A fix that was proposed or asked for and not made, and why; errors as in :class:`AppliedFix`."""

    fix: str
    layers: tuple[str, ...]
    answers: str
    reason: str
    error_before: Quantity | None = None
    error_after: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """One figure of a changed layer, each evaluated on the same samples without correction of bias.

    Attributes:
        layer: its name in the original network; ``after_name``: in the changed one.
        predicted: computed from the original network's moments; ``None`` where the function changes.
    """

    layer: str
    after_name: str
    metric: str
    before: float
    predicted: float | None
    measured: float


@dataclass(frozen=True, slots=True)
class OpenCheck:
    """A check that the samples did not decide, so that nothing was mended, its estimate being beyond the limit.

    Attributes:
        needed: about how many samples would do; ``None`` where that is not known.
    """

    rule: str
    layer: str
    measured: Quantity
    reason: str
    needed: int | None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What the samples that measured did not decide.

    Attributes:
        samples: how many measured. try_samples: with how many to try again; ``None`` where the data has too few, or
            nobody knows how many would do.
    """

    samples: int
    checks: tuple[OpenCheck, ...] = ()
    try_samples: int | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of the fixes: the original network against the changed one, read back from its file.

    Attributes:
        source, source_sha256: the checkpoint that was changed.
        samples, held_out: how many measured and chose, and how many others only judged.
        logits_probe, logits_held_out: as in :class:`AppliedFix`, all fixes together.
        tolerance: largest change that a ``safe`` fix may make.
        gradient_change: largest |Σ_g after − Σ_g predicted| relative to the largest entry, over the changed
            layers; for a fix that keeps Σ_g that is its change. ``None`` where nothing could be predicted.
        error_*, loss_*: of the network before and after, on both halves; ``None`` without labels.
        gone, left: ids of findings before that are not, or still, there after.
        new: ids of findings that only the changed network has.
        unsettled: what could not be mended because the samples did not decide it.
    """

    source: str
    source_sha256: str
    samples: int
    held_out: int
    applied: tuple[AppliedFix, ...]
    refused: tuple[RefusedFix, ...]
    figures: tuple[Verified, ...]
    logits_probe: float
    logits_held_out: float | None
    tolerance: float
    gradient_change: float | None
    error_probe_before: Quantity | None
    error_probe_after: Quantity | None
    error_held_out_before: Quantity | None
    error_held_out_after: Quantity | None
    loss_probe_before: Quantity | None
    loss_probe_after: Quantity | None
    loss_held_out_before: Quantity | None
    loss_held_out_after: Quantity | None
    gone: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unsettled: Unsettled | None = None
