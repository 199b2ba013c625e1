"""Does an unchanged network keep its verdicts? Many audits of one network on different random probes.

    python benchmarks/calm.py --runs 100 --samples 400 --output benchmarks/results/calm.json

By default the network that ships with lcaudit, on random subsets of its 797 test images. A *flip* is one
check (rule × layer) that passes on one probe and fails on another; to and from ``undecided`` is no flip.
Beside what happened: what would have, had verdicts looked at the 95 % interval that reports show; and the
same in the worst case, the limit of each figure moved to where the network itself stands (the median of
its values). Subsets of one set overlap, so this is milder than 100 independent probes would be.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lcaudit
from lcaudit.core.outcomes import Check, Report
from lcaudit.core.quantity import VERDICT_LEVEL, Quantity
from lcaudit.demo import WEIGHTS

SHOWN_LEVEL = 0.95


def flips(statuses: Iterable[str]) -> bool:
    """Whether a check both passed and failed."""
    return {"pass", "fail"} <= set(statuses)


def side(quantity: Quantity, limit: float, level: float) -> str:
    """The verdict on a figure of which less is better, looking at its interval at ``level``."""
    ends = quantity.at(level)
    if not quantity.reliable or ends is None or math.isnan(quantity.value):
        return "undecided"
    return "pass" if ends[1] <= limit else "fail" if ends[0] > limit else "undecided"


def tally(reports: list[Report]) -> list[dict[str, Any]]:
    """For each rule × layer: how often each status came up, and the figure's range."""
    limits = {rule.code: rule.limit.value for rule in reports[0].rules}
    checks: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for report in reports:
        for check in report.checks:
            checks[check.rule, check.layer].append(check)
    lines: list[dict[str, Any]] = []
    for (rule, layer), seen in checks.items():
        statuses = Counter(check.status for check in seen)
        figures = [check.measured for check in seen if check.measured is not None]
        line: dict[str, Any] = {"rule": rule, "layer": layer, "statuses": dict(sorted(statuses.items()))}
        line["flips"] = flips(statuses)
        values = sorted(figure.value for figure in figures if math.isfinite(figure.value))
        if values:
            line |= {"least": values[0], "median": values[len(values) // 2], "most": values[-1]}
        if any(figure.low is not None for figure in figures):
            narrow = Counter(side(figure, limits[rule], SHOWN_LEVEL) for figure in figures)
            line["limit"] = limits[rule]
            line["statuses at 95 %"] = dict(sorted(narrow.items()))
            line["flips at 95 %"] = flips(narrow)
            line["worst case"] = worst_case(figures)
        lines.append(line)
    return lines


def worst_case(figures: list[Quantity]) -> dict[str, dict[str, int]] | None:
    """Statuses at both levels with the limit at the median of the reliable figures; ``None`` if there are none."""
    values = sorted(figure.value for figure in figures if figure.reliable)
    if not values:
        return None
    middle = values[len(values) // 2]
    return {
        f"{100 * level:g} %": dict(sorted(Counter(side(figure, middle, level) for figure in figures).items()))
        for level in (SHOWN_LEVEL, VERDICT_LEVEL)
    }


def worst_flips(lines: list[dict[str, Any]]) -> dict[str, int]:
    """How many checks flip in the worst case, by level; ``checks`` is how many could."""
    cases = [case for line in lines if (case := line.get("worst case"))]
    levels = [f"{100 * level:g} %" for level in (SHOWN_LEVEL, VERDICT_LEVEL)]
    return {"checks": len(cases)} | {level: sum(flips(case[level]) for case in cases) for level in levels}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "calm.json")
    options = parser.parse_args()
    started, reports = time.perf_counter(), []
    for seed in range(options.runs):
        reports.append(lcaudit.audit(options.model, options.data, samples=options.samples, seed=seed, device="cpu"))
        print(f"{seed + 1} of {options.runs}: {reports[-1].gate.verdict}", flush=True)
    lines = tally(reports)
    flipped = [line for line in lines if line["flips"]]
    narrow = [line for line in lines if line.get("flips at 95 %")]
    first = reports[0].measurements
    document = {
        "what": "verdicts of one unchanged network on different random probes",
        "environment": asdict(first.environment),
        "model": {"name": first.checkpoint.name, "sha256": first.checkpoint.sha256},
        "probe": {"dataset": first.probe.dataset, "available": first.probe.available, "samples": first.probe.samples},
        "runs": options.runs,
        "verdict_level": VERDICT_LEVEL,
        "gates": dict(Counter(report.gate.verdict for report in reports)),
        "checks": len(lines),
        "flips": len(flipped),
        "flips at 95 %": len(narrow),
        "flips in the worst case": worst_flips(lines),
        "seconds": round(time.perf_counter() - started, 1),
        "results": lines,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    print(f"\n{len(lines)} checks, {options.runs} probes of {first.probe.samples} samples: {len(flipped)} flip")
    for line in flipped:
        print(f"  {line['rule']} {line['layer']}: {line['statuses']}")
    print(f"had verdicts looked at the 95 % interval: {len(narrow)}")
    for line in narrow:
        print(f"  {line['rule']} {line['layer']}: {line['statuses at 95 %']}")
    print(f"with every limit where the network stands: {worst_flips(lines)}")


if __name__ == "__main__":
    main()
