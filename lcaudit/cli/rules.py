"""``lcaudit rules``: what is checked."""

from __future__ import annotations

import json

import click

from lcaudit.core.serial import plain


@click.command(name="rules", short_help="List the rules.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def COMMAND(form: str) -> int:
    """List every rule: code, severity, name and one line on what it finds."""
    from lcaudit import rules

    known = rules.all_rules()
    if form == "json":
        keys = ("code", "name", "summary", "severity", "kind", "limit")
        records = [{key: plain(getattr(rule, key)) for key in keys} for rule in known]
        click.echo(json.dumps(records, indent=1, ensure_ascii=False))
        return 0
    width = max(len(rule.name) for rule in known)
    for rule in known:
        click.echo(f"{rule.code}  {rule.severity:<7}  {rule.name:<{width}}  {rule.summary}")
    click.echo("\nlcaudit explain CODE tells what a rule means, how it is measured and what to do.")
    return 0
