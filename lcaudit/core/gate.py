"""From outcomes to a verdict and an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import SEVERITIES, Check, Finding, Gate
from lcaudit.core.text import count

FailOn = Literal["error", "warning", "info", "never"]
STATUSES = ("fail", "pass", "undecided", "skip", "crash")

EXIT_PASS, EXIT_FINDINGS, EXIT_NO_VERDICT, EXIT_INCOMPLETE = 0, 1, 2, 3
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


def gate(
    findings: Sequence[Finding], checks: Sequence[Check], measured: Measurements, fail_on: FailOn, min_coverage: float
) -> Gate:
    """Judge a run. Findings at or above ``fail_on`` fail; a check that did not run makes it incomplete.

    Args:
        min_coverage: share of parameters that must sit in audited layers, 0 to 1.
    """
    counts = Counter(check.status for check in checks)
    blocking = [] if fail_on == "never" else [f for f in findings if _rank(f.severity) <= _rank(fail_on)]
    missing = []
    if counts["crash"]:
        missing.append(f"{count(counts['crash'], 'check')} crashed")
    if not measured.layers:
        missing.append("no layer was measured")
    elif measured.coverage < min_coverage:
        missing.append(
            f"{measured.coverage:.1%} of the parameters were audited, --min-coverage asks for {min_coverage:.1%}"
        )
    verdict: Literal["pass", "fail", "incomplete"] = "pass"
    reasons = tuple(missing)
    code = EXIT_PASS
    if blocking:
        verdict, code = "fail", EXIT_FINDINGS
        reasons = (f"{count(len(blocking), 'finding')} at or above --fail-on {fail_on}", *missing)
    elif missing:
        verdict, code = "incomplete", EXIT_INCOMPLETE
    return Gate(
        fail_on, min_coverage, measured.coverage, verdict, code, reasons, {name: counts[name] for name in STATUSES}
    )


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)  # type: ignore[arg-type]
