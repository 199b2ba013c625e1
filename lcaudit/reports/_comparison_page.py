"""What the page of a comparison shows, in order; the report's page shows the same of its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from lcaudit.core import figures as numbers
from lcaudit.core.comparison import Change, Comparison
from lcaudit.core.metrics import COMPARED
from lcaudit.core.outcomes import Limit
from lcaudit.core.quantity import Quantity
from lcaudit.reports import _comparison_words as words
from lcaudit.reports._profile import Series, profile

#: Rows of the first table; the rest is folded away below.
_MOST = 40
#: Rows of the table behind the plots; a page of more would be slow to open.
_MOST_ROWS = 2000
_PRIMER = f"{words.KAPPA}, so a larger κ is worse. It does not say how well the model predicts."
HEADINGS = ("Layer", "Figure", "", "Before", "After", "After / before", "95 % interval", "Corrected interval")


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot over depth, with what it shows."""

    title: str
    note: str
    plot: Markup


def view(comparison: Comparison) -> Mapping[str, Any]:
    """Everything that the templates read; text in it is as it came, the template escapes."""
    told, state = words.told(comparison), words.outcome(comparison)
    rows = tuple(words.row(change, comparison) for change in comparison.changes)
    return {
        "comparison": comparison,
        "word": words.WORDS[comparison.kind][state],
        "tone": words.TONES[state],
        "sentence": words.sentence(comparison),
        "primer": _PRIMER,
        "facts": words.facts(comparison),
        "statistics": _statistics(comparison),
        "told": tuple(words.row(change, comparison) for change in told[:_MOST]),
        "more": max(0, len(told) - _MOST),
        "panels": panels(comparison),
        "rows": rows[:_MOST_ROWS],
        "rows_left": max(0, len(rows) - _MOST_ROWS),
        "headings": HEADINGS,
        "undecided": (*words.undecided(comparison), *words.not_comparable(comparison)),
        "method": words.method(comparison),
        "measurement": words.measured(comparison.measurement),
        "sides": ("base", "head") if comparison.kind == "paired" else ("the baseline", "now"),
    }


def _statistics(comparison: Comparison) -> tuple[tuple[str, str, str], ...]:
    said = words.WORDS[comparison.kind]
    tiles = [
        (said[state].capitalize(), str(len(comparison.having(state))), "")
        for state in ("worse", "improved", "unchanged")
    ]
    tiles[2] = (tiles[2][0], tiles[2][1], "no change was shown")
    apart = len(comparison.having("new")) + len(comparison.having("gone"))
    least = comparison.detectable
    return (
        *tiles,
        ("Undecided", str(len(comparison.having("undecided"))), "with reasons below"),
        ("On one side only", str(apart), "nothing to compare with"),
        ("Smallest change seen", f"{numbers.number(least)}×" if least else "none", "in half of the figures"),
    )


def panels(comparison: Comparison) -> tuple[Panel, ...]:
    """κ_80 of Σ_x on both sides first, then the change of every judged figure, layer by layer."""
    names = tuple(comparison.by_layer)
    found = {(change.layer, change.metric): change for change in comparison.changes}
    shown = []
    for metric in COMPARED:
        if metric.role != "judged":
            continue
        changes = [found.get((name, metric.id)) for name in names]
        worse = frozenset(i for i, change in enumerate(changes) if change and change.state == "worse")
        if not shown:
            sides = _sides(comparison, changes)
            plot = profile(metric.title, sides, names, worse, height=320, detailed=True)
            if plot is None:
                continue
            marks = (
                "full marks HEAD, rings BASE" if comparison.kind == "paired" else "full marks now, rings the baseline"
            )
            note = f"How lopsided each layer's input is: {marks} where it lies elsewhere; triangles have grown worse."
            shown.append(Panel(f"{metric.title}, before and after", note, plot))
        ratios = Series(f"change of {metric.title}", tuple(_corrected(change) for change in changes))
        places = tuple(range(len(names)))
        edges = [(Limit(edge, "×", ""), places) for edge in (1 + comparison.margin, 1 / (1 + comparison.margin))]
        plot = profile(f"Change of {metric.title}", [ratios], names, worse, edges, 180)
        if plot is not None:
            margin = numbers.percent(comparison.margin, 0)
            note = f"After / before with its corrected interval. Dashed: the margin of {margin}."
            shown.append(Panel(f"Change of {metric.title}", note, plot))
    return tuple(shown)


def _sides(comparison: Comparison, changes: list[Change | None]) -> list[Series]:
    second, first = ("in HEAD", "in BASE") if comparison.kind == "paired" else ("now", "in the baseline")
    after = Series(f"κ_80 {second}", tuple(change.after if change else None for change in changes))
    before = Series(f"κ_80 {first}", tuple(change.before if change else None for change in changes), hollow=True)
    return [before, after]


def _corrected(change: Change | None) -> Quantity | None:
    """The ratio with its corrected interval; none where it is undecided."""
    if change is None or change.ratio is None or change.low is None:
        return None
    return replace(change.ratio, low=change.low, high=change.high)
