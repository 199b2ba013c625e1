"""Which rules a selector names, and which fails a suppression excuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase

from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Rule, Suppression
from lcaudit.core.text import display_name

_PREFIX = re.compile(r"LC\d{0,3}")


def specificity(selector: str, rule: Rule) -> int:
    """Length of the code that the selector spells out, or −1 where it does not match."""
    if selector.lower() == rule.name:
        return len(rule.code)
    if selector.upper() == "ALL":
        return 0
    code = selector.upper()
    return len(code) if _PREFIX.fullmatch(code) and rule.code.startswith(code) else -1


class Excuses:
    """Suppressions at work on one audit: what excuses a fail, and which of them were idle.

    Args:
        suppressions: in order; of several that cover one fail the first counts.
        today: the day of the audit, after which an ``until`` has expired.
    """

    def __init__(self, suppressions: Iterable[Suppression], today: date) -> None:
        self.valid: list[Suppression] = []
        self.expired: list[Suppression] = []
        for one in suppressions:
            (self.expired if _expired(one, today) else self.valid).append(one)
        self.used: set[Suppression] = set()
        self.missed: set[Suppression] = set()

    def __call__(self, rule: Rule, layer: str) -> Suppression | None:
        """What excuses a fail of ``rule`` on ``layer`` (``""``: the whole model); ``None`` where it counts."""
        self.missed.update(one for one in self.expired if _covers(one, rule, layer))
        covering = [one for one in self.valid if _covers(one, rule, layer)]
        self.used.update(covering)
        return covering[0] if covering else None

    def notices(self, rules: Sequence[Rule], measurements: Measurements) -> tuple[str, ...]:
        """One sentence for each suppression that has expired, matches no layer, or had nothing to suppress.

        Suppressions of rules that did not run are left alone: nothing is known about them.
        """
        layers = {spectra.layer.name for spectra in measurements.layers}
        layers.update(one.name for one in measurements.batch_norms)
        layers.update(one.name for one in measurements.not_audited)
        said = []
        for one in dict.fromkeys(self.expired):
            effect = "its finding counts again" if one in self.missed else "it has nothing left to suppress: remove it"
            said.append(f"{_named(one)} expired on {one.until}; {effect}")
        for one in dict.fromkeys(self.valid):
            if one in self.used or not any(specificity(one.rule, rule) >= 0 for rule in rules):
                continue
            gone = one.layer and not any(fnmatchcase(layer, one.layer) for layer in layers)
            reason = "no layer has such a name" if gone else "no finding needed it"
            said.append(f"{_named(one)} is unused: {reason}; remove it")
        return tuple(said)


def _covers(suppression: Suppression, rule: Rule, layer: str) -> bool:
    if specificity(suppression.rule, rule) < 0:
        return False
    return not suppression.layer or bool(layer and fnmatchcase(layer, suppression.layer))


def _expired(suppression: Suppression, today: date) -> bool:
    return bool(suppression.until) and date.fromisoformat(suppression.until) < today


def _named(suppression: Suppression) -> str:
    place = f" on {display_name(suppression.layer, 80)}" if suppression.layer else ""
    source = f" ({display_name(suppression.source, 80)})" if suppression.source else ""
    return f"suppression of {display_name(suppression.rule, 40)}{place}{source}"
