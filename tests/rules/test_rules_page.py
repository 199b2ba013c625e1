"""docs/rules.md is what the rules say today."""

from __future__ import annotations

from pathlib import Path

from lcaudit import rules
from lcaudit.cli.rules import _page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def test_the_page_is_current() -> None:
    wanted = "\n".join(_page(rules.all_rules())) + "\n"
    assert PAGE.read_text(encoding="utf-8") == wanted, "run: lcaudit rules --format markdown > docs/rules.md"


def test_the_page_holds_every_section_of_every_rule() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for rule in rules.all_rules():
        part = text.split(f"\n## {rule.code} {rule.name}\n")[1].split("\n## ")[0]
        for heading, section in rules.record(rule).manual.items():
            assert f"**{heading}.** {section}" in part
        assert f"(#{rule.code.lower()}-{rule.name})" in text.split("\n## ")[0]
