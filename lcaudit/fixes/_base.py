"""What the fixes share: the contract of a fix file, effects from the measured what-ifs, and safe names in code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lcaudit.core.measurements import LayerRecord, LayerSpectra, Measurements
from lcaudit.core.outcomes import Effect, Finding, Fix
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, display_name, one_line

_PATH = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_LONGEST_PATH = 200
#: Condition numbers whose change is told, and the one that the measured gain belongs to.
_TOLD, _GAIN = ("80", "50"), "80"


@dataclass(frozen=True, slots=True)
class Remedy:
    """A fix file's constant ``FIX``.

    Attributes:
        id: the file's name in kebab case. mends: codes of the rules whose findings it answers.
        propose: finding and measurements → the fix for it, or ``None`` where it does not apply.
    """

    id: str
    mends: tuple[str, ...]
    propose: Callable[[Finding, Measurements], Fix | None]


def layers_of(finding: Finding, measurements: Measurements) -> tuple[LayerSpectra, ...]:
    """The spectra of the finding's layers, in order of execution."""
    return tuple(spectra for spectra in measurements.layers if spectra.layer.name in finding.layers)


def gaining(change: str, finding: Finding, measurements: Measurements) -> tuple[LayerSpectra, ...]:
    """The finding's layers that ``change`` is computed to improve and that it can be folded into.

    What it would make worse is never proposed.
    """
    return tuple(
        spectra
        for spectra in layers_of(finding, measurements)
        if change in spectra.what_if and spectra.what_if[change].gain.value > 1 and alone(spectra.layer)
    )


def effects_of(change: str, layers: Sequence[LayerSpectra]) -> tuple[Effect, ...]:
    """κ_80 and κ_50 of every layer's input before and after ``change``, computed from the same moments."""
    effects = []
    for spectra in layers:
        what_if = spectra.what_if.get(change)
        for percentile in _TOLD:
            before = spectra.input.condition_number.get(percentile)
            after = what_if.condition_number.get(percentile) if what_if else None
            if what_if is None or before is None or after is None:
                continue
            gain = replace(what_if.gain, unit="×") if percentile == _GAIN else _ratio(before, after)
            effects.append(Effect(spectra.layer.name, f"κ_{percentile} of Σ_x", before, after, gain, "computed"))
    return tuple(effects)


def _ratio(before: Quantity, after: Quantity) -> Quantity:
    """``before / after``. Both come from the same samples; taking the ends crosswise ignores that, so the
    interval is too wide rather than too narrow."""
    low = high = None
    if before.low is not None and before.high is not None and after.low and after.high:
        low, high = before.low / after.high, before.high / after.low
    return Quantity(
        before.value / after.value if after.value else math.nan,
        "×",
        low,
        high,
        method="ratio, ends taken crosswise",
        n=min(before.n, after.n),
        reliable=before.reliable and after.reliable,
    )


def best_gain(fix: Fix) -> float:
    """The largest gain in κ_80 that the fix promises; 0 where none was computed."""
    judged = [effect.gain.value for effect in fix.effects if effect.metric.startswith(f"κ_{_GAIN}")]
    gains = [gain for gain in judged if not math.isnan(gain)]
    return max(gains, default=0.0)


def foldable(layer: LayerRecord) -> bool:
    """Whether a change of scale and mean before the layer can be undone exactly in its weights.

    Padding is the obstacle: at the border the layer reads zeros that the change does not touch.
    """
    return "padding" not in layer.geometry


def alone(layer: LayerRecord) -> bool:
    """Whether a module of its own applies the weight: a change folded into a shared one would reach its partners."""
    return "shared with" not in layer.geometry and "not applied by" not in layer.geometry


def paths_in_code(layers: Sequence[LayerSpectra]) -> str:
    """The layers' names as a Python list literal, or ``""`` if one of them is not a plain module path.

    Names come from a file: only letters, digits, underscores and dots ever enter code.
    """
    names = [spectra.layer.name for spectra in layers]
    if not all(_PATH.fullmatch(name) and len(name) <= _LONGEST_PATH for name in names):
        return ""
    inner = ", ".join(f'"{name}"' for name in names)
    return f"[{inner}]" if len(inner) < 100 else "[\n" + "".join(f'    "{name}",\n' for name in names) + "]"


def named(layers: Sequence[LayerSpectra]) -> str:
    """The layers' names for a sentence."""
    return one_line([spectra.layer.name for spectra in layers])


def pad_with_zeros(padded: Sequence[LayerSpectra], layers: Sequence[LayerSpectra]) -> str:
    """Subject and verb of the warning that ``padded`` of ``layers`` cannot be folded exactly."""
    if len(padded) < len(layers):
        return f"{len(padded)} of {count(len(layers), 'layer')} pad with zeros ({named(padded)})"
    return "This layer pads with zeros" if len(layers) == 1 else "All of these layers pad with zeros"


def briefly(layers: Sequence[LayerSpectra]) -> str:
    """The one layer's name, or how many layers there are: for a title."""
    return display_name(layers[0].layer.name) if len(layers) == 1 else count(len(layers), "layer")
