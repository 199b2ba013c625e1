"""Which readings of the checkpoint were compared with the probe, the same in every format."""

from __future__ import annotations

from lcaudit.core import figures as numbers
from lcaudit.core.identification import HypothesisScore
from lcaudit.core.outcomes import Report
from lcaudit.core.text import count

HEADINGS = ("Network", "Preprocessing", "Augmentation", "Off by", "95 % interval", "To the best", "Decision")


def told(report: Report) -> str:
    """The decision in a sentence or two; ``""`` where nothing was compared."""
    found = report.measurements.identification
    if found is None:
        return ""
    if not found.scores:
        return found.reason
    tried = f" ({found.method}, {count(found.samples, 'sample')})"
    return f"{found.decision}{tried}: {found.reason}"


def unsettled(report: Report) -> str:
    """The same where the probe left it open, which no finding says; else ``""``."""
    found = report.measurements.identification
    return told(report) if found is not None and found.decision == "ambiguous" else ""


def rows(report: Report) -> tuple[tuple[str, ...], ...]:
    """One row for each reading, best first, under ``HEADINGS``."""
    found = report.measurements.identification
    if found is None:
        return ()
    return tuple(
        (
            one.network,
            one.preprocessing,
            one.augmentation,
            numbers.figure(one.score).value,
            numbers.figure(one.score).interval,
            f"×{numbers.number(one.ratio)}",
            _decision(one, place),
        )
        for place, one in enumerate(found.scores)
    )


def _decision(one: HypothesisScore, place: int) -> str:
    seen = "best" if place == 0 else "worse" if one.clear else "not told from the best"
    return f"{seen}, used" if one.used else seen
