"""``--samples auto``: more samples until every verdict is decided.

Looking several times finds a wrong verdict more often than looking once. So all looks but the last demand
a stricter interval (Haybittle 1971; Peto et al. 1976): with ``EARLY_LEVEL`` a figure exactly at its limit
is judged wrongly in one early look with probability 1/20,000 on each side, and the last look is at the
level of every audit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lcaudit.core.convention import convention_of
from lcaudit.core.outcomes import Report

#: Coverage of the interval that must lie on one side of the limit for an early look to be the last.
EARLY_LEVEL = 0.9999
#: Samples of the first look; each further one takes twice as many, so that all together cost at most
#: twice the last.
FIRST = 250


def until_decided(audit: Callable[[int], Report], most: int) -> Report:
    """The report of the first look that decides every verdict, or of the last one possible.

    Args:
        audit: audits with so many samples, the first ones of an order that does not depend on their number.
        most: samples to spend at most.
    """
    looks: list[int] = []
    size = FIRST
    while True:
        report = audit(min(size, most))
        probe = report.measurements.probe
        looks.append(probe.samples)
        if decided(report) or probe.samples >= min(probe.available, most):
            break
        size *= 2
    settings = replace(report.measurements.settings, looks=tuple(looks))
    return replace(
        report, measurements=replace(report.measurements, settings=settings), convention=convention_of(settings)
    )


def decided(report: Report) -> bool:
    """Whether no check is undecided, not even at ``EARLY_LEVEL``."""
    limits = {rule.code: rule.limit.value for rule in report.rules}
    for check in report.checks:
        if check.status == "undecided":
            return False
        if check.status in ("pass", "fail") and check.measured is not None and check.measured.low is not None:
            ends = check.measured.at(EARLY_LEVEL)
            if ends is None or ends[0] <= limits[check.rule] < ends[1]:
                return False
    return True
