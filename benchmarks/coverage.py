"""Do the 95 % intervals cover, and is the bias gone? Simulated layers whose truth is known.

    python benchmarks/coverage.py --sides 16,64,256 --runs 400 --output benchmarks/results/coverage.json

Takes an hour on one core; cells that ``--output`` holds already are not run again, so begin anew after a change.

A layer's input is drawn from a known population: d dimensions, Σ_x of a given spectrum in a random basis,
rows Gaussian, Gaussian with a random length (Student's t, 5 degrees of freedom), or with independent
entries of that t distribution. Samples hold one row, or a block of correlated ones as a convolution's
do. Each run builds the layer's moments and analyses them as an audit does. Written: for each figure how
often a verdict would be given, how often the interval holds the truth when it is, and the bias left.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lcaudit
from lcaudit.core.files import write_whole
from lcaudit.core.measurements import LayerRecord, LayerSpectra
from lcaudit.core.quantity import VERDICT_LEVEL, Quantity
from lcaudit.core.types import InputMoments, LayerMoments
from lcaudit.spectra import analyse
from lcaudit.spectra.eigenvalues import percentile_index
from lcaudit.spectra.second_moment import BATCH_NORM_EPS

GROUPS = 10
SPECTRA = ("power law", "spiked", "flat", "uncentred")
ROWS = ("gaussian", "random length", "heavy entries")
FIGURES = ("κ_50", "κ_80", "λmax", "gain", "mean energy")


@dataclass(frozen=True, slots=True)
class Population:
    """Where rows come from: covariance = basis · diag(spectrum) · basisᵀ, and a mean."""

    basis: np.ndarray
    spectrum: np.ndarray
    mean: np.ndarray

    def truths(self) -> dict[str, float]:
        """The figures of an infinite sample."""
        covariance = self.basis * self.spectrum @ self.basis.T
        second = covariance + np.outer(self.mean, self.mean)
        scale = 1 / np.sqrt(np.diag(covariance) + BATCH_NORM_EPS)
        values = np.linalg.eigvalsh(second)[::-1]
        normalised = np.linalg.eigvalsh(covariance * scale[:, None] * scale)[::-1]
        side = len(values)

        def kappa(of: np.ndarray, percentile: str) -> float:
            return float(of[0] / of[percentile_index(percentile, side)])

        return {
            "κ_50": kappa(values, "50"),
            "κ_80": kappa(values, "80"),
            "λmax": float(values[0]),
            "gain": kappa(values, "80") / kappa(normalised, "80"),
            "mean energy": float(self.mean @ self.mean / values.sum()),
        }


def population(spectrum: str, side: int) -> Population:
    """A named population, the same at every call."""
    draw = np.random.default_rng([side, SPECTRA.index(spectrum)])
    basis = np.linalg.qr(draw.normal(size=(side, side)))[0]
    places, mean = np.arange(1, side + 1.0), np.zeros(side)
    if spectrum == "power law":
        values = places**-1.5
    elif spectrum == "spiked":
        values = np.r_[50.0, 20.0, 10.0, np.linspace(2, 0.5, side - 3)]
    elif spectrum == "flat":
        values = np.ones(side)
    else:  # as after a ReLU: all entries positive, the mean holds half of the energy
        values = places**-1.0
        mean = np.abs(draw.normal(1, 0.3, size=side))
        mean *= math.sqrt(values.sum()) / np.linalg.norm(mean)
    return Population(basis, values, mean)


def rows(
    source: Population, samples: int, kind: str, draw: np.random.Generator, positions: int = 1, shared: float = 0.0
) -> np.ndarray:
    """[samples, positions, d]. ``shared`` is the correlation between two rows of one sample."""
    side = len(source.spectrum)
    white = draw.normal(size=(samples, positions, side))
    if positions > 1:
        white = math.sqrt(1 - shared) * white + math.sqrt(shared) * draw.normal(size=(samples, 1, side))
    if kind == "random length":
        white *= np.sqrt(3 / draw.chisquare(5, size=(samples, 1, 1)))
    elif kind == "heavy entries":
        white *= np.sqrt(3 / draw.chisquare(5, size=white.shape))
    return (white * np.sqrt(source.spectrum)) @ source.basis.T + source.mean


def layer(data: np.ndarray, groups: int = GROUPS) -> LayerMoments:
    """A linear layer that read ``data`` [samples, positions, d]."""
    positions, side = data.shape[1:]
    parts = [torch.from_numpy(part.reshape(-1, side)) for part in np.array_split(data, groups)]
    second = torch.stack([part.T @ part for part in parts])[:, None]
    first = torch.stack([part.sum(0) for part in parts])[:, None]
    counts = torch.tensor([len(part) for part in parts])
    inputs = InputMoments(
        second=second,
        first=first,
        channel=torch.arange(side),
        channel_sum=first,
        channel_square=second.diagonal(dim1=-2, dim2=-1),
        rows=counts,
        elements=counts,
    )
    record = LayerRecord("simulated", "linear", 0, side, side, 1, 1, positions, "", "layer", "", False)
    gradient = torch.ones(groups, 1, 1, 1, dtype=torch.float64) * counts[:, None, None, None]
    return LayerMoments(record, inputs, gradient, "", counts // positions, 1.0)


def read(measured: LayerSpectra) -> dict[str, Quantity]:
    """The figures that are checked."""
    return {
        **{f"κ_{p}": measured.input.condition_number[p] for p in ("50", "80")},
        "λmax": measured.input.largest,
        "gain": measured.what_if["batch_norm"].gain,
        "mean energy": measured.mean_energy,
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition. ``ratio``: rows per dimension."""

    spectrum: str
    kind: str
    side: int
    ratio: int
    positions: int = 1
    shared: float = 0.0

    @property
    def samples(self) -> int:
        """How many samples make up the rows."""
        return self.ratio * self.side // self.positions


def cells(side: int) -> Iterator[Cell]:
    """Every condition of one side; those with too few samples to make groups are left out."""
    for spectrum in SPECTRA:
        for ratio in (1, 2, 4, 8, 16, 64):
            yield from (Cell(spectrum, kind, side, ratio) for kind in ROWS)
        for positions, shared in ((16, 0.5), (64, 0.9)):
            for ratio in (16, 64, 256):
                cell = Cell(spectrum, "gaussian", side, ratio, positions, shared)
                if 2 * GROUPS <= cell.samples <= 4096:
                    yield cell


def simulate(cell: Cell, runs: int, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Run one cell.

    Returns:
        for each figure: ``judged``, the share of runs in which it is reliable; among those ``coverage``,
        ``bias`` and ``spread`` of the estimate (of its logarithm but for the mean energy) and ``wrong``, the
        share whose interval at ``VERDICT_LEVEL`` leaves the truth out; and over all runs ``plain_bias`` of
        the figure before correction.
    """
    source = population(cell.spectrum, cell.side)
    truths = source.truths()
    draw = np.random.default_rng([seed, cell.side, cell.ratio, cell.positions, ROWS.index(cell.kind)])
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in FIGURES}
    for _ in range(runs):
        data = rows(source, cell.samples, cell.kind, draw, cell.positions, cell.shared)
        measured = read(analyse(layer(data), float32=False))
        for name in FIGURES:
            found[name].append(_compare(measured[name], truths[name], log=name != "mean energy"))
    return {name: _summary(np.array(values)) for name, values in found.items()}


def _compare(quantity: Quantity, truth: float, log: bool) -> tuple[float, ...]:
    """(reliable, error, error before correction, covered, wrong at the level of verdicts)."""
    slack = 1e-9 * (1 + abs(truth))  # an exact 1 is not missed by a rounding error
    scale = math.log if log else float
    ends, wide = (quantity.at(0.95), quantity.at(VERDICT_LEVEL)) if quantity.reliable else (None, None)
    covered = ends is not None and ends[0] - slack <= truth <= ends[1] + slack
    wrong = wide is not None and not wide[0] - slack <= truth <= wide[1] + slack
    error = scale(quantity.value) - scale(truth)
    return float(quantity.reliable), error, scale(quantity.raw) - scale(truth), float(covered), float(wrong)


def _summary(values: np.ndarray) -> dict[str, float | None]:
    judged = values[values[:, 0] > 0]
    some = len(judged) > 0
    return {
        "judged": float(values[:, 0].mean()),
        "coverage": float(judged[:, 3].mean()) if some else None,
        "wrong": float(judged[:, 4].mean()) if some else None,
        "bias": float(judged[:, 1].mean()) if some else None,
        "spread": float(judged[:, 1].std()) if some else None,
        "plain_bias": float(values[:, 2].mean()),
    }


def table(results: list[dict[str, Any]], figures: tuple[str, ...] = ("κ_50", "κ_80")) -> str:
    """Markdown: what was found for each figure, spectrum, d and n/d that was ever judged, over all kinds of rows."""
    lines = [
        "| figure | spectrum | d | rows per d | runs | judged | coverage | wrong at verdict level | bias of log |"
        " uncorrected |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for figure in figures:
        cells: dict[tuple[str, int, str], list[tuple[int, dict[str, float]]]] = {}
        for one in results:
            cell = one["cell"]
            where = f"{cell['ratio']}" + (
                f", {cell['positions']} per sample, correlation {cell['shared']:g}" if cell["positions"] > 1 else ""
            )
            cells.setdefault((cell["spectrum"], cell["side"], where), []).append((one["runs"], one["figures"][figure]))
        for (spectrum, side, where), found in cells.items():
            runs = sum(number for number, _ in found)
            judged = sum(number * got["judged"] for number, got in found)
            plain = max((got["plain_bias"] for _, got in found), key=abs)
            seen = [(number * got["judged"], got) for number, got in found if got["judged"]]

            def mean(name: str, seen: list[tuple[float, dict[str, float]]] = seen, judged: float = judged) -> float:
                return sum(weight * got[name] for weight, got in seen) / judged

            if not judged:
                continue
            worst = max((got["bias"] for _, got in seen), key=abs)
            shown = f"{100 * mean('coverage'):.1f} % | {100 * mean('wrong'):.2f} % | {worst:+.3f}"
            head = f"| {figure} | {spectrum} | {side} | {where} | {runs} | {100 * judged / runs:.0f} %"
            lines.append(f"{head} | {shown} | {plain:+.2f} |")
    return "\n".join(lines)


def page(text: str, results: list[dict[str, Any]]) -> str:
    """``text`` with the tables between its markers made anew."""
    for name, figures in (("main", ("κ_50", "κ_80")), ("other", ("λmax", "gain"))):
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{table(results, figures)}\n{end}{rest.partition(end)[2]}"
    return text


def runs_for(side: int, runs: int) -> int:
    """Fewer where each costs more."""
    return runs if side <= 16 else max(1, runs // (2 if side <= 64 else 8))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", default="16,64,256", help="dimensions, separated by commas")
    parser.add_argument("--runs", type=int, default=400, help="runs per cell at d = 16; half at 64, an eighth beyond")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    parser.add_argument("--page", type=Path, help="put the tables into this page, e.g. docs/variability.md")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "what": "coverage of 95 % intervals and bias in simulation",
        "environment": {
            "lcaudit": lcaudit.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "seed": options.seed,
        "groups": GROUPS,
        "verdict_level": VERDICT_LEVEL,
        "results": [],
    }
    kept: dict[Cell, dict[str, Any]] = {}
    if options.output.exists():
        before = json.loads(options.output.read_text())
        if before["seed"] == options.seed:
            kept = {Cell(**{name: one["cell"][name] for name in Cell.__slots__}): one for one in before["results"]}
    for side in map(int, options.sides.split(",")):
        runs = runs_for(side, options.runs)
        for cell in cells(side):
            result = kept.get(cell)
            if result is None or result["runs"] != runs:
                figures = simulate(cell, runs, options.seed)
                shown = {name: getattr(cell, name) for name in Cell.__slots__} | {"samples": cell.samples}
                result = {"cell": shown, "runs": runs, "figures": figures}
                print(cell, {name: (got["judged"], got["coverage"]) for name, got in figures.items()}, flush=True)
            document["results"].append(result)
            write_whole(options.output, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    if options.page:
        write_whole(options.page, page(options.page.read_text(), document["results"]))
    print(table(document["results"], FIGURES))


if __name__ == "__main__":
    main()
