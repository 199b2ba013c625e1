"""``lcaudit explain CODE``: the manual page of one rule."""

from __future__ import annotations

import click


@click.command(name="explain", short_help="Explain a rule.")
@click.argument("code")
def COMMAND(code: str) -> int:
    """Print what the rule CODE means, why it matters, how it is measured, and what to do.

    CODE is a code (LC301), a name (ill-conditioned-head) or a finding's id (LC301:linear).
    """
    from lcaudit import rules

    rule = rules.find(code.partition(":")[0])
    click.echo(f"{rule.code} {rule.name}  ({rule.severity}, {rule.kind})\n")
    click.echo(rules.manual(rule))
    limit = rule.limit
    click.echo(f"\nLimit: {limit.value:g} {'' if limit.unit == '1' else limit.unit}".rstrip())
    click.echo(f"Source of the limit: {limit.source}")
    return 0
