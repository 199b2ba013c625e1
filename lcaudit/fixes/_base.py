"""What the fixes share: the contract of a fix file, effects from the measured what-ifs, and safe names in code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lcaudit.core.measurements import LayerRecord, LayerSpectra, Measurements
from lcaudit.core.outcomes import Effect, Finding, Fix, Price
from lcaudit.core.quantity import Quantity, ratio
from lcaudit.core.recipe import Step
from lcaudit.core.text import count, display_name, one_line

if TYPE_CHECKING:  # proposals are made from files too, where no network is at hand
    from lcaudit.core.types import ChannelStatistics

_PATH = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_LONGEST_PATH = 200
#: Condition numbers whose change is told, and the one that the measured gain belongs to.
_TOLD, _GAIN = ("80", "50"), "80"


@dataclass(frozen=True, slots=True)
class Study:
    """A network at hand, for a fix to plan its steps; its probe is the half that measures.

    Attributes:
        measurements: of the original network.
        layer: path → the plain ``nn.Linear`` or convolution there, or ``None``.
        padding: such a layer → zeros it puts around its input, as ``torch.nn.functional.pad`` takes them.
        channel_statistics: paths with paddings → what they read, see :mod:`lcaudit.capture.channel_statistics`.
        running_statistics: → what the batch norms' running statistics become on the probe, by path;
            ``stored_statistics``: what they are.
        loss: steps → the network's loss on the probe with them applied; ``None`` without labels.
    """

    measurements: Measurements
    layer: Callable[[str], Any]
    padding: Callable[[Any], tuple[int, ...]]
    channel_statistics: Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, ChannelStatistics]]
    running_statistics: Callable[[], Mapping[str, ChannelStatistics]]
    stored_statistics: Callable[[], Mapping[str, ChannelStatistics]]
    loss: Callable[[tuple[Step, ...]], float | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a fix on a network. ``left_out``: by layer, why it gets none. ``what``: what was done, in words."""

    steps: tuple[Step, ...]
    what: str
    left_out: Mapping[str, str]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the steps change."""
        names = [path for step in self.steps for role, path in step.modules.items() if role != "normalisation"]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Remedy:
    """A fix file's constant ``FIX``.

    Attributes:
        id: the file's name in kebab case. mends: codes of the rules whose findings it answers.
        propose: finding and measurements → the fix for it, or ``None`` where it does not apply.
        plan: how ``lcaudit fix`` makes it; ``None`` for advice.
        order: smaller comes first; what inserts modules comes last, since it renames layers.
        request: measurements → the fix where the user asks for it by name and no finding proposes it.
    """

    id: str
    mends: tuple[str, ...]
    propose: Callable[[Finding, Measurements], Fix | None]
    plan: Callable[[Fix, Study], Plan] | None = None
    order: int = 0
    request: Callable[[Measurements], Fix] | None = None


def layers_of(finding: Finding, measurements: Measurements) -> tuple[LayerSpectra, ...]:
    """The spectra of the finding's layers, in order of execution."""
    return tuple(spectra for spectra in measurements.layers if spectra.layer.name in finding.layers)


def gaining(change: str, finding: Finding, measurements: Measurements, least: float = 1.0) -> tuple[LayerSpectra, ...]:
    """The finding's layers that ``change`` is computed to improve by more than ``least``, and that stand alone.

    What it would make worse is never proposed.
    """
    return tuple(
        spectra
        for spectra in layers_of(finding, measurements)
        if change in spectra.what_if and spectra.what_if[change].gain.value > least and alone(spectra.layer)
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
            gain = replace(what_if.gain, unit="×") if percentile == _GAIN else _shown(before, after)
            effects.append(Effect(spectra.layer.name, f"κ_{percentile} of Σ_x", before, after, gain, "computed"))
    return tuple(effects)


def best_gain(fix: Fix) -> float:
    """The largest gain in κ_80 that the fix promises; 0 where none was computed."""
    judged = [effect.gain.value for effect in fix.effects if effect.metric.startswith(f"κ_{_GAIN}")]
    gains = [gain for gain in judged if not math.isnan(gain)]
    return max(gains, default=0.0)


def price(layers: Sequence[LayerSpectra], parameters: int, operations: int, *, retraining: bool = False) -> Price:
    """Of something put before each layer.

    Args:
        parameters: learned numbers for each channel that a layer reads. operations: for each number that it reads.
    """
    read = [spectra.layer for spectra in layers]
    known = all(layer.elements for layer in read)
    return Price(
        parameters * sum(layer.channels for layer in read),
        operations * sum(layer.elements for layer in read) if known else None,
        retraining,
    )


#: Least gain for which weights are advised to be trained again.
MORE_THAN_NOTHING = 1.5


def retrained_norm(
    change: str, norm: str, *, does: str, convolution: str, parameters: int, operations: int, cost: str
) -> Callable[[Finding, Measurements], Fix | None]:
    """How to propose a normalisation within each sample, where it was measured and would help.

    It changes the function: a batch norm, which does not, is the first choice.

    Args:
        change: name of the what-if. norm: of the module. does: what it does to a sample; convolution: its form there.
        parameters, operations: as of :func:`price`. cost: the same in words.
    """

    def propose(finding: Finding, measurements: Measurements) -> Fix | None:
        layers = gaining(change, finding, measurements, least=MORE_THAN_NOTHING)
        if not layers:
            return None
        return Fix(
            id=f"{change.replace('_', '-')}-before",
            title=f"Train again with {norm} before {briefly(layers)}",
            applicability="display",
            layers=tuple(spectra.layer.name for spectra in layers),
            effects=effects_of(change, layers),
            how=(
                f"A {norm} directly before {named(layers)}: {does}. It works the same on one sample as on many, and so "
                "needs no running statistics. But no weights behind it compute what the network computes now: it is "
                "for a new training run, or to be trained into this one. The gain is what it does to the input as it "
                f"is now; after training the input and Σ_g are others. For a convolution: {convolution}."
            ),
            code="",
            cost=f"{cost}, which cannot be folded away; retraining.",
            price=price(layers, parameters, operations, retraining=True),
        )

    return propose


#: A price of nothing, for changes of numbers that the network has already.
FREE = Price(0, 0, False)


def foldable(layer: LayerRecord) -> bool:
    """Whether a change of scale and mean before the layer can be undone exactly in its weights as it stands.

    Padding is the obstacle: at the border the layer reads zeros that the change does not touch, unless they are
    put there before it.
    """
    return "padding" not in layer.geometry


def alone(layer: LayerRecord) -> bool:
    """Whether a module of its own applies the weight: a change folded into a shared one would reach its partners."""
    return "shared with" not in layer.geometry and "not applied by" not in layer.geometry


def are_paths(names: Sequence[str]) -> bool:
    """Whether all names are plain module paths, which code may hold."""
    return all(_PATH.fullmatch(name) and len(name) <= _LONGEST_PATH for name in names)


def paths_in_code(layers: Sequence[LayerSpectra]) -> str:
    """The layers' names as a Python list literal, or ``""`` if one of them is not a plain module path.

    Names come from a file: only letters, digits, underscores and dots ever enter code.
    """
    names = [spectra.layer.name for spectra in layers]
    if not are_paths(names):
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


#: What becomes of zero padding, after the subject and verb of :func:`pad_with_zeros`.
BORDERS = (
    "the zeros are put there before the change, in a step of their own, so that outputs at the borders stay the "
    "same too; the gain is computed for exactly that."
)
NO_PLAIN_LAYER = "no plain nn.Linear or convolution applies it"


def insertable(name: str, study: Study) -> str:
    """Why no module can be put before the layer, or ``""``."""
    return "" if study.layer(name) is not None else NO_PLAIN_LAYER


def briefly(layers: Sequence[LayerSpectra]) -> str:
    """The one layer's name, or how many layers there are: for a title."""
    return display_name(layers[0].layer.name) if len(layers) == 1 else count(len(layers), "layer")


def _shown(before: Quantity, after: Quantity) -> Quantity:
    """``before / after`` as it is told: no verdict rests on it, so it has no scale to widen its interval on."""
    return replace(ratio(before, after), scale="linear", degrees=0)
