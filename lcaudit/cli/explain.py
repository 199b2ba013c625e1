"""``lcaudit explain CODE``: the manual page of one rule."""

from __future__ import annotations

import textwrap

import click

from lcaudit.cli._help import Command
from lcaudit.cli._streams import show
from lcaudit.core import figures
from lcaudit.core.outcomes import Rule

_KINDS = {"defect": "a defect, that is a fact", "opportunity": "an opportunity, that is an estimated gain"}
_WIDTH = 106


@click.command(
    name="explain", cls=Command, short_help="Explain a rule.", examples=("explain LC301", "explain dead-input-features")
)
@click.argument("code")
def COMMAND(code: str) -> int:
    """Print what the rule CODE means, why it matters, how it is measured, and what to do.

    CODE is a code (LC301), a name (ill-conditioned-head) or a finding's id (LC301:linear). `lcaudit rules`
    lists them.
    """
    from lcaudit import rules

    rule = rules.find(code.partition(":")[0])
    show(f"{rules.manual(rule)}\n\n{_verdict(rule)}")
    return 0


def _verdict(rule: Rule) -> str:
    lines = (
        f"Severity: {rule.severity}, as {_KINDS[rule.kind]}.",
        f"Limit: {figures.limit(rule.limit.value, rule.limit.unit)}.",
        f"Where the limit comes from: {rule.limit.source.rstrip('.')}.",
    )
    wrapped = [textwrap.fill(line, _WIDTH, initial_indent="    ", subsequent_indent="    ") for line in lines]
    return "\n".join(["Verdict", *wrapped])
