"""How LC301 and LC302 judge a layer: the gain in κ_80 of the best change that needs no other data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures
from lcaudit.core.measurements import LayerSpectra, WhatIf
from lcaudit.core.outcomes import Fail, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import too_few, worst

#: How the changes are called in sentences, and as the name of the figure.
CHANGES = {"batch_norm": "BatchNorm before it", "centring": "centring its input"}
METRICS = {
    "batch_norm": "gain: κ_80 of Σ_x now / after BatchNorm",
    "centring": "gain: κ_80 of Σ_x now / after centring",
}


def limits_of_gains(chosen: Sequence[Rule]) -> tuple[float, ...]:
    """Of those rules that judge a gain."""
    return tuple(rule.limit.value for rule in chosen if rule.metric in METRICS.values())


#: The same changes as the subject of a sentence.
SUBJECTS = {"batch_norm": "BatchNorm", "centring": "centring"}


def change_of(fail: Fail) -> str:
    """The change whose gain the fail's figure is."""
    return next((change for change, metric in METRICS.items() if metric == fail.metric), "batch_norm")


def changes_of(fails: Sequence[Fail]) -> str:
    """The change that lowers κ most in these layers, the one that the finding's figure belongs to, leading."""
    best = change_of(worst(fails))
    others = [change for change in CHANGES if change != best and any(change_of(fail) == change for fail in fails)]
    return SUBJECTS[best] + "".join(f" ({SUBJECTS[change]} where that gains more)" for change in others)


def best_change(spectra: LayerSpectra) -> WhatIf | None:
    """BatchNorm, or centring where that gains more, its gain in ×; ``None`` where neither was computed."""
    options = [spectra.what_if[change] for change in CHANGES if change in spectra.what_if]
    if not options:
        return None
    best = max(options, key=lambda option: option.gain.value)
    return replace(best, gain=replace(best.gain, unit="×"))


def judge_gain(spectra: LayerSpectra, limit: float, cause: str, evidence: tuple[str, ...]) -> Outcome:
    """One layer's verdict: the whole interval of the gain against ``limit``."""
    outcome = _judged(spectra, limit, cause, evidence)
    best = best_change(spectra)
    if isinstance(outcome, Undecided) and best and best.change == "centring":
        # tables of layers show what BatchNorm gains: say that this is another figure
        return replace(outcome, reason=f"this is the gain of centring, above BatchNorm's; {outcome.reason}")
    return outcome


def _judged(spectra: LayerSpectra, limit: float, cause: str, evidence: tuple[str, ...]) -> Outcome:
    name = spectra.layer.name
    options = [spectra.what_if[change] for change in CHANGES if change in spectra.what_if]
    best = best_change(spectra)
    if best is None:
        return Skip(name, "no change of its input was computed for this layer")
    if any(math.isnan(option.gain.value) for option in options):
        return Undecided(
            name, best.gain, "the gain is not a number: nothing is left of the layer's input once its mean is taken out"
        )
    shortage = too_few(spectra)
    if shortage:
        return Undecided(name, best.gain, shortage)
    if any(option.gain.bounds_only for option in options):
        return Undecided(name, best.gain, f"the gain is known within bounds only: {figures.spoken(best.gain)}")
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
        return Fail(name, best.gain, cause, evidence, metric=METRICS[best.change])
    if place == "straddles":
        inside = f"the limit {figures.limit(limit, '×')} lies inside the {figures.judged_interval(best.gain)}"
        return Undecided(name, best.gain, inside)
    return Undecided(name, best.gain, "the gain has no interval")


def kappa_80(spectra: LayerSpectra, change: str = "") -> str:
    """κ_80 of Σ_x as it is, or after ``change``; ``""`` where it was not computed."""
    what_if = spectra.what_if.get(change)
    known = spectra.input.condition_number if not change else what_if.condition_number if what_if else {}
    return figures.figure(known["80"]).value if "80" in known else ""


def before_after(spectra: LayerSpectra) -> str:
    """``κ_80 2750 → 306 after BatchNorm, 476 after centring alone``, as far as computed."""
    changes = (("batch_norm", "after BatchNorm"), ("centring", "after centring alone"))
    known = ((kappa_80(spectra, change), words) for change, words in changes)
    after = ", ".join(f"{value} {words}" for value, words in known if value)
    return f"κ_80 {kappa_80(spectra) or 'unknown'} → {after}"


def layer_sentence(spectra: LayerSpectra) -> str:
    """One layer's row in the evidence of a finding that lists several."""
    energy = figures.percent(spectra.mean_energy.value)
    made = f"; κ_80 = {figures.made_of(parts)}" if (parts := spectra.attribution.get("80")) else ""
    return (
        f"{display_name(spectra.layer.name)}: {before_after(spectra)}{made}; "
        f"the mean holds {energy} of its input's energy."
    )


def parts_sentence(spectra: LayerSpectra) -> tuple[str, ...]:
    """What κ_80 is made of, in a sentence of its own, where that is known."""
    parts = spectra.attribution.get("80")
    if parts is None:
        return ()
    return (
        f"κ_80 is a product of three parts: {figures.made_of(parts)}. Centring takes the first away, BatchNorm the "
        "first two, nothing short of decorrelating features the third.",
    )
