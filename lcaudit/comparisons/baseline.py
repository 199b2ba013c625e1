"""A committed file of figures that a network is held against, and how it may move.

One line for each layer × metric, so that a difference in git shows what changed. It moves on evidence only: a value
is replaced by a better one when :mod:`~lcaudit.comparisons.engine` calls the new one improved, and by a worse one
when somebody says so and why. Keeping the best value ever seen instead would turn an unchanged network red sooner or
later, by noise alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase

from lcaudit.comparisons.engine import comparison, figure_of, judge, matched, stored, unpaired_ratio
from lcaudit.comparisons.fingerprint import differences, fingerprint
from lcaudit.core import serial
from lcaudit.core.comparison import Baseline, Change, Comparison, Entry, Subject
from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.gate import with_baseline
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.metrics import BY_ID, COMPARED, Metric
from lcaudit.core.outcomes import Report
from lcaudit.core.text import display_name, one_line

SCHEMA_ID = "urn:lcaudit:baseline:1"
SCHEMA_VERSION = "1.0"
REFRESH = (
    "measure it anew: `lcaudit baseline create MODEL --data DATA --force --file FILE`, with the options of this run"
)
#: Digits that are kept: far below any interval.
_DIGITS = 6
_DRIFT = ("lcaudit", "torch", "numpy", "platform", "device", "threads")
_LAYER = re.compile(r'"layer"\s*:\s*("(?:[^"\\]|\\.)*")')


class NotComparable(UsageError):
    """A baseline of other data, another convention or another estimator: nothing is compared.

    Attributes:
        other_network: whether it is of another network, too.
    """

    def __init__(self, message: str, hint: str = "", *, other_network: bool = False) -> None:
        super().__init__(message, hint)
        self.other_network = other_network


def entries_of(measured: Measurements, metrics: Sequence[Metric] = COMPARED) -> tuple[Entry, ...]:
    """Every figure of every layer that has one."""
    weights = measured.checkpoint.sha256[:12]
    made = (entry(name, one, metric, weights) for name, one in matched(measured).items() for metric in metrics)
    return tuple(one for one in made if one is not None)


def entry(name: str, layer: LayerSpectra, metric: Metric, checkpoint: str = "") -> Entry | None:
    """One figure as a file keeps it; ``None`` where the layer has none. ``name``: under which it is compared."""
    figure = figure_of(metric, layer)
    if figure is None:
        return None
    quantity = figure.quantity
    return Entry(
        layer=name,
        metric=metric.id,
        value=_short(quantity.value),
        low=None if quantity.low is None else _short(quantity.low),
        high=None if quantity.high is None else _short(quantity.high),
        n=quantity.n,
        rank=figure.rank,
        dimension=figure.dimension,
        level=quantity.level,
        degrees=quantity.degrees,
        scale="log" if quantity.scale == "log" else "linear",
        reliable=quantity.reliable,
        checkpoint=checkpoint,
    )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value


def create(measured: Measurements) -> Baseline:
    """A baseline of this network as it is.

    Raises:
        UsageError: nothing was measured.
    """
    if not measured.layers:
        raise UsageError("nothing was measured, so there is nothing to keep", "see what `lcaudit check` says of it")
    return Baseline(
        schema=SCHEMA_ID,
        schema_version=SCHEMA_VERSION,
        subject=_subject(measured),
        measurement=fingerprint(measured),
        environment=_environment(measured),
        entries=entries_of(measured),
    )


def _subject(measured: Measurements) -> Subject:
    return Subject(measured.checkpoint.name, measured.checkpoint.sha256, measured.network.title)


def _environment(measured: Measurements) -> dict[str, str]:
    return {name: str(getattr(measured.environment, name)) for name in _DRIFT}


def against(measured: Measurements, baseline: Baseline) -> Comparison:
    """The network held against a baseline.

    Raises:
        NotComparable: the baseline was measured in another way.
    """
    differing = differences(baseline.measurement, fingerprint(measured))
    if differing:
        then, now = baseline.subject.title, measured.network.title
        whose = f"it is of {display_name(then, 80)}, and this is {display_name(now, 80)}; " if then != now else ""
        raise NotComparable(
            f"the baseline cannot be compared: {whose}something else was measured: {one_line(differing)}", REFRESH,
            other_network=then != now,
        )  # fmt: skip
    layers = matched(measured)
    kept = {(one.layer, one.metric): one for one in baseline.entries if one.metric in BY_ID}
    order = [(name, metric.id) for name in layers for metric in COMPARED]
    pairs = []
    for layer, metric_id in dict.fromkeys([*order, *kept]):
        metric = BY_ID[metric_id]
        old = stored(kept[layer, metric_id]) if (layer, metric_id) in kept else None
        new = figure_of(metric, layers[layer]) if layer in layers else None
        if old or new:
            pairs.append((layer, metric, old, new, unpaired_ratio(old, new) if old and new else None))
    changes, family = judge(pairs)
    return comparison("baseline", baseline.subject, measured, changes, family, tuple(_notes(measured, baseline)))


def _notes(measured: Measurements, baseline: Baseline) -> list[str]:
    """Another machine or library, which may move figures by rounding."""
    now = _environment(measured)
    moved = [f"{name} {display_name(then, 40)}, now {display_name(now[name], 40)}"
             for name, then in baseline.environment.items() if now.get(name, then) != then]  # fmt: skip
    return [f"Measured elsewhere than the baseline: {'; '.join(moved)}."] if moved else []


def hold(report: Report, baseline: Baseline) -> Report:
    """``report`` with its comparison with a baseline, which has a say in the gate."""
    found = against(report.measurements, baseline)
    return replace(report, baseline=found, gate=with_baseline(report.gate, found))


def update(
    measured: Measurements, baseline: Baseline, accept: Sequence[str] = (), reason: str = ""
) -> tuple[Baseline, Comparison, tuple[Change, ...]]:
    """The baseline moved as far as there is evidence.

    Improved figures and new ones take the new value, worse ones only where ``accept`` names the layer; scales, which
    are not judged, follow where nothing worse is left. All else stays, also what was not measured.

    Args:
        accept: names of layers whose worse values are taken, ``*`` for anything. reason: why; kept with them.

    Returns:
        the new baseline, the comparison, and the changes that moved an entry.

    Raises:
        UsageError: another measurement (see :func:`against`); ``accept`` without a reason, or naming nothing worse.
    """
    if accept and not reason.strip():
        raise UsageError("--accept-worse needs --reason", "say in a few words why the worse value is right")
    found = against(measured, baseline)
    worse = found.having("worse")
    for pattern in accept:
        if not any(fnmatchcase(change.layer, pattern) for change in worse):
            named = one_line([*dict.fromkeys(change.layer for change in worse)]) or "none"
            raise UsageError(f"--accept-worse {display_name(pattern)}: no such layer is worse", f"worse: {named}")
    accepted = [change for change in worse if any(fnmatchcase(change.layer, pattern) for pattern in accept)]
    moving = {"improved", "new"}
    if len(accepted) == len(worse):  # else figures of a network that is not accepted would be mixed in
        moving |= {"larger", "smaller"}
    taken = tuple(
        change
        for change in found.changes
        if change.after is not None and (change.state in moving or change in accepted)
    )
    fresh = {(one.layer, one.metric): one for one in entries_of(measured)}
    kept = {(one.layer, one.metric): one for one in baseline.entries}
    for change in taken:
        place = change.layer, change.metric
        kept[place] = replace(fresh[place], accepted=reason.strip() if change.state == "worse" else "")
    if not taken:
        return baseline, found, ()
    order = dict.fromkeys([*(place for place in fresh if place in kept), *kept])
    moved = replace(
        baseline,
        subject=_subject(measured),
        environment=_environment(measured),
        entries=tuple(kept[place] for place in order),
    )
    return moved, found, taken


def prune(measured: Measurements, baseline: Baseline) -> tuple[Baseline, tuple[str, ...]]:
    """The baseline without layers that the network does not have, and their names.

    Raises:
        UsageError: another measurement, or only some layers were measured: nothing is known of the others then.
    """
    found = against(measured, baseline)
    if found.asked:
        raise UsageError("--layers measures some layers only, so the others would be dropped", "prune without --layers")
    gone = {(change.layer, change.metric) for change in found.changes if change.state == "gone"}
    entries = tuple(one for one in baseline.entries if (one.layer, one.metric) not in gone)
    return replace(baseline, entries=entries), tuple(dict.fromkeys(layer for layer, _ in sorted(gone)))


def dump(baseline: Baseline) -> str:
    """The file's text: one line for each layer × metric, whatever their length."""
    head = asdict(baseline)
    lines = [json.dumps(serial.plain(one), ensure_ascii=True, allow_nan=False) for one in baseline.entries]
    del head["entries"]
    parts = json.dumps(head, ensure_ascii=True, indent=1).removesuffix("\n}")
    return f'{parts},\n "entries": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read(text: str | bytes) -> Baseline:
    """The baseline that :func:`dump` wrote.

    Raises:
        MalformedInput: not strict JSON, not a baseline, or one of another major version.
    """
    hint = "give a file that `lcaudit baseline create` wrote"
    try:
        data = serial.parse_json(text)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_ID:
            raise MalformedInput("not a baseline of this lcaudit", hint)
        found = serial.load(Baseline, data)
    except MalformedInput as error:
        raise MalformedInput(display_name(error.message, 400).replace("report", "baseline", 1), hint) from None
    twice = [one for i, one in enumerate(found.entries) if (one.layer, one.metric) in _places(found.entries[:i])]
    if twice:
        raise MalformedInput(f"{display_name(twice[0].layer)} has two entries of {display_name(twice[0].metric)}", hint)
    return found


def _places(entries: Sequence[Entry]) -> set[tuple[str, str]]:
    return {(one.layer, one.metric) for one in entries}


def anchors(text: str) -> dict[str, int]:
    """Layer → the line of the file's text, from 1, where its first entry stands: a place to point at."""
    found: dict[str, int] = {}
    line, end = 1, 0
    for match in _LAYER.finditer(text):
        line += text.count("\n", end, match.start())
        end = match.start()
        try:
            found.setdefault(json.loads(match.group(1)), line)
        except ValueError:  # an escape that is none; reading the file says so
            continue
    return found
