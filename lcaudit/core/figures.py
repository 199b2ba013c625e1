"""Numbers as people read them, the same in every sentence and every format.

A number shows two digits of its uncertainty, and three of its own at most; three where it has no
interval. What is not a number is said in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lcaudit.core.measurements import Attribution, FactorSpectrum
from lcaudit.core.quantity import VERDICT_LEVEL, Quantity
from lcaudit.core.text import display_name

#: Units whose numbers are shares of 1 and are shown in percent.
SHARES = frozenset({"share", "fraction"})


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity in words: ``value`` with its unit, ``low`` and ``high`` without; empty if unknown."""

    value: str
    low: str = ""
    high: str = ""
    note: str = ""

    @property
    def interval(self) -> str:
        """``low – high``, or ``""`` where there is no interval."""
        return f"{self.low} – {self.high}" if self.low else ""


def number(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits: ``2960``, ``0.0831``, ``4.10e5``, ``infinite``."""
    if not math.isfinite(value):
        return _word(value)
    if value == 0:
        return "0"
    exponent = _exponent(value, digits)
    if -4 < exponent < 5:
        return _decimal(value, digits - 1 - exponent)
    return scientific(value, digits)


def scientific(value: float, digits: int = 3) -> str:
    """``value`` with a one-digit mantissa: ``2.96e3``. Columns of these align."""
    if not math.isfinite(value):
        return _word(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def plain(value: float) -> str:
    """A limit or a count, shown in full: ``10``, ``0.05``, ``12 345``, ``1e6``."""
    if not math.isfinite(value):
        return _word(value)
    if value == int(value) and abs(value) < 1e6:
        return grouped(int(value))
    return f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def rounded_up(number: int) -> int:
    """A number that was extrapolated, rounded up to two digits."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def grouped(value: int) -> str:
    """A count with its thousands set apart: ``269 722``; four digits stay together."""
    return f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)


def rank(spectrum: FactorSpectrum) -> str:
    """``12/64``; where the rank is only bounded, ``12–40/64``."""
    most = "" if spectrum.rank_at_most is None else f"–{spectrum.rank_at_most}"
    return f"{spectrum.rank}{most}/{spectrum.dimension}"


def percent(share: float, places: int = 1) -> str:
    """A share of 1 as ``8.3 %``."""
    return f"{100 * share:.{places}f} %" if math.isfinite(100 * share) else _word(100 * share)


def figure(quantity: Quantity) -> Figure:
    """``quantity`` with its unit and interval, rounded to what the interval supports."""
    share = quantity.unit in SHARES
    scale = 100.0 if share else 1.0
    value, note = quantity.value * scale, "" if quantity.reliable else f"not reliable at n = {grouped(quantity.n)}"
    ends = _ends(quantity, scale)
    if ends is None or not math.isfinite(value):
        exact = quantity.method == "exact"
        text = plain(float(f"{value:.3g}") if share else value) if exact else number(value)
        if quantity.bounds_only and quantity.high == math.inf:
            text, note = f"≥ {text}", "no upper bound"
        return Figure(with_unit(text, quantity.unit), note=note)
    value_text, low, high = _together(value, *ends)
    return Figure(with_unit(value_text, quantity.unit), low, high, note)


def interval(quantity: Quantity) -> str:
    """The interval in words, ``95 % interval 36.6 – 37.9``, or why there is none."""
    shown = figure(quantity)
    if shown.interval:
        return f"{plain(100 * quantity.level)} % interval {shown.interval}"
    return "exact" if quantity.method == "exact" else "no interval"


def judged_interval(quantity: Quantity) -> str:
    """The wider interval that verdicts look at, in words: ``99.9 % interval 35.9 – 38.6``."""
    ends = quantity.at(VERDICT_LEVEL)
    if ends is None or quantity.method == "exact":
        return interval(quantity)
    # Nothing that is judged can be negative; moving an end in proportion does not know that.
    low = max(0.0, ends[0]) if quantity.low is not None and quantity.low >= 0 else ends[0]
    return interval(replace(quantity, low=low, high=ends[1], level=VERDICT_LEVEL))


def spoken(quantity: Quantity) -> str:
    """The figure, with its interval in parentheses: ``8.3 % (6.6 – 10.3)``."""
    shown = figure(quantity)
    return f"{shown.value} ({shown.interval})" if shown.interval else shown.value


def span(quantities: Sequence[Quantity]) -> str:
    """Smallest to largest value, the unit once: ``10.7 to 37.2×``; ``""`` for none."""
    shown = [figure(quantity).value for quantity in sorted(quantities, key=lambda quantity: quantity.value)]
    if not shown or shown[0] == shown[-1]:
        return shown[0] if shown else ""
    return f"{shown[0].rstrip(' %×')} to {shown[-1]}"


def made_of(parts: Attribution) -> str:
    """What a condition number is made of: ``6.03× (mean) · 1.58× (scales) · 311× (correlations)``."""
    named = ((parts.mean, "mean"), (parts.scale, "scales"), (parts.correlation, "correlations"))
    return " · ".join(f"{figure(part).value} ({name})" for part, name in named)


def limit(value: float, unit: str) -> str:
    """A threshold with its unit."""
    return with_unit(plain(value * 100 if unit in SHARES else value), unit)


def with_unit(text: str, unit: str) -> str:
    """``text`` with ``unit``; a pure number stays bare, a ratio gets ``×`` without a space."""
    if unit in SHARES:
        return f"{text} %"
    if unit in ("×", "x"):
        return f"{text}×"
    return text if unit in ("1", "") else f"{text} {display_name(unit, 24)}"


def _ends(quantity: Quantity, scale: float) -> tuple[float, float] | None:
    low, high = quantity.low, quantity.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return low * scale, high * scale


def _together(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Value and ends with the same last place, so that the eye can compare them."""
    half, top = (high - low) / 2, max(abs(value), abs(low), abs(high))
    if half <= 0 or top == 0:
        return number(value), number(low), number(high)
    exponent = _exponent(top, 3)
    place = max(_exponent(half, 2) - 1, exponent - 2)
    if -4 < exponent < 5:
        return _decimal(value, -place), _decimal(low, -place), _decimal(high, -place)
    shared = _exponent(value, 3) if value else exponent
    if abs(exponent - shared) > 1:
        return scientific(value), scientific(low), scientific(high)
    places = max(0, shared - place)
    text = tuple(f"{end / 10**shared:.{places}f}e{shared}" for end in (value, low, high))
    return text[0], text[1], text[2]


def _exponent(value: float, digits: int) -> int:
    """Decimal exponent after rounding to ``digits``: 9.99 rounded to 2 digits has exponent 1."""
    return int(f"{value:.{max(0, digits - 1)}e}".split("e")[1]) if value else 0


def _decimal(value: float, places: int) -> str:
    if places > 0:
        text = f"{value:.{places}f}"
        whole, _, fraction = text.partition(".")
        return f"{grouped(int(whole))}.{fraction}" if abs(value) >= 10_000 else text
    return grouped(int(round(value, places)))


def _word(value: float) -> str:
    return "undefined" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
