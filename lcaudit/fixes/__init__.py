"""What would mend a finding: one file per fix, each with what it does, costs, and is computed to gain.

To add a fix is to add one file that defines ``FIX``, a :class:`lcaudit.fixes._base.Remedy`.
"""

from __future__ import annotations

import math

from lcaudit.core import plugins
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Finding, Fix
from lcaudit.fixes._base import FREE, Plan, Remedy, Study, best_gain

__all__ = ["Plan", "Remedy", "Study", "propose", "remedies"]

#: Gains that differ by less than this factor are as good as equal: then the cost decides.
_ALIKE = 1.1
#: Advice precedes what changes the network: a wrong cause could be hidden by it.
_SAFEST_FIRST = ("safe", "display", "unsafe")


def remedies() -> dict[str, Remedy]:
    """Every fix by its id."""
    return {remedy.id: remedy for remedy in plugins.load_all(__name__, "FIX")}


def propose(finding: Finding, measurements: Measurements) -> tuple[Fix, ...]:
    """Every fix that applies to ``finding``, by gain and by cost.

    What needs no training again comes first; then the larger gain; of gains that are about equal, what is safer, takes
    fewer operations and adds fewer parameters.
    """
    candidates = (
        remedy.propose(finding, measurements) for remedy in remedies().values() if finding.rule in remedy.mends
    )
    fixes = [fix for fix in candidates if fix is not None]
    return tuple(sorted(fixes, key=_rank))


def _rank(fix: Fix) -> tuple[bool, int, int, float, int, str]:
    gain, price = best_gain(fix), fix.price or FREE
    class_ = round(math.log(gain) / math.log(_ALIKE)) if 0 < gain < math.inf else 0
    operations = math.inf if price.operations is None else price.operations
    safety = _SAFEST_FIRST.index(fix.applicability)
    return price.retraining, -class_, safety, operations, price.parameters, fix.id
