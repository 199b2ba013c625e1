"""Is a figure worse than it was? The one place that decides.

Figures are compared on a logarithmic scale. Their change has a standard error, which comes from

* *paired* measurements, both networks on the same samples with the same label draws: the delete-a-group jackknife of
  the difference of logarithms, G − 1 degrees of freedom. What is hard about a sample is hard for both and drops out.
* *stored* figures: each one's own, read back from its interval, log(high / low) / 2 t(level, degrees), added in
  squares; degrees of freedom after Welch (1947) and Satterthwaite (1946), rounded down.

A figure is *worse* if two things hold. Its corrected interval lies beyond no change: of coverage 1 − 2 α / m for m
comparisons (Bonferroni), so that the chance that any of m unchanged figures is called worse is at most α, whatever
their correlations. And the change itself exceeds a margin. *Improved* is the same the other way round; all else is
*unchanged*, by which is meant that no change was shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lcaudit.comparisons.fingerprint import differences, fingerprint
from lcaudit.core.comparison import Change, Comparison, Entry, Kind, State, Subject
from lcaudit.core.errors import UsageError
from lcaudit.core.figures import grouped, percent
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.metrics import COMPARED, Metric
from lcaudit.core.quantity import MOST_DEGREES, Quantity
from lcaudit.core.statistics import quantile
from lcaudit.core.text import count, one_line

#: Chance, at most, that an unchanged network has any figure called worse.
ALPHA = 0.01
#: Relative change below which nothing is worse or improved.
MARGIN = 0.10
MARGIN_SOURCE = (
    "a tenth more κ is a tenth more steps of gradient descent; asv, which gates benchmarks, asks for a factor of 1.1"
)
#: Two bias corrections that differ by less, in the logarithm, agree well enough whatever the standard error.
SMALL = 0.02
#: κ_p is over p per cent of the rank: the index moves by less than one place while ranks differ by no more than this.
RANK_SHARE, RANK_STEPS = 0.02, 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One side of a comparison: a metric's quantity, the rank and side of its matrix, its replicates if kept."""

    quantity: Quantity
    rank: int = 0
    dimension: int = 0
    left_out: tuple[float, ...] = ()


def figure_of(metric: Metric, layer: LayerSpectra) -> Figure | None:
    """The metric's figure of a layer, ``None`` where the layer has none."""
    quantity = metric.of(layer)
    if quantity is None or not math.isfinite(quantity.value):
        return None
    factor = metric.factor(layer) if metric.factor else None
    kept = layer.replicates.get(metric.id, ())
    return Figure(quantity, factor.rank if factor else 0, factor.dimension if factor else 0, kept)


def name_of(layer: LayerSpectra, measured: Measurements) -> str:
    """The name under which the layer is compared: the one that it had before a recipe moved it."""
    return measured.network.former_names.get(layer.layer.name, layer.layer.name)


def matched(measured: Measurements) -> dict[str, LayerSpectra]:
    """Layers by the names under which they are compared."""
    return {name_of(one, measured): one for one in measured.layers}


def stored(entry: Entry) -> Figure:
    """The figure that an entry of a file keeps."""
    quantity = Quantity(
        entry.value, "1", entry.low, entry.high, entry.level, "stored", entry.n,
        reliable=entry.reliable, scale=entry.scale, degrees=entry.degrees,
    )  # fmt: skip
    return Figure(quantity, entry.rank, entry.dimension)


def standard_error(quantity: Quantity) -> tuple[float, int] | None:
    """Standard error of the logarithm and its degrees of freedom (0: normal), read back from the interval.

    ``None`` where there is none, or the interval does not lie on the positive side.
    """
    if quantity.method == "exact":
        return 0.0, 0
    low, high = quantity.low, quantity.high
    if low is None or high is None or not 0 < low <= high < math.inf or not 0 < quantity.level < 1:
        return None
    degrees = min(max(0, quantity.degrees), MOST_DEGREES)
    return math.log(high / low) / 2 / quantile(quantity.level, degrees), degrees


def unpaired_ratio(before: Figure, after: Figure) -> Quantity | None:
    """After / before from two independent figures."""
    errors = standard_error(before.quantity), standard_error(after.quantity)
    if errors[0] is None or errors[1] is None or min(before.quantity.value, after.quantity.value) <= 0:
        return None
    squares = [(error * error, degrees) for error, degrees in (errors[0], errors[1])]
    total = sum(square for square, _ in squares)
    uncertain = sum(square * square / degrees for square, degrees in squares if degrees)
    degrees = max(1, int(total * total / uncertain + 1e-9)) if uncertain > 0 else 0
    log = math.log(after.quantity.value / before.quantity.value)
    return _ratio(log, math.sqrt(total), degrees, min(before.quantity.n, after.quantity.n), "from both intervals")


def paired_ratio(before: Figure, after: Figure) -> Quantity | None:
    """After / before on the same groups of samples; ``None`` where replicates are missing or do not match."""
    groups = len(before.left_out)
    if groups < 2 or len(after.left_out) != groups or min(before.quantity.value, after.quantity.value) <= 0:
        return None
    gaps = [now - then for then, now in zip(before.left_out, after.left_out, strict=True)]
    middle = sum(gaps) / groups
    error = math.sqrt((groups - 1) / groups * sum((gap - middle) ** 2 for gap in gaps))
    log = math.log(after.quantity.value / before.quantity.value)
    doubt = abs(log - math.log(after.quantity.raw / before.quantity.raw))  # what correcting the bias has moved
    words = f"paired, jackknife over {groups} groups of samples"
    return _ratio(log, max(error, min(doubt, SMALL)), groups - 1, after.quantity.n, words)


def _ratio(log: float, error: float, degrees: int, n: int, method: str) -> Quantity:
    reach = quantile(0.95, degrees) * error
    ends = (math.exp(max(-700.0, log - reach)), math.exp(min(700.0, log + reach)))
    return Quantity(math.exp(log), "×", *ends, method=method, n=n, scale="log", degrees=degrees)


def judge(pairs: Sequence[tuple[str, Metric, Figure | None, Figure | None, Quantity | None]]) -> tuple[
    tuple[Change, ...], int
]:  # fmt: skip
    """States of all pairs (layer, metric, before, after, ratio), and over how many comparisons α was divided."""
    usable = [_refusal(before, after, ratio) == "" for _, _, before, after, ratio in pairs]
    family = sum(one for one, (_, metric, *_) in zip(usable, pairs, strict=True) if metric.role == "judged")
    level = 1 - 2 * ALPHA / max(1, family)
    return tuple(
        _change(layer, metric, before, after, ratio, level) for layer, metric, before, after, ratio in pairs
    ), family


def _refusal(before: Figure | None, after: Figure | None, ratio: Quantity | None) -> str:
    """Why two figures cannot be told apart or taken for equal, or ``""``."""
    if before is None or after is None:
        return "only one side has it"
    for side, one in (("before", before), ("now", after)):
        if not one.quantity.reliable:
            return f"the figure {side} is not reliable at {count(one.quantity.n, 'sample')}"
    return "" if ratio is not None else "a figure has no interval"


def _other_rank(before: Figure, after: Figure) -> bool:
    """Whether the ranks differ so much that κ_p stands at another place."""
    return abs(before.rank - after.rank) > max(RANK_STEPS, RANK_SHARE * before.rank)


def _reshaped(before: Figure, after: Figure) -> str:
    """Why the figures are of matrices that have nothing to do with each other, or ``""``.

    Where as many directions lie above the floor, only such that hold nothing came or went, as when dead features are
    dropped: no figure is about those.
    """
    if before.dimension == after.dimension or (after.rank and not _other_rank(before, after)):
        return ""
    return (
        f"its dimension changed from {before.dimension} to {after.dimension}, and its rank from {before.rank} to "
        f"{after.rank}"
    )


def _change(
    layer: str, metric: Metric, before: Figure | None, after: Figure | None, ratio: Quantity | None, level: float
) -> Change:
    judged = metric.role == "judged"
    sides = (before.quantity if before else None, after.quantity if after else None)
    if before is None or after is None:
        reason = "not in what it is compared with" if before is None else "not measured now"
        return Change(layer, metric.id, "new" if before is None else "gone", judged, *sides, reason=reason)
    reshaped = _reshaped(before, after)
    if reshaped:
        return Change(layer, metric.id, "new", judged, *sides, reason=reshaped)
    reason = _refusal(before, after, ratio)
    if reason or ratio is None:
        return Change(layer, metric.id, "undecided", judged, *sides, ratio, reason=reason)
    ends = ratio.at(level)
    assert ends is not None, "it has an interval"
    state: State = "unchanged"
    if ends[0] > 1 and ratio.value > 1 + MARGIN:
        state = "worse" if judged else "larger"
    elif ends[1] < 1 and ratio.value < 1 / (1 + MARGIN):
        state = "improved" if judged else "smaller"
    elif ends[0] > 1 or ends[1] < 1:
        reason = f"a change, but smaller than the margin of {percent(MARGIN, 0)}"
    fell = before.rank - after.rank
    if _other_rank(before, after) and metric.factor and "kappa" in metric.id:
        reason = f"κ is over {after.rank} directions now, {before.rank} before"
        # fewer directions make κ smaller by themselves, more make it larger
        if (state == "improved" and fell > 0) or (state == "worse" and fell < 0):
            state = "undecided"
    return Change(layer, metric.id, state, judged, *sides, ratio, *ends, reason=reason)


def paired(before: Measurements, after: Measurements) -> Comparison:
    """Two networks measured on the same samples with the same label draws, layers matched by name.

    Raises:
        UsageError: they were measured in different ways, on different data, or on other samples of it.
    """
    differing = [
        words for words in differences(fingerprint(before), fingerprint(after)) if not words.startswith("the normalis")
    ]
    if (before.probe.indices, before.probe.seed) != (after.probe.indices, after.probe.seed):
        differing.append("the choice of samples")
    if differing:
        raise UsageError(
            f"the two networks were not measured alike: {one_line(differing)}",
            "measure both on the same data with the same options; --task NAME settles the task of both",
        )
    notes = []
    if _inputs(before) != _inputs(after):
        notes.append(
            "The networks normalise their inputs differently, each in its own way; that is part of the change."
        )
    sides = [matched(measured) for measured in (before, after)]
    names = list(dict.fromkeys([*sides[1], *sides[0]]))
    pairs = []
    for name in names:
        for metric in COMPARED:
            old, new = (figure_of(metric, side[name]) if name in side else None for side in sides)
            if old or new:
                ratio = (paired_ratio(old, new) or unpaired_ratio(old, new)) if old and new else None
                pairs.append((name, metric, old, new, ratio))
    changes, family = judge(pairs)
    return comparison("paired", subject(before), after, changes, family, tuple(notes))


def _inputs(measured: Measurements) -> tuple[object, ...]:
    return measured.probe.normalisation.mean, measured.probe.normalisation.std, measured.probe.shape


def subject(measured: Measurements) -> Subject:
    """Which network was measured."""
    return Subject(measured.checkpoint.name, measured.checkpoint.sha256, measured.network.title)


def comparison(
    kind: Kind, before: Subject, after: Measurements, changes: tuple[Change, ...], family: int, notes: tuple[str, ...]
) -> Comparison:
    """The whole, with what it rests on."""
    probe = after.probe
    return Comparison(
        kind=kind,
        before=before,
        after=subject(after),
        data=f"{probe.dataset}/{probe.split}, {grouped(probe.samples)} of {count(probe.available, 'sample')}",
        samples=probe.samples,
        alpha=ALPHA,
        comparisons=family,
        margin=MARGIN,
        margin_source=MARGIN_SOURCE,
        changes=changes,
        measurement=fingerprint(after),
        notes=notes,
        asked=after.settings.layers,
    )
