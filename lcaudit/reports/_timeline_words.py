"""What a reader asks of a timeline first, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lcaudit.core import figures as numbers
from lcaudit.core.comparison import Entry, Point
from lcaudit.core.metrics import BY_ID, METRICS, Metric
from lcaudit.core.text import count, display_name

#: The figure that is told of first.
LEADING = "input.kappa_80"


@dataclass(frozen=True, slots=True)
class Course:
    """One metric of every layer over the points: ``entries`` by layer, ``None`` where a point has none."""

    metric: Metric
    entries: Mapping[str, tuple[Entry | None, ...]]


def courses(points: Sequence[Point]) -> tuple[Course, ...]:
    """By metric, in the order of the registry; layers in order of execution at the last point."""
    names = list(dict.fromkeys(entry.layer for point in reversed(points) for entry in point.entries))
    held = [{(entry.layer, entry.metric): entry for entry in point.entries} for point in points]
    found = []
    for metric in METRICS:
        rows = {name: tuple(one.get((name, metric.id)) for one in held) for name in names}
        rows = {name: row for name, row in rows.items() if any(row)}
        if rows:
            found.append(Course(metric, rows))
    return tuple(found)


def label(point: Point) -> str:
    """A point as the head of a column: its step, or its name."""
    return numbers.grouped(point.step) if point.step is not None else display_name(point.name, 24)


def stepped(points: Sequence[Point]) -> bool:
    """Whether all have steps, and no two the same one: else points stand side by side in order."""
    steps = [point.step for point in points]
    return None not in steps and len(set(steps)) == len(steps)


def number(entry: Entry | None) -> str:
    """The figure, ``?`` where it is not reliable, a dash where there is none."""
    if entry is None:
        return "–"
    return numbers.number(entry.value) + ("" if entry.reliable else " ?")


def ends(row: Sequence[Entry | None]) -> tuple[Entry, Entry] | None:
    """First and last figure that are reliable; ``None`` where there are no two."""
    known = [entry for entry in row if entry and entry.reliable and entry.value > 0 and math.isfinite(entry.value)]
    return (known[0], known[-1]) if len(known) > 1 else None


def moved(course: Course) -> list[tuple[str, Entry, Entry]]:
    """Layers with both ends, the one that rose most leading."""
    found = [(name, *pair) for name, row in course.entries.items() if (pair := ends(row))]
    return sorted(found, key=lambda one: -one[2].value / one[1].value)


def sentence(points: Sequence[Point]) -> str:
    """What happened over training, in one sentence or two; names are not yet escaped."""
    known = {course.metric.id: course for course in courses(points)}
    span = f"{count(len(points), 'checkpoint')}, {'steps ' if stepped(points) else ''}{label(points[0])} to "
    span += label(points[-1])
    changes = moved(known[LEADING]) if LEADING in known else []
    if not changes:
        return f"{span}: κ_80 of Σ_x is not reliable at two of them in any layer; more samples may do."
    rose = [one for one in changes if one[2].value > one[1].value]
    fell = [one for one in reversed(changes) if one[2].value < one[1].value]
    said = [f"{words} in {_told(one[0])}" for words, one in (("most", rose), ("most", fell)) if one]
    title = BY_ID[LEADING].title
    told = f"{span}. From the first to the last, {title} rose in {len(rose)} of {count(len(changes), 'layer')}"
    told += f", {said[0]}" if rose else ""
    told += f", and fell in {len(fell)}" + (f", {said[-1]}" if fell else "")
    return f"{told}. {_peak(known[LEADING], points)}"


def _told(one: tuple[str, Entry, Entry]) -> str:
    name, first, last = one
    return f"“{name}”, {numbers.number(first.value)} → {numbers.number(last.value)} ({_times(first, last)})"


def _peak(course: Course, points: Sequence[Point]) -> str:
    """The largest reliable figure of all."""
    found = [
        (entry.value, name, place)
        for name, row in course.entries.items()
        for place, entry in enumerate(row)
        if entry and entry.reliable and math.isfinite(entry.value)
    ]
    value, name, place = max(found)
    at = f"step {label(points[place])}" if stepped(points) else label(points[place])
    return f"It was largest in “{name}”, {numbers.number(value)} at {at}."


def _times(first: Entry, last: Entry) -> str:
    return f"{numbers.number(last.value / first.value)}×"


def note(points: Sequence[Point], others: int) -> str:
    """What is not shown."""
    said = [f"{count(others, 'checkpoint')} of the history measured in another way, not shown here."] if others else []
    if not stepped(points):
        said.append("Not every name has a number of its own, so checkpoints stand side by side in order of name.")
    return " ".join(said)
