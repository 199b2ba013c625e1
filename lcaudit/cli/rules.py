"""``lcaudit rules``: what is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click

from lcaudit.cli._help import Command, option
from lcaudit.cli._streams import show
from lcaudit.core import figures
from lcaudit.core.outcomes import Rule
from lcaudit.core.serial import plain


@click.command(name="rules", cls=Command, short_help="List the rules.", examples=("rules", "rules --format json"))
@option("Output", "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text",
        show_default=True, help="A table, JSON with limits and sources, or a page with every manual.")  # fmt: skip
def COMMAND(form: str) -> int:
    """List every rule: code, severity, name and one line on what it finds."""
    from lcaudit import rules

    known = rules.all_rules()
    if form == "json":
        keys = ("code", "name", "summary", "severity", "kind", "limit")
        records = [{key: plain(getattr(rule, key)) for key in keys} for rule in known]
        show(json.dumps(records, indent=1, ensure_ascii=False) + "\n", for_people=False)
    elif form == "markdown":
        show("\n".join(_page(known)) + "\n", for_people=False)
    else:
        width = max(len(rule.name) for rule in known)
        lines = [f"{rule.code}  {rule.severity:<7}  {rule.name:<{width}}  {rule.summary}" for rule in known]
        show(
            "\n".join(
                [*lines, "", "`lcaudit explain CODE` tells what a rule means, how it is measured and what to do."]
            )
        )
    return 0


def _page(known: Sequence[Rule]) -> Iterator[str]:
    """The manual pages as Markdown, after a table of the rules."""
    from lcaudit import rules

    yield from ("# Rules", "", "<!-- Written by `lcaudit rules --format markdown`; edit the rules' own files. -->", "")
    yield "A *defect* is a fact; an *opportunity* is an estimated gain. A limit is compared with the whole interval of"
    yield "a figure: beyond it the check fails, within it the check passes, and with the limit inside it is undecided."
    yield from ("", "| code | rule | severity | kind | what it finds |", "|---|---|---|---|---|")
    for rule in known:
        link = f"[{rule.code}](#{rule.code.lower()}-{rule.name})"
        yield f"| {link} | {rule.name} | {rule.severity} | {rule.kind} | {rule.summary} |"
    for rule in known:
        yield from ("", f"## {rule.code} {rule.name}", "", f"{rule.summary}.")
        for heading, text in rules.record(rule).manual.items():
            yield from ("", f"**{heading}.** {text}")
        limit = figures.limit(rule.limit.value, rule.limit.unit)
        yield from ("", f"**Limit.** {limit}, of {rule.metric}: {rule.limit.source.rstrip('.')}.")
