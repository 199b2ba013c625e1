"""What would mend a finding: one file per fix, each with what it does, costs, and is computed to gain.

To add a fix is to add one file that defines ``FIX``, a :class:`lcaudit.fixes._base.Remedy`.
"""

from __future__ import annotations

from lcaudit.core import plugins
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.fixes._base import Plan, Remedy, Study, best_gain

__all__ = ["Plan", "Remedy", "Study", "propose", "remedies"]

#: Advice precedes what changes the network: a wrong cause could be hidden by it.
_SAFEST_FIRST = ("safe", "display", "unsafe")


def remedies() -> dict[str, Remedy]:
    """Every fix by its id."""
    return {remedy.id: remedy for remedy in plugins.load_all(__name__, "FIX")}


def propose(finding: Finding, measurements: Measurements) -> tuple[Fix, ...]:
    """Every fix that applies to ``finding``: largest gain first, then the safer one."""
    candidates = (
        remedy.propose(finding, measurements) for remedy in remedies().values() if finding.rule in remedy.mends
    )
    fixes = [fix for fix in candidates if fix is not None]
    return tuple(sorted(fixes, key=lambda fix: (-best_gain(fix), _SAFEST_FIRST.index(fix.applicability), fix.id)))
