"""The table of docs/recognition.md is that of the committed sweep, and the sweep found no wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.recognition import page, summary
from lcaudit.architectures._index.lookup import index

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "recognition.md"
DATA = json.loads((ROOT / "benchmarks" / "results" / "recognition.json").read_text(encoding="utf-8"))


def test_the_table_is_rendered_from_the_results() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, DATA) == text, "run: python benchmarks/recognition.py --resume --page docs/recognition.md"


def test_the_sweep_is_wide_and_found_no_network_taken_for_another() -> None:
    found = summary(DATA["rows"])
    assert sum(found["timm"].values()) >= 150 and sum(found["torchvision"].values()) >= 60
    for outcomes in found.values():
        assert outcomes["recognised"] > 0.8 * sum(outcomes.values())
        assert not {"wrong", "crash"} & outcomes.keys()


def test_the_sweep_and_the_index_are_of_the_same_libraries() -> None:
    assert all(DATA["libraries"][name] == index().libraries[name] for name in ("timm", "torchvision"))
