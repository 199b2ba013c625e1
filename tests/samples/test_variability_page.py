"""The tables of docs/variability.md are those of the committed results, and what its text says of them is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.coverage import page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "variability.md"
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))["results"]


def pooled(figure: str, **where: object) -> float:
    """Coverage over all cells, each weighed by how often it was judged."""
    found = [
        (one["runs"] * one["figures"][figure]["judged"], one["figures"][figure]["coverage"])
        for one in RESULTS
        if one["figures"][figure]["judged"] and all(one["cell"][key] == value for key, value in where.items())
    ]
    return sum(weight * coverage for weight, coverage in found) / sum(weight for weight, _ in found)


def test_tables_are_rendered_from_the_results():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, RESULTS) == text, "run: python benchmarks/coverage.py --page docs/variability.md"


def test_coverage_is_what_the_page_says():
    claim = re.search(
        r"held the\s+truth in ([\d.]+) % \(κ_50\) and ([\d.]+) % \(κ_80\)", PAGE.read_text(encoding="utf-8")
    )
    for figure, said in zip(("κ_50", "κ_80"), map(float, claim.groups()), strict=True):
        each = [100 * pooled(figure, spectrum=spectrum) for spectrum in ("power law", "spiked")]
        assert min(each) - 0.1 <= said <= max(each) + 0.1
        for spectrum in ("power law", "spiked"):
            for key in ("side", "kind", "ratio"):
                values = {one["cell"][key] for one in RESULTS if one["figures"][figure]["judged"]}
                for value in values:
                    assert 0.92 <= pooled(figure, spectrum=spectrum, **{key: value}) <= 0.98


def test_nothing_is_judged_below_four_rows_per_dimension_and_little_bias_is_left():
    for one in RESULTS:
        got = one["figures"]["κ_80"]
        assert got["judged"] == 0 or one["cell"]["ratio"] >= 4
        # flat spectra are the exception that the page names
        assert got["judged"] == 0 or abs(got["bias"]) < 0.1 or one["cell"]["spectrum"] == "flat"
