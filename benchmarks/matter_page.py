"""``docs/does-it-matter.md`` and its plot, from the JSON that ``benchmarks/does_it_matter.py`` writes.

Figures, intervals and the words *better*, *worse* and *no difference shown* are computed from the JSON; only what
stands between ``BEGIN`` and ``END`` is written by hand, and kept when the page is written again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from markupsafe import Markup

from benchmarks.paper_plots import HEIGHT, NORMED, PLAIN, THIRD, legend, panel, standalone
from lcaudit.core.figures import number
from lcaudit.core.statistics import student_t
from lcaudit.reports._svg import LEFT, RIGHT, Scale, element, fitted, grid_lines, marker, ticks_below

Document = dict[str, Any]
PLOT = "does-it-matter.svg"
#: Where the part written by hand begins and ends.
BEGIN, END = "<!-- reading -->", "<!-- /reading -->"
COLOURS = {"plain": PLAIN, "centred": THIRD, "batch norm": NORMED, "whitened": "#2a7d3f"}
SHAPES = {"plain": "dot", "centred": "triangle", "batch norm": "ring", "whitened": "dot"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % interval; ``none``: the value that means no difference."""

    value: float
    low: float
    high: float
    none: float

    @property
    def verdict(self) -> str:
        """Above ``none`` is better."""
        return "better" if self.low > self.none else "worse" if self.high < self.none else "no difference shown"

    def __str__(self) -> str:
        return f"{number(self.value)} ({number(self.low)} – {number(self.high)})"


def resampled(values: Sequence[float], none: float) -> Estimate:
    """The first value, of the data as they are, ± t standard deviations of the others, of resampled data."""
    reach = student_t(len(values) - 2) * stdev(values[1:]) if len(values) > 2 else math.inf
    return Estimate(values[0], values[0] - reach, values[0] + reach, none)


def over_seeds(values: Sequence[float], none: float) -> Estimate:
    """Their mean with Student's interval."""
    reach = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(mean(values), mean(values) - reach, mean(values) + reach, none)


def cells(head: Document, variant: str, labels: str, optimiser: str, step: str) -> list[Document]:
    """One for each seed."""
    return [seed["variants"][variant][labels][optimiser][step] for seed in head["seeds"]]


def nearer(head: Document, variant: str, labels: str, optimiser: str, step: str) -> Estimate:
    """How many times nearer than the plain one to the optimal loss, paired by resample."""
    pairs = zip(
        cells(head, "plain", labels, optimiser, step), cells(head, variant, labels, optimiser, step), strict=True
    )
    logs = resampled([math.log(max(a["distance"], 1e-9) / max(b["distance"], 1e-9)) for a, b in pairs], 0)
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(min(700.0, logs.high)), 1.0)


def fewer_errors(head: Document, variant: str, labels: str, optimiser: str, step: str) -> Estimate:
    """Test error of the plain one less this one's, percentage points."""
    pairs = zip(
        cells(head, "plain", labels, optimiser, step), cells(head, variant, labels, optimiser, step), strict=True
    )
    return resampled([100 * (a["error"] - b["error"]) for a, b in pairs], 0.0)


def heads_table(heads: list[Document], labels: str, optimiser: str) -> list[str]:
    """Distances of the plain head, and how many times nearer the others are, by step."""
    variants = [name for name in COLOURS if name != "plain"]
    lines = [
        "| network | steps | plain: distance, nat | " + " | ".join(f"{name}: times nearer" for name in variants)
        + " | test error, plain − batch norm, points |",
        "| --- | --- | --- |" + " --- |" * len(variants) + " --- |",
    ]  # fmt: skip
    for head in heads:
        for step in head["seeds"][0]["variants"]["plain"][labels][optimiser]:
            plain = cells(head, "plain", labels, optimiser, step)[0]["distance"]
            gains = " | ".join(told(nearer(head, name, labels, optimiser, step)) for name in variants)
            error = fewer_errors(head, "batch norm", labels, optimiser, step)
            lines.append(f"| {head['checkpoint']} | {step} | {number(plain)} | {gains} | {error} |")
    return lines


def told(estimate: Estimate) -> str:
    """A ratio; of two distances that are both rounding, nothing."""
    if estimate.value > 100:
        return "more than 100"
    return f"{estimate}, {estimate.verdict}"


def given_table(heads: list[Document]) -> list[str]:
    """Training losses with the given labels, whose infimum is 0."""
    lines = [
        "| network | steps | " + " | ".join(COLOURS) + " |",
        "| --- | --- |" + " --- |" * len(COLOURS),
    ]
    for head in heads:
        for step in head["seeds"][0]["variants"]["plain"]["given labels"]["gradient descent"]:
            losses = []
            for name in COLOURS:
                each = [
                    max(0.0, one["distance"]) for one in cells(head, name, "given labels", "gradient descent", step)
                ]
                losses.append(f"{number(each[0])} ({number(min(each))} – {number(max(each))})")
            lines.append(f"| {head['checkpoint']} | {step} | " + " | ".join(losses) + " |")
    return lines


def reached(run: Document, steps: int) -> int:
    """Steps to the target; one more than there were where it was not reached."""
    return steps + 1 if run["reached"] is None else run["reached"]


def training_rows(name: str, task: Document) -> list[str]:
    """One row for each variant."""
    rows, plain = [], task["variants"]["plain"]["runs"]
    for variant, found in task["variants"].items():
        runs = found["runs"]
        steps = [reached(run, task["steps"]) for run in runs]
        missed = sum(run["reached"] is None for run in runs)
        shown = f"{median(steps):g} ({min(steps)} – {max(steps)})" + (
            f", {missed} of {len(runs)} never" if missed else ""
        )
        cells = [name, f"{variant}, rate {found['rate']:g}", shown, number(median(run["loss"] for run in runs))]
        cells.append(f"{100 * mean(run['error'] for run in runs):.2f}")
        if variant == "plain":
            cells += ["", ""]
        else:
            faster = over_seeds(
                [
                    math.log(max(1, reached(a, task["steps"])) / max(1, reached(b, task["steps"])))
                    for a, b in zip(plain, runs, strict=True)
                ],
                0,
            )
            ratio = Estimate(*(math.exp(end) for end in (faster.value, faster.low, faster.high)), 1.0)
            error = over_seeds([100 * (a["error"] - b["error"]) for a, b in zip(plain, runs, strict=True)], 0.0)
            cells += [f"{ratio}, {ratio.verdict}", f"{error}, {error.verdict}"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def plot(found: Document) -> str:
    """Distance to the optimum over steps for each head, and the training loss of each task's first seeds."""
    parts = legend(18, [(name, colour, None) for name, colour in list(COLOURS.items())[:3]])
    heads = found["heads"]
    for place, head in enumerate(heads):
        parts.append(
            panel(28, head["checkpoint"].split("-")[0] + ": distance to the optimal training loss, nat", "step",
                  _head_dots(head), 100 * place / len(heads), 100 / len(heads))
        )  # fmt: skip
    tasks = list(found["training"].items())
    for place, (name, task) in enumerate(tasks):
        parts.append(panel(28 + HEIGHT * bool(heads) + HEIGHT * place, f"{name}: training loss", "step", _curves(task)))
    height = 28 + HEIGHT * bool(heads) + HEIGHT * len(tasks)
    said = "Every resample of the heads' data and every seed of the training runs is drawn; tables hold the figures."
    return standalone(height, "Training with and without normalised inputs", said, parts)


def _head_dots(head: Document) -> list[Markup]:
    bottom, steps = HEIGHT - 36, list(head["seeds"][0]["variants"]["plain"]["smoothed labels"]["gradient descent"])
    values = {
        (name, step): [one["distance"] for one in cells(head, name, "smoothed labels", "gradient descent", step)]
        for name in list(COLOURS)[:3] for step in steps
    }  # fmt: skip
    y = fitted([value for group in values.values() for value in group], bottom - 4, 24)
    if y is None:
        return []
    x = Scale(-0.5, len(steps) - 0.5, LEFT + 6, RIGHT, log=False)
    drawn = [grid_lines(y), ticks_below(x, bottom, [(float(i), Markup(step)) for i, step in enumerate(steps)])]
    for (name, step), group in values.items():
        at = x.at(steps.index(step) + 0.16 * (list(COLOURS).index(name) - 1))
        spots = [marker(at, y.at(value), SHAPES[name], 3) for value in group if value > 0]
        drawn.append(element("g", *spots, fill=COLOURS[name], color=COLOURS[name]))
    return drawn


def _curves(task: Document) -> list[Markup]:
    bottom = HEIGHT - 36
    runs = [(name, run["curve"]) for name, found in task["variants"].items() for run in found["runs"]]
    y = fitted([loss for _, curve in runs for _, loss in curve], bottom - 4, 24)
    if y is None:
        return []
    x = Scale(0.0, float(task["steps"]), LEFT + 1, RIGHT, log=False)
    drawn = [grid_lines(y), ticks_below(x, bottom)]
    for name, curve in runs:
        colour = PLAIN if name == "plain" else THIRD if "centred" in name else NORMED
        path = "M" + "L".join(f"{x.at(step) * 7.2:.1f} {y.at(loss):.1f}" for step, loss in curve)
        dash = "4 3" if "all layers" in name and "batch norm before the head" in task["variants"] else None
        drawn.append(
            element("path", d=path, stroke=colour, fill="none", stroke_width=1.2, stroke_opacity=0.8,
                    stroke_dasharray=dash)
        )  # fmt: skip
    return drawn


def flow(text: str) -> str:
    """A paragraph on one line."""
    return " ".join(text.split())


def render(found: Document, reading: str) -> str:
    """The page."""
    where, seeds = found["environment"], found["seeds"]
    lines = [
        "# Does it matter?",
        "",
        "What does normalising an input that an audit points at do to training? Two experiments, one command:",
        "",
        "    python -m benchmarks.does_it_matter --data CIFAR10_FOLDER resnet20.th resnet32.th resnet44.th",
        "",
        flow(
            f"""lcaudit {where["lcaudit"]}, torch {where["torch"]}, Python {where["python"]}, {where["platform"]}, one
            thread. All figures, intervals and verdicts of the tables are computed from
            [`does_it_matter.json`](../benchmarks/results/does_it_matter.json); an interval is a 95 % one, and *better*
            or *worse* means that it leaves out no difference."""
        ),
        "",
        BEGIN,
        reading,
        END,
        "",
        f"![Distances to the optimum and training losses]({PLOT})",
        "",
        "## Training from scratch",
        "",
        flow(
            f"""For each task a plain network is trained on a seed of its own and audited on its training images. The
            other variants have a batch norm before the head, the head's mean subtracted, or, where `lcaudit.audit`
            names inner layers, a batch norm before all layers named. Every variant has {seeds} seeds, in which weights
            and batches are the same as the plain network's, and its own learning rate, the best of a grid on the seed
            that is not reported. Momentum 0.9, weight decay 1e-4, a rate that falls linearly to 0. The target is the
            training loss that the plain network had halfway on the seed of its own. Steps are the median and the
            range; *times faster* and the errors are paired by seed. Where the target was never reached, the last step
            but one more is counted."""
        ),
        "",
        "| task | variant | steps to the target | final training loss | test error, % | times faster than plain | "
        "test error, plain − this, points |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, task in found["training"].items():
        lines += training_rows(name, task)
    lines += [""]
    for name, task in found["training"].items():
        said = ", ".join(f"{one} {number(gain)}×" for one, gain in task["audit"]["findings"].items()) or "nothing"
        lines.append(
            flow(
                f"""* {name}: {task["network"]}; {task["training_samples"]} training and {task["test_samples"]} test
                images, {task["steps"]} steps of {task["batch"]}, rates
                {", ".join(f"{one:g}" for one in task["rates"])}, target
                {number(task["target"])} nat. The audit found: {said}; the head's gain is
                {number(task["audit"]["gain"])}×."""
            )
        )
    if found["heads"]:
        lines += _heads_section(found["heads"])
    return "\n".join(lines) + "\n"


def _heads_section(heads: list[Document]) -> list[str]:
    first = heads[0]
    return [
        "",
        "## Heads of real networks, trained again",
        "",
        flow(
            f"""Publicly trained CIFAR-10 ResNets, frozen; what their last layer reads on {first["training_samples"]}
            training images. A new head from weights of zero, full batch, no weight decay, at the step size of a grid
            that has the least training loss after that many steps. Every variant is an affine change of the same
            features, so all have the same optimum (found by Newton's method). Labels are smoothed by 0.1, for which
            there is an optimum that can be reached. Intervals: t standard deviations over {len(first["seeds"]) - 1}
            resamples of training and test images ({first["test_samples"]} test images)."""
        ),
        "",
        "Gradient descent:",
        "",
        *heads_table(heads, "smoothed labels", "gradient descent"),
        "",
        "Adam:",
        "",
        *heads_table(heads, "smoothed labels", "adam"),
        "",
        flow(
            """With the labels as given these features are linearly separable: the optimum is 0, lies at infinity, and
            the best step sizes are often the largest of the grid, so that conditioning says little about it. Training
            loss after so many steps of gradient descent, and its range over the resamples:"""
        ),
        "",
        *given_table(heads),
    ]


def write_page(found: Document, page: Path) -> None:
    """Page and plot; what was read into the figures by hand is kept."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    reading = old.partition(BEGIN + "\n")[2].partition("\n" + END)[0]
    page.write_text(render(found, reading), encoding="utf-8")
    (page.parent / PLOT).write_text(plot(found), encoding="utf-8")
