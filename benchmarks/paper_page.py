"""``docs/paper-figure.md`` and its two plots, from the JSON that ``benchmarks/paper_figure.py`` writes.

Figures, spreads and the words *reproduces*, *mixed* and *does not reproduce* are all computed from the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.paper_plots import depth_plot, layer_plot
from lcaudit.core.figures import number

Document = dict[str, Any]
Network = dict[str, Any]
PLAIN, NORMED, DEFAULT = "plain", "batch norm", "plain, default initialisation"


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure per seed."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        if not self.values:
            return "not reliable"
        low, high = number(min(self.values)), number(max(self.values))
        middle = number(median(self.values))
        return middle if low == high else f"{middle} ({low} – {high})"

    def verdict(self, holds: Callable[[float], bool]) -> str:
        """Whether a claim holds in every seed, in some, or in none."""
        return said([holds(value) for value in self.values])


def whole(values: Sequence[float | None]) -> Spread:
    """Every seed or none: a spread of some seeds would pass for one of all."""
    return Spread(tuple(value for value in values if value is not None) if None not in values else ())


def said(held: Sequence[bool]) -> str:
    """Three words for how often something held."""
    if not held:
        return "not measured"
    if all(held):
        return "reproduces"
    return f"mixed: {sum(held)} of {len(held)}" if any(held) else "does not reproduce"


def chosen(networks: list[Network], **wanted: object) -> list[Network]:
    """Networks with these properties, in order of their seeds."""
    found = [one for one in networks if all(one.get(key) == value for key, value in wanted.items())]
    return sorted(found, key=lambda one: one["seed"])


def column(network: Network, name: str, reliable: bool = True) -> list[float | None]:
    """A figure by layer; ``None`` where it is not finite, or not ``reliable`` though asked for."""
    doubtful = set(network["unreliable"].get(name, ())) if reliable else set()
    return [None if i in doubtful else value for i, value in enumerate(network["columns"][name])]


def hidden(network: Network, name: str) -> list[float | None]:
    """A figure of the layers whose input and output are hidden: all but the first and the last."""
    return column(network, name)[1:-1]


def ratio(over: Network, under: Network, name: str) -> tuple[float | None, int]:
    """Geometric mean over hidden layers of ``over / under``, ``None`` if fewer than half count; how many count."""
    pairs = list(zip(hidden(over, name), hidden(under, name), strict=True))
    logs = [math.log(a / b) for a, b in pairs if a and b]
    return (math.exp(sum(logs) / len(logs)) if 2 * len(logs) >= len(pairs) > 0 else None), len(logs)


def unevenness(network: Network, name: str) -> float | None:
    """Largest over smallest of a figure among hidden layers; ``None`` if fewer than half of them count."""
    found = hidden(network, name)
    values = [value for value in found if value]
    return max(values) / min(values) if 2 * len(values) >= len(found) > 0 else None


def rows(header: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *[[str(cell) for cell in row] for row in body]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Figures:
    """Everything that the page says, by name."""

    def __init__(self, document: Document) -> None:
        self.plan = document["plan"]
        self.mlps: list[Network] = document["mlp"]["networks"]
        self.traces: list[dict[str, Any]] = document["mlp"]["traces"]
        self.best: dict[str, float] = document["mlp"]["best_rate"]
        self.residual: list[Network] = document["residual"]
        self.first, self.last = self.plan["steps"][0], self.plan["steps"][-1]

    def mlp(self, variant: str, step: int, rate: float | None = None) -> list[Network]:
        """One network a seed, at ``rate`` or else at the variant's best one."""
        return chosen(self.mlps, variant=variant, rate=rate or self.best[variant], step=step)

    def moments(self) -> list[tuple[str, int, float | None]]:
        """When plain and batch norm are compared: a name, the step, and batch norm's rate if not its best."""
        own = [(f"step {step}", step, None) for step in self.plan["steps"]]
        if self.best[PLAIN] == self.best[NORMED]:
            return own
        return [*own, (f"step {self.last}, both at rate {self.best[PLAIN]:g}", self.last, self.best[PLAIN])]

    def ratios(self, name: str, step: int, rate: float | None = None) -> tuple[Spread, str]:
        """Plain over batch norm by seed, and how many hidden layers have a reliable figure in both."""
        pairs = list(zip(self.mlp(PLAIN, step), self.mlp(NORMED, step, rate), strict=True))
        found = [ratio(plain, normed, name) for plain, normed in pairs]
        counts = [n for _, n in found]
        least, most = min(counts), max(counts)
        return whole([value for value, _ in found]), f"{least}" if least == most else f"{least}–{most}"

    def uneven(self, variant: str, name: str, step: int, rate: float | None = None) -> Spread:
        """Largest over smallest figure among hidden layers, by seed."""
        found = [unevenness(network, name) for network in self.mlp(variant, step, rate)]
        return whole(found)

    def final(self, variant: str, rate: float, key: str) -> Spread:
        """A training fact after the last step, of the seeds that came so far."""
        found = [one for one in self.traces if (one["variant"], one["rate"]) == (variant, rate) and one["finished"]]
        return Spread(tuple(one["at"][str(self.last)][key] for one in found))

    def change(self, variant: str, rate: float, key: str) -> Spread:
        """How many times larger a training fact is after the last step than at the start."""
        found = [one for one in self.traces if (one["variant"], one["rate"]) == (variant, rate) and one["finished"]]
        return Spread(tuple(one["at"][str(self.last)][key] / one["at"][str(self.first)][key] for one in found))

    def largest_rate(self, variant: str) -> float | None:
        """The largest rate at which no seed diverged."""
        rates = {one["rate"] for one in self.traces if one["variant"] == variant}
        fine = [
            r for r in rates if all(t["finished"] for t in self.traces if (t["variant"], t["rate"]) == (variant, r))
        ]
        return max(fine, default=None)

    def dead(self, rate: float) -> Spread:
        """Share of the last layer's inputs that are zero on every digit, after the last step with batch norm."""
        networks = [one["columns"] for one in self.mlp(NORMED, self.last, rate)]
        return Spread(tuple(one["x_zero"][-1] / one["inputs"][-1] for one in networks))

    def head(self, depth: int, last_bn: bool, name: str) -> Spread:
        networks = chosen(self.residual, depth=depth, last_bn=last_bn)
        return Spread(tuple(network["columns"][name][-1] for network in networks))

    def fact(self, depth: int, last_bn: bool, step: int, key: str) -> Spread:
        networks = chosen(self.residual, depth=depth, last_bn=last_bn)
        return Spread(tuple(network["at"][str(step)][key] for network in networks))

    def place(self, depth: int, last_bn: bool) -> Spread:
        """The head's place among its network's layers by κ_80 of Σ_x, 1 the worst."""
        places = []
        for network in chosen(self.residual, depth=depth, last_bn=last_bn):
            values = [value or 0.0 for value in network["columns"]["x_80"]]
            places.append(1.0 + sum(value > values[-1] for value in values))
        return Spread(tuple(places))


def between(over: Spread, under: Spread) -> Spread:
    """Seed by seed; nothing unless both have every seed."""
    pairs = zip(over.values, under.values, strict=True) if len(over.values) == len(under.values) else ()
    return Spread(tuple(a / b for a, b in pairs))


def apart(one: Spread, other: Spread) -> Spread:
    """One less the other in percentage points, seed by seed."""
    return Spread(tuple(100 * (a - b) for a, b in zip(one.values, other.values, strict=True)))


def percent(shares: Spread) -> Spread:
    """Shares of 1 in percent."""
    return Spread(tuple(100 * value for value in shares.values))


def claims(f: Figures) -> list[tuple[str, str, str]]:
    """Claim of the paper in our words, what was found here, verdict."""
    return [*_claims_of_batch_norm(f), *_claims_of_depth(f)]


def _together(spreads: Sequence[Spread], holds: Callable[[float], bool] = lambda value: value > 1) -> str:
    word = said([holds(value) for spread in spreads for value in spread.values])
    missing = sum(not spread.values for spread in spreads)
    return f"{word}; {missing} of {len(spreads)} cases not measurable" if missing else word


def _joined(spreads: Sequence[Spread], names: Sequence[object]) -> str:
    return "; ".join(f"{name}: {spread}" for spread, name in zip(spreads, names, strict=True))


def _claims_of_batch_norm(f: Figures) -> list[tuple[str, str, str]]:
    moments, rate, last = f.moments(), f.plan["rates"][-1], f.last
    names = [name for name, _, _ in moments]
    found = []
    for opening, symbol, name in (
        ("Batch norm improves the conditioning of the layers' inputs.", "Σ_x", "x_80"),
        ("… and of their output gradients.", "Σ_g", "g_80"),
    ):
        spreads = [f.ratios(name, step, at)[0] for _, step, at in moments]
        found.append((opening, f"κ_80 of {symbol}, plain / batch norm. {_joined(spreads, names)}", _together(spreads)))
    for opening, symbol, name in (
        ("Batch norm keeps the inputs' largest eigenvalue of one magnitude through the layers.", "Σ_x", "x_max"),
        ("… and that of the output gradients.", "Σ_g", "g_max"),
    ):
        pairs = [(f.uneven(PLAIN, name, step), f.uneven(NORMED, name, step, at)) for _, step, at in moments]
        shown = [f"{moment}: {plain} → {normed}" for moment, (plain, normed) in zip(names, pairs, strict=True)]
        says = f"Largest / smallest λmax of {symbol} over hidden layers, plain → batch norm. {'; '.join(shown)}"
        found.append((opening, says, _together([between(plain, normed) for plain, normed in pairs])))
    plain, normed = f.largest_rate(PLAIN), f.largest_rate(NORMED)
    found.append(
        (
            "Batch norm stabilises training: larger learning rates can be used.",
            f"Largest rate at which no seed diverges in {last} steps: plain {plain or 0:g}, batch norm {normed or 0:g} "
            f"(the largest tried: {rate:g}). Rate with the lowest loss: plain {f.best[PLAIN]:g}, batch norm "
            f"{f.best[NORMED]:g}",
            said([(normed or 0) > (plain or 0)]),
        )
    )
    return [*found, *_claims_of_large_rates(f)]


def _claims_of_large_rates(f: Figures) -> list[tuple[str, str, str]]:
    best = f.best[NORMED]
    shown, stuck, alive = [], [], []
    for rate in [rate for rate in f.plan["rates"] if rate >= 10 * best]:
        loss, dead = f.final(NORMED, rate, "loss"), f.dead(rate)
        growth, pull = f.change(NORMED, rate, "weight_norm"), f.change(NORMED, rate, "relative_gradient")
        shown.append(
            (
                f"Rate {rate:g}: loss {loss} nat; ‖W‖ became {growth} times, ‖∂L/∂W‖ / ‖W‖ {pull} times what it was",
                f"Rate {rate:g}: {percent(dead)} % of the last layer's inputs are zero on every digit",
            )
        )
        facts = zip(loss.values, growth.values, pull.values, strict=True)
        stuck += [a > 1 and grew > 2 and fell < 0.1 for a, grew, fell in facts]
        alive += [share < 0.5 for share in dead.values]
    return [
        (
            "With batch norm a far too large rate does not diverge: the weights grow, their gradients vanish beside "
            "them, and the network looks as if it sat in a local minimum.",
            f"Batch norm after {f.last} steps at ten times the best rate, {best:g}, and more; at the best the loss is "
            f"{f.final(NORMED, best, 'loss')}. {'. '.join(first for first, _ in shown)}. Counted as seen where the "
            "loss is above 1, ‖W‖ more than doubled and the relative gradient fell tenfold",
            said(stuck),
        ),
        (
            "… because the weights dominate (weight domination).",
            f"{'. '.join(second for _, second in shown)}. Dead units stop gradients whatever the weights, so "
            "domination can be told only where fewer than half are dead",
            said(alive) if any(alive) else "cannot be told",
        ),
    ]


def _claims_of_depth(f: Figures) -> list[tuple[str, str, str]]:
    depths, steps = f.plan["depths"], f.plan["residual_steps"]
    deep, middle, names = depths[-1], steps[-2], [f"depth {depth}" for depth in depths]
    plain = [f.head(depth, False, "x_80") for depth in depths]
    growth = between(plain[-1], plain[0])
    steady = [all(a < b for a, b in pairwise(seed)) for seed in zip(*[one.values for one in plain], strict=True)]
    worst = f.place(deep, False)
    mended = [between(f.head(depth, False, "x_80"), f.head(depth, True, "x_80")) for depth in depths]
    with_it = between(f.head(deep, True, "x_80"), f.head(depths[0], True, "x_80"))
    loss = [between(f.fact(d, False, middle, "loss"), f.fact(d, True, middle, "loss")) for d in depths]
    ending = [between(f.fact(d, False, steps[-1], "loss"), f.fact(d, True, steps[-1], "loss")) for d in depths]
    better = [apart(f.fact(d, False, steps[-1], "error"), f.fact(d, True, steps[-1], "error")) for d in depths]
    return [
        (
            "The last linear layer of a residual network becomes ill-conditioned as depth grows.",
            f"κ_80 of Σ_x at the head. {_joined(plain, names)}. Depth {deep} / depth {depths[0]}: {growth}; it rises "
            f"at every step of depth in {sum(steady)} of {len(steady)} seeds",
            growth.verdict(lambda value: value > 1),
        ),
        (
            "… and is then among the worst conditioned layers.",
            f"Its place among the {deep} layers of the deepest networks by κ_80 of Σ_x, 1 the worst: {worst}. Counted "
            "as seen in the worst tenth",
            worst.verdict(lambda value: value <= 0.1 * deep),
        ),
        (
            "A batch norm before the last linear layer mends that.",
            f"κ_80 of Σ_x at the head, without / with it. {_joined(mended, names)}. With it, depth {deep} / depth "
            f"{depths[0]}: {with_it}",
            _together(mended),
        ),
        (
            "… and makes optimisation easier.",
            f"Training loss without / with it (above 1: it helps). After {middle} steps: {_joined(loss, names)}. After "
            f"{steps[-1]} steps: {_joined(ending, names)}",
            _together([*loss, *ending]),
        ),
        (
            "… and improves accuracy.",
            f"Test error without − with it, percentage points (above 0: it helps). {_joined(better, names)}",
            _together(better, lambda value: value > 0),
        ),
    ]


def render(document: Document, page: Path) -> dict[Path, str]:
    """The page and its plots: what each file should hold."""
    f = Figures(document)
    layers, depths = page.with_name(f"{page.stem}-layers.svg"), page.with_name(f"{page.stem}-depth.svg")
    return {page: _page(document, f, layers.name, depths.name), layers: layer_plot(f), depths: depth_plot(f)}


def write_page(document: Document, page: Path) -> list[Path]:
    """Write them."""
    made = render(document, page)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return list(made)


def _page(document: Document, f: Figures, layers: str, depths: str) -> str:
    plan, environment, seconds = document["plan"], document["environment"], document["seconds"]
    return TEMPLATE.format(
        networks=len(f.traces) + len(f.residual),
        chance=2 ** (len(plan["seeds"]) - 1),
        best_plain=f"{f.best[PLAIN]:g}",
        best_normed=f"{f.best[NORMED]:g}",
        prediction=_prediction(f),
        deepest=plan["depths"][-1],
        claims=rows(("the paper says, in our words", "found here", "verdict"), claims(f)),
        seeds=len(plan["seeds"]),
        layers=plan["layers"],
        width=plan["width"],
        rates=", ".join(f"{rate:g}" for rate in plan["rates"]),
        steps=plan["steps"][-1],
        residual_steps=plan["residual_steps"][-1],
        depths=", ".join(map(str, plan["depths"])),
        minutes=number(seconds["processor"] / 60, 2),
        wall=number(seconds["wall"] / 60, 2),
        versions=f"lcaudit {environment['lcaudit']}, torch {environment['torch']}, numpy {environment['numpy']}, "
        f"Python {environment['python']}, {environment['platform']}",
        layer_plot=layers,
        depth_plot=depths,
        ratios=_ratios(f),
        uneven=_uneven(f),
        by_layer=_by_layer(f),
        training=_training(f),
        heads=_heads(f),
        facts=_facts(f),
        doubt=_doubt(f),
    )


def _ratios(f: Figures) -> str:
    names = {"x_50": "κ_50 of Σ_x", "x_80": "κ_80 of Σ_x", "g_50": "κ_50 of Σ_g", "g_80": "κ_80 of Σ_g"}
    body = []
    for name, title in names.items():
        found = [f.ratios(name, step, rate) for _, step, rate in f.moments()]
        body.append([title, *[f"{spread}; {counted} layers" for spread, counted in found]])
    return rows(("plain / batch norm", *[name for name, _, _ in f.moments()]), body)


def _uneven(f: Figures) -> str:
    body = []
    for name, title in {"x_max": "λmax of Σ_x", "g_max": "λmax of Σ_g"}.items():
        for variant in f.best:
            spreads = [f.uneven(variant, name, step) for step in f.plan["steps"]]
            body.append([title, variant, *spreads])
    return rows(("largest / smallest over hidden layers", "network", *[f"step {s}" for s in f.plan["steps"]]), body)


def _by_layer(f: Figures) -> str:
    count = f.plan["layers"]
    shown = sorted({round(1 + i * (count - 1) / 6) for i in range(7)})
    body = []
    for layer in shown:
        cells: list[object] = [layer]
        for name in ("x_max", "x_80", "g_max", "g_80"):
            for variant in (PLAIN, NORMED):
                networks = f.mlp(variant, f.last)
                values = [network["columns"][name][layer - 1] for network in networks]
                sure = all(column(network, name)[layer - 1] is not None for network in networks)
                cells.append(f"{Spread(tuple(v for v in values if v is not None))}{'' if sure else ' *'}")
        body.append(cells)
    titles = [
        f"{name}, {kind}" for name in ("λmax Σ_x", "κ_80 Σ_x", "λmax Σ_g", "κ_80 Σ_g") for kind in ("plain", "BN")
    ]
    return rows(("layer", *titles), body)


def _training(f: Figures) -> str:
    body = []
    for rate in f.plan["rates"]:
        cells: list[object] = [f"{rate:g}"]
        for variant in (PLAIN, NORMED):
            loss, count = f.final(variant, rate, "loss"), len(f.plan["seeds"])
            lost = count - len(loss.values)
            cells.append(
                str(loss) if not lost else f"{loss}; {lost} of {count} diverged" if loss.values else "diverged"
            )
        dead = percent(f.dead(rate)) if f.mlp(NORMED, f.last, rate) else "not audited"
        cells += [f.change(NORMED, rate, "weight_norm"), f.change(NORMED, rate, "relative_gradient"), dead]
        body.append(cells)
    losses, changes = ("loss, plain (nat)", "loss, BN (nat)"), ("BN: ‖W‖, times", "BN: ‖∂L/∂W‖ / ‖W‖, times")
    return rows(("rate", *losses, *changes, "BN: dead inputs of the last layer (%)"), body)


def _heads(f: Figures) -> str:
    body = []
    for depth in f.plan["depths"]:
        for last_bn in (False, True):
            cells = [f.head(depth, last_bn, name) for name in ("x_max", "x_50", "x_80", "g_max", "mean_energy")]
            body.append([depth, "yes" if last_bn else "no", *cells, f.place(depth, last_bn)])
    symbols = ("λmax Σ_x", "κ_50 Σ_x", "κ_80 Σ_x", "λmax Σ_g", "mean energy")
    return rows(("depth", "last BN", *symbols, "place by κ_80"), body)


def _prediction(f: Figures) -> str:
    body = []
    for depth in f.plan["depths"]:
        found = between(f.head(depth, False, "x_80"), f.head(depth, True, "x_80"))
        body.append([depth, f.head(depth, False, "gain"), found])
    return rows(("depth", "predicted gain in κ_80", "κ_80 without / with a last BN, trained"), body)


def _facts(f: Figures) -> str:
    steps = f.plan["residual_steps"]
    body = []
    for depth in f.plan["depths"]:
        for last_bn in (False, True):
            losses = [f.fact(depth, last_bn, step, "loss") for step in steps]
            error = f.fact(depth, last_bn, steps[-1], "error")
            body.append([depth, "yes" if last_bn else "no", *losses, percent(error)])
    return rows(("depth", "last BN", *[f"loss, step {s} (nat)" for s in steps], "test error (%)"), body)


def _doubt(f: Figures) -> str:
    body = []
    groups = {f"MLP, {variant}": [n for n in f.mlps if n["variant"] == variant] for variant in f.best}
    for depth in f.plan["depths"]:
        groups[f"ResNet-{depth}"] = chosen(f.residual, depth=depth)
    for title, networks in groups.items():
        cells: list[object] = [title]
        for name in ("x_max", "x_80", "g_max", "g_80"):
            total = sum(len(network["columns"][name]) for network in networks)
            doubtful = sum(len(network["unreliable"].get(name, ())) for network in networks)
            cells.append(f"{doubtful} of {total}")
        short = sum(
            r < d for n in networks for r, d in zip(n["columns"]["x_rank"], n["columns"]["inputs"], strict=True)
        )
        body.append([*cells, short])
    return rows(("networks", "λmax Σ_x", "κ_80 Σ_x", "λmax Σ_g", "κ_80 Σ_g", "Σ_x without full rank"), body)


TEMPLATE = """\
# The paper's findings on networks trained here

Huang, Qin, Liu, Zhu and Shao ([ECCV 2020](https://arxiv.org/abs/2002.10801)) say what batch norm and depth do to the
conditioning of each layer. This page asks whether that shows in networks that anyone can train in minutes, measured
by `lcaudit.audit` as a user calls it. One command trains {networks} networks, audits them and writes this page, its
plots and [`paper_figure.json`](../benchmarks/results/paper_figure.json):

    python -m benchmarks.paper_figure

It took {minutes} minutes of one processor core ({wall} minutes on a machine shared with others):
{versions}.

Every figure is the median over {seeds} seeds, with the smallest and the largest in parentheses. Figures, ranges and
verdicts are computed from the JSON: *reproduces* means in every seed and every case listed, *mixed* says in how many.
{seeds} seeds that agree are weak evidence by themselves: of a coin, {seeds} throws agree one time in {chance}.
Claims are in our words, after the paper's abstract and our notes on it; they are about its direction, since its own
magnitudes come from other data, deeper networks and another convention (below).

## Claims

{claims}

## Reading

Written about the committed figures, unlike the table, which is computed.

* **Inputs are as the paper says.** Batch norm makes hidden layers' inputs better conditioned at every time looked at,
  most at the start, and keeps their largest eigenvalue level, while that of the plain network grows with depth.
* **Gradients are not, or cannot be told.** Their conditioning is better at the start. Their magnitude is not: at the
  start λmax of Σ_g varies more over the layers with batch norm than without, if the plain network is initialised after
  He, and far less if it is not. After training 1000 digits are too few for most of batch
  norm's Σ_g; see the last table.
* **Too large rates** end as the paper says, in a network that no longer moves. But the audit finds the last layer's
  inputs mostly dead, so here domination by the weights cannot be told from dying units. The paper's own networks may
  differ.
* **The head** becomes worse conditioned with every step of depth, and a batch norm before it makes it several times
  better conditioned at every depth; it still gets worse with depth then. But among its network's layers the head's
  place falls as depth grows: the third stage's convolutions, 3×3 on maps of 2×2 pixels here, are worse and get worse
  faster. On larger images that may differ.
* **Optimisation and accuracy**: no effect of that last batch norm that three seeds could show.

## Multilayer perceptrons

{layers} linear layers of width {width}, ReLU between them, on the 1000 training digits (8 × 8 pixels) that ship with
lcaudit; with *batch norm*, one before every ReLU. He initialisation, full-batch gradient descent for {steps} steps
without momentum, at each of the rates {rates}.
*Plain, default initialisation* is the plain network as `torch.nn.Linear` initialises it, at rate 0.1. Audited in
float64 at the rate with the lowest final loss: plain {best_plain}, batch norm {best_normed}. One line per
seed; the default initialisation's κ_80 of Σ_x would need an axis of its own and is left to the JSON.

![λmax and κ_80 of Σ_x and Σ_g by layer]({layer_plot})

How many times better conditioned batch norm's layers are: geometric mean over the hidden layers (all but the first and
the last) whose figure is reliable in both networks, where they are at least half.

{ratios}

How uneven the largest eigenvalue is through the network; the third one shows what an initialisation alone does.

{uneven}

By layer after {steps} steps (* the figure of at least one seed is not reliable):

{by_layer}

Training. ‖W‖ and the gradient are over all linear layers, after the last step as a multiple of before the first; the
gradient is that of the full batch, in training mode. Dead inputs are zero on all 1000 digits.

{training}

## Residual networks

CIFAR-style residual networks of depth {depths}, 8-16-32 channels, option A shortcuts, {residual_steps} steps of 100
digits: momentum 0.9, one cycle of the learning rate up to 0.1, weight decay 1e-4, shifts by up to a pixel. *Last BN*
is a batch norm between the pooled features and the last linear layer. Networks without it are recognised by lcaudit
from their tensors; those with it are named by `--arch benchmarks/paper_networks.py:last_bn_56`. Audited in float32
after the last step.

![κ_80 of the head and training loss over depth]({depth_plot})

The last linear layer:

{heads}

What lcaudit predicts from a network without a last batch norm (`gain` of normalising the head's input, in closed form),
beside what networks trained with one show. With the same features they would be equal; other features were learned.

{prediction}

Training loss on the 1000 training digits, batch statistics of all of them; error on the 797 test digits:

{facts}

## What is not as in the paper

* The convention is lcaudit's own: labels drawn from the network's predictions, evaluation mode, unfolded patches,
  uncentred. The authors' code uses given labels, training mode on a mini-batch and, for convolutions, covariances of
  channels. `--convention huang2020`, which follows it, is not used here, and figures must not be compared across.
* Batch norms hold the statistics of all 1000 training digits when a network is saved, so evaluation mode computes what
  training mode does on the full batch. Gradients through those statistics are not in Σ_g, though.
* κ_p is taken over the directions above the numerical floor and corrected for its small-sample bias, as in every report
  of lcaudit. Where an input has no full rank (last table), the paper's κ, over all directions, would be larger.
* The networks are as trained for few steps on 1000 small images; the authors' scripts take depths 56 to 1202 on CIFAR
  and 160 epochs. What depth does beyond {deepest} is not tested here.
* Networks that are compared *at the same step* are not at the same loss. Σ_g shrinks with the loss, so of the gradient
  figures those at step 0, and those at one rate, compare most fairly.

## What lcaudit did not vouch for

Figures that an audit marked as not reliable (too few samples for the dimension, or a bias correction that is too large
or in doubt), of all layers of all audits. They are in the JSON, named. They are left out of the
ratios and the unevenness above, and drawn in the plots.

{doubt}
"""
