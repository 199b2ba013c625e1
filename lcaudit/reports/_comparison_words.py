"""What a reader asks of a comparison first, the same in every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lcaudit.core import figures as numbers
from lcaudit.core import serial
from lcaudit.core.comparison import PARTS, Change, Comparison, State
from lcaudit.core.errors import AuditError
from lcaudit.core.metrics import BY_ID
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, one_line

#: States in the words of `diff` and of a baseline, in the order in which they are told.
WORDS: dict[str, dict[State, str]] = {
    "paired": {
        "worse": "regressed", "improved": "improved", "unchanged": "within noise", "undecided": "undecided",
        "new": "only in HEAD", "gone": "only in BASE", "larger": "larger", "smaller": "smaller",
    },
    "baseline": {
        "worse": "worse", "improved": "improved", "unchanged": "unchanged", "undecided": "undecided", "new": "new",
        "gone": "not measured", "larger": "larger", "smaller": "smaller",
    },
}  # fmt: skip
#: Of a figure that has a value on both sides, of matrices that are not the same.
NOT_COMPARABLE = "not comparable"
#: What the figures are about, for a reader who has never met one.
KAPPA = (
    "κ, the condition number, says how lopsided what a layer reads is (Σ_x), or its gradient (Σ_g): how many times "
    "more it varies along its strongest direction than along a weak one. Gradient descent needs steps about in "
    "proportion to κ"
)
#: Told before all others, and listed without being asked for.
_TOLD: tuple[State, ...] = ("worse", "improved", "larger", "smaller", "gone", "new")
#: The verdict's class on a page and on a terminal.
TONES = {"worse": "fail", "improved": "pass", "unchanged": "pass", "undecided": "incomplete"}


@dataclass(frozen=True, slots=True)
class Row:
    """One layer × metric in words."""

    layer: str
    figure: str
    before: str
    after: str
    change: str
    interval: str
    corrected: str
    state: State
    word: str
    reason: str


def measured(parts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """How something was measured, part by part; the digests of data and samples stand for what was read."""
    return tuple(
        (PARTS.get(part, part).removeprefix("the ").capitalize(), _said(part, value)) for part, value in parts.items()
    )


def _said(part: str, value: str) -> str:
    if part in ("data", "indices"):
        return f"SHA-256 {value}"
    if part == "layers":
        return value or "all"
    if part != "normalisation":
        return value
    try:
        shape, mean, std = ([format(float(one), "g") for one in values] for values in serial.parse_json(value))
    except (AuditError, TypeError, ValueError):
        return value  # a stranger's file may say anything
    done = f"mean {', '.join(mean)}, std {', '.join(std)}" if mean else "values as they are"
    return f"{' × '.join(shape)}, {done}"


def row(change: Change, comparison: Comparison) -> Row:
    """The change as a line of a table."""
    metric = BY_ID.get(change.metric)
    ratio = numbers.figure(change.ratio) if change.ratio else numbers.Figure("")
    corrected = ""
    if change.low is not None and change.high is not None:
        corrected = f"{numbers.number(change.low)} – {numbers.number(change.high)}"
    return Row(
        layer=change.layer,
        figure=metric.title if metric else change.metric,
        before=_value(change.before),
        after=_value(change.after),
        change=ratio.value,
        interval=ratio.interval,
        corrected=corrected,
        state=change.state,
        word=_word(change, comparison),
        reason=change.reason,
    )


def _word(change: Change, comparison: Comparison) -> str:
    """The state; a figure that has a value on both sides is not called new to the network."""
    if change.state == "new" and change.before is not None:
        return NOT_COMPARABLE
    return WORDS[comparison.kind][change.state]


def _value(quantity: Quantity | None) -> str:
    return numbers.figure(quantity).value + ("" if quantity.reliable else " ?") if quantity else ""


def told(comparison: Comparison) -> tuple[Change, ...]:
    """What changed, worst first: all that is not plainly unchanged or undecided."""
    shown = [change for change in comparison.changes if change.state in _TOLD]

    def rank(change: Change) -> tuple[int, float]:
        return _TOLD.index(change.state), -(change.ratio.value if change.ratio else 0.0)

    return tuple(sorted(shown, key=rank))


def counts(comparison: Comparison) -> str:
    """``1 regressed, 0 improved, 31 within noise, 4 undecided`` figures that are judged."""
    found = Counter(_word(change, comparison) for change in comparison.changes if change.judged)
    always: tuple[State, ...] = ("worse", "improved", "unchanged", "undecided")
    words = WORDS[comparison.kind]
    told = [word for state, word in words.items() if state in always or found[word]]
    told += [NOT_COMPARABLE] if found[NOT_COMPARABLE] else []
    return ", ".join(f"{found[word]} {word}" for word in told)


def outcome(comparison: Comparison) -> State:
    """The state that the whole is in."""
    states: tuple[State, ...] = ("worse", "improved")
    for state in states:
        if comparison.having(state):
            return state
    return "unchanged" if comparison.comparisons else "undecided"


def sentence(comparison: Comparison) -> str:
    """What came out, in one sentence; names from files are not yet escaped."""
    state = outcome(comparison)
    found = comparison.having(state) if state in ("worse", "improved") else ()
    if state == "undecided":
        return "Nothing could be compared: no figure is reliable on both sides."
    if not found:
        least = comparison.detectable
        seen = f"; half of the figures would have shown one by {numbers.number(least)}×" if least else ""
        return f"No change was shown in {count(comparison.comparisons, 'comparison')}{seen}."
    layers = list(dict.fromkeys(change.layer for change in sorted(found, key=_size)))
    word = WORDS[comparison.kind][state]
    extremes = sorted(found, key=_size)
    first = row(extremes[0], comparison)
    return (
        f"{count(len(found), 'figure')} {word}, in {one_line([f'“{layer}”' for layer in layers], 3)}; most of all "
        f"{first.figure} in “{first.layer}”, {first.before} → {first.after}, {first.change} ({first.interval})."
    )


def _size(change: Change) -> float:
    """So that the largest change either way leads."""
    value = change.ratio.value if change.ratio and change.ratio.value > 0 else 1.0
    return -max(value, 1 / value)


def undecided(comparison: Comparison) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Reasons why figures are undecided, each with its places."""
    return _by_reason(comparison.having("undecided"), comparison)


def not_comparable(comparison: Comparison) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Likewise of figures that have a value on both sides, of matrices that are not the same."""
    both = tuple(change for change in comparison.changes if change.state == "new" and change.before is not None)
    return _by_reason(both, comparison)


def _by_reason(changes: Sequence[Change], comparison: Comparison) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for change in changes:
        found.setdefault(change.reason, []).append(f"{change.layer} ({row(change, comparison).figure})")
    return tuple((reason, tuple(places)) for reason, places in found.items())


def method(comparison: Comparison) -> tuple[str, ...]:
    """How it was decided, a sentence each."""
    pairing = (
        "Both networks saw the same samples, and labels were drawn with the same random numbers: what is hard about a "
        "sample is hard for both and drops out. The change of a figure is that of its logarithm; its standard error "
        "comes from leaving out each of the groups of samples in both networks at once."
        if comparison.kind == "paired"
        else "The change of a figure is that of its logarithm; its standard error is that of both figures, read back "
        "from their intervals and added in squares, with degrees of freedom after Welch and Satterthwaite."
    )
    words = WORDS[comparison.kind]
    return (
        pairing,
        f"A figure counts as {words['worse']} if two things hold: its corrected interval lies wholly above no change, "
        f"and the change exceeds {numbers.percent(comparison.margin, 0)}. The corrected interval leaves out "
        f"{numbers.percent(comparison.alpha, 0)} divided by the {count(comparison.comparisons, 'comparison')} on each "
        f"side (Bonferroni), so that an unchanged network has any figure called {words['worse']} at most once in "
        f"{round(1 / comparison.alpha)} runs.",
        f"Where the margin comes from: {comparison.margin_source}.",
        f"“{words['unchanged'].capitalize()}” says that no change was shown, not that there is none; the intervals say "
        "how large one could be. λmax is shown, but neither direction of it is judged: it moves with the scale of "
        "weights, which a normalisation makes arbitrary.",
    )


def facts(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """What was compared."""
    first = "Base" if comparison.kind == "paired" else "Baseline"
    second = "Head" if comparison.kind == "paired" else "Now"
    shared = (
        "the same samples and label draws for both"
        if comparison.kind == "paired"
        else "the same data, other samples or the same"
    )
    return (
        (first, f"{comparison.before.name}, {comparison.before.title}"),
        (f"{first}, SHA-256", comparison.before.sha256),
        (second, f"{comparison.after.name}, {comparison.after.title}"),
        (f"{second}, SHA-256", comparison.after.sha256),
        ("Probe", f"{comparison.data}; {shared}"),
    )


def titles(changes: Sequence[Change]) -> tuple[str, ...]:
    """Metrics that occur, in the order of the registry."""
    seen = {change.metric for change in changes}
    return tuple(metric for metric in BY_ID if metric in seen)
