"""How LC301 and LC302 judge a layer: the gain in κ_80 of the best change that needs no other data."""

from __future__ import annotations

import math

from lcaudit.core.measurements import LayerSpectra, WhatIf
from lcaudit.core.outcomes import Fail, Outcome, Pass, Skip, Undecided
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import figure, interval, percent, too_few

#: How the changes are called in sentences.
CHANGES = {"batch_norm": "BatchNorm before it", "centring": "centring its input"}


def best_change(spectra: LayerSpectra) -> WhatIf | None:
    """BatchNorm, or centring where that gains more; ``None`` where neither was computed."""
    options = [spectra.what_if[change] for change in CHANGES if change in spectra.what_if]
    return max(options, key=lambda option: option.gain.value) if options else None


def judge_gain(spectra: LayerSpectra, limit: float, cause: str, evidence: tuple[str, ...]) -> Outcome:
    """One layer's verdict: the whole interval of the gain against ``limit``."""
    name = spectra.layer.name
    options = [spectra.what_if[change] for change in CHANGES if change in spectra.what_if]
    best = best_change(spectra)
    if best is None:
        return Skip(name, "no change of its input was computed for this layer")
    if any(math.isnan(option.gain.value) for option in options):
        return Undecided(name, best.gain, "the gain is not a number: the layer's input was not finite")
    shortage = too_few(spectra)
    if shortage:
        return Undecided(name, best.gain, shortage)
    if not all(option.gain.reliable for option in options):
        return Undecided(
            name,
            best.gain,
            f"the small-sample bias of κ is too large to correct at {count(spectra.samples, 'sample')}; "
            f"{spectra.enough_samples} are the least, this layer needs more",
        )
    place = best.gain.against(limit)
    if place == "below":
        return Pass(name, best.gain)
    if place == "above":
        return Fail(name, best.gain, cause, evidence)
    if place == "straddles":
        return Undecided(name, best.gain, f"the limit {figure(limit)} lies inside the {interval(best.gain)}")
    return Undecided(name, best.gain, "the gain has no interval")


def before_after(spectra: LayerSpectra) -> str:
    """``κ_80 2 960 → 294 after BatchNorm, 491 after centring alone``, as far as computed."""
    parts = []
    for change, words in (("batch_norm", "after BatchNorm"), ("centring", "after centring alone")):
        what_if = spectra.what_if.get(change)
        if what_if is not None and "80" in what_if.condition_number:
            parts.append(f"{figure(what_if.condition_number['80'].value)} {words}")
    now = spectra.input.condition_number.get("80")
    return f"κ_80 {figure(now.value if now else math.nan)} → {', '.join(parts)}"


def layer_sentence(spectra: LayerSpectra) -> str:
    """One layer's row in the evidence of a finding that lists several."""
    best = best_change(spectra)
    gain = f" (gain {figure(best.gain.value)}×, {interval(best.gain)})" if best else ""
    return (
        f"{display_name(spectra.layer.name)}: {before_after(spectra)}{gain}; "
        f"the mean holds {percent(spectra.mean_energy.value)} of its input's energy."
    )
