"""From outcomes to a verdict and an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from lcaudit.core.comparison import Comparison
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import SEVERITIES, Check, Finding, Gate
from lcaudit.core.text import count, one_line

FailOn = Literal["error", "warning", "info", "never"]
STATUSES = ("fail", "pass", "undecided", "skip", "crash")

EXIT_PASS, EXIT_FINDINGS, EXIT_NO_VERDICT, EXIT_INCOMPLETE = 0, 1, 2, 3
Verdict = Literal["pass", "fail", "incomplete"]
EXIT_CODES: dict[Verdict, int] = {"pass": EXIT_PASS, "fail": EXIT_FINDINGS, "incomplete": EXIT_INCOMPLETE}


def gate(
    findings: Sequence[Finding], checks: Sequence[Check], measured: Measurements, fail_on: FailOn, min_coverage: float
) -> Gate:
    """Judge a run. Findings at or above ``fail_on`` fail; a check that did not run makes it incomplete, and so
    do checks of which some are undecided and none is decided: nothing is known then.

    Args:
        min_coverage: share of parameters that must sit in audited layers, 0 to 1.
    """
    counts = Counter(check.status for check in checks)
    blocking = [] if fail_on == "never" else [f for f in findings if _rank(f.severity) <= _rank(fail_on)]
    reasons = []
    if counts["crash"]:
        reasons.append(f"{count(counts['crash'], 'check')} crashed")
    if not measured.layers:
        reasons.append("no layer was measured")
    elif measured.coverage < min_coverage:
        reasons.append(
            f"{measured.coverage:.2%} of the parameters were audited, --min-coverage asks for {min_coverage:.2%}"
        )
    if counts["undecided"] and not counts["pass"] + counts["fail"]:
        reasons.append(
            f"nothing could be decided: {count(counts['undecided'], 'check')} undecided, none passed or failed; use "
            "more samples, or select more rules"
        )
    qualified = _qualifications(measured)
    verdict: Verdict = "fail" if blocking else "incomplete" if reasons else "pass"
    if blocking:
        reasons.insert(0, f"{count(len(blocking), 'finding')} at or above --fail-on {fail_on}")
    return Gate(
        fail_on=fail_on,
        min_coverage=min_coverage,
        coverage=measured.coverage,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        reasons=(*reasons, *qualified),
        counts={name: counts[name] for name in STATUSES},
    )


def _qualifications(measured: Measurements) -> list[str]:
    """What a verdict rests on that was assumed and that the probe did not confirm: no verdict is free of it."""
    found = measured.identification
    if found is None or not found.open or found.decision not in ("ambiguous", "not tested"):
        return []
    taken = {
        "network": measured.network.title,
        "preprocessing": f"normalisation {measured.probe.normalisation.source}",
    }
    said = "; ".join(taken.get(part, part) for part in found.open)
    why = "the probe does not tell it from others" if found.decision == "ambiguous" else "it could not be tested"
    return [f"rests on an assumption, {why}: {said}"]


def with_baseline(before: Gate, found: Comparison) -> Gate:
    """The gate once a baseline has had its say: a worse figure fails it; a layer of the baseline that was not measured,
    or no figure that could be compared, makes it incomplete."""
    worse, gone = found.worst, {change.layer for change in found.having("gone")}
    places = list(dict.fromkeys(change.layer for change in worse))
    failed = f"{count(len(worse), 'figure')} worse than the baseline: {one_line(places, 3)}"
    open_ = []
    if gone and not found.asked:
        open_.append(
            f"{count(len(gone), 'layer')} of the baseline not measured: {one_line(sorted(gone), 3)}; if the network "
            "has changed, `lcaudit baseline prune` drops what it no longer has"
        )
    if not found.comparisons:
        open_.append("no figure could be compared with the baseline")
    verdict: Verdict = "fail" if worse or before.verdict == "fail" else "incomplete" if open_ else before.verdict
    reasons = [*([failed] if worse else []), *before.reasons, *open_]
    return replace(before, verdict=verdict, exit_code=EXIT_CODES[verdict], reasons=tuple(reasons))


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)  # type: ignore[arg-type]  # it is one of them
