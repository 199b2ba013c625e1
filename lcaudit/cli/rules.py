"""``lcaudit rules``: what is checked."""

from __future__ import annotations

import json

import click

from lcaudit.cli._help import Command, option
from lcaudit.cli._streams import show
from lcaudit.core.serial import plain


@click.command(name="rules", cls=Command, short_help="List the rules.", examples=("rules", "rules --format json"))
@option("Output", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="A table, or JSON with the limits and their sources.")  # fmt: skip
def COMMAND(form: str) -> int:
    """List every rule: code, severity, name and one line on what it finds."""
    from lcaudit import rules

    known = rules.all_rules()
    if form == "json":
        keys = ("code", "name", "summary", "severity", "kind", "limit")
        records = [{key: plain(getattr(rule, key)) for key in keys} for rule in known]
        show(json.dumps(records, indent=1, ensure_ascii=False) + "\n", for_people=False)
        return 0
    width = max(len(rule.name) for rule in known)
    lines = [f"{rule.code}  {rule.severity:<7}  {rule.name:<{width}}  {rule.summary}" for rule in known]
    show("\n".join([*lines, "", "`lcaudit explain CODE` tells what a rule means, how it is measured and what to do."]))
    return 0
