"""State-dict keys as the network itself would name them: wrappers, counters and hooks undone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lcaudit.core.errors import LimitExceeded, MalformedInput
from lcaudit.core.text import count, display_name, one_line

if TYPE_CHECKING:  # keys are unwrapped without torch
    import torch

MOST_TENSORS = 200_000
MOST_NAME = 1000


class _Counted(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def numel(self) -> int: ...


T = TypeVar("T", bound=_Counted)

#: Prefix → who adds it.
_WRAPPERS = {
    "module.": "DataParallel or a like wrapper",
    "_orig_mod.": "torch.compile",
    "_forward_module.": "Fabric or DeepSpeed",
    "model.": "a training class",
    "net.": "a training class",
    "network.": "a training class",
}
#: First part of a key, as training classes name what they keep beside the network and never train with it.
_MEASURES = re.compile(
    r"(?:(?:train|training|val|valid|validation|test|best)_)?(?:top\d_)?"
    r"(?:loss|criterion|metrics?|acc|accuracy|f1|f1_score|precision|recall|auroc|auc|confmat|confusion_matrix|ece|iou|miou)"
    r"(?:_fn|_func|_function|_top\d|_?\d)?",
    re.IGNORECASE,
)
#: First part of a key → a running average of the network, kept beside it.
_AVERAGES = frozenset({"ema", "ema_model", "model_ema", "ema_net", "net_ema", "averaged_model", "swa_model"})
#: Last part of a key → who adds it; single numbers that no network uses.
_COUNTERS = {"total_ops": "thop", "total_params": "thop", "n_averaged": "AveragedModel"}


def named_tensors(label: str, state: Mapping[Any, Any]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Tensors by key, sorted by key, and what was left out or undone, in words.

    Raises:
        MalformedInput: keys that are no strings, no tensors, or weights stored in parts.
        LimitExceeded: too many tensors, or a name that is too long.
    """
    import torch

    odd = [key for key in state if not isinstance(key, str)]
    if odd:
        shown = one_line([f"{key!r} ({type(key).__name__})" for key in odd], 3)
        raise MalformedInput(
            f"{label}: keys of a state dict must be strings, saw {shown}", "rename the keys and save again"
        )
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if len(tensors) > MOST_TENSORS:
        raise LimitExceeded(f"{label}: {len(tensors):,} tensors, at most {MOST_TENSORS:,} are read", "check the file")
    if any(len(key) > MOST_NAME for key in tensors):
        raise LimitExceeded(f"{label}: a tensor name of more than {MOST_NAME:,} characters", "check the file")
    steps = []
    others = sorted(key for key in state if key not in tensors)
    if others:
        steps.append(
            f"left out {count(len(others), 'entry', 'entries')} that {_are(others)} no tensor: {one_line(others)}"
        )
    tensors, undone = unwrap(label, tensors)
    return tensors, [*steps, *undone]


def unwrap(label: str, tensors: dict[str, T]) -> tuple[dict[str, T], list[str]]:
    """The same, sorted by key, without counters and prefixes, and what was left out or undone, in words.

    Raises:
        MalformedInput: nothing is left, or weights are stored in parts.
    """
    tensors, steps = _without_counters(tensors)
    tensors, stripped = _without_prefixes(tensors)
    steps += stripped
    if not tensors:
        raise MalformedInput(f"{label}: holds no tensors", "name a file that holds a model's weights")
    _refuse_weights_in_parts(label, tensors)
    return dict(sorted(tensors.items())), steps


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _without_counters(tensors: dict[str, T]) -> tuple[dict[str, T], list[str]]:
    steps = []
    for name, writer in _COUNTERS.items():
        found = [key for key, value in tensors.items() if key.rsplit(".", 1)[-1] == name and value.numel() == 1]
        if found:
            steps.append(f"left out {count(len(found), 'counter')} '{name}' that {writer} added")
            tensors = {key: value for key, value in tensors.items() if key not in set(found)}
    return tensors, steps


def _without_prefixes(tensors: dict[str, T]) -> tuple[dict[str, T], list[str]]:
    """Strip a wrapper's prefix where every key has it, again and again, in whatever order they nest."""
    steps: list[str] = []
    while tensors:
        tensors, alone = _without_companions(tensors)
        steps += alone
        prefix = next((p for p in _WRAPPERS if all(key.startswith(p) and len(key) > len(p) for key in tensors)), "")
        if not prefix:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        steps.append(f"removed the prefix '{prefix}' of {_WRAPPERS[prefix]}")
    return tensors, steps


def _without_companions(tensors: dict[str, T]) -> tuple[dict[str, T], list[str]]:
    """Leave out what a training class keeps beside its network: losses, metrics and a running average.

    Only where what stays is one part of that class, and only an average that has every tensor of the network; else
    these are parts of a network like others.
    """
    parts: dict[str, dict[str, T]] = {}
    for key, value in tensors.items():
        first, dot, rest = key.partition(".")
        parts.setdefault(first if dot else "", {})[rest or key] = value
    measures = [name for name in parts if _MEASURES.fullmatch(name)]
    averages = [name for name in parts if name.casefold() in _AVERAGES]
    network = [name for name in parts if name not in {*measures, *averages}]
    if len(network) != 1 or not network[0] or len(parts) == 1:
        return tensors, []
    (name,) = network
    if any(_shapes(parts[average]) != _shapes(parts[name]) for average in averages):
        return tensors, []
    steps = []
    for names, what in ((measures, "losses or metrics"), (averages, "a running average of the network")):
        if names:
            number = count(sum(len(parts[one]) for one in names), "tensor")
            steps.append(f"left out {number} of {what} beside '{display_name(name, 80)}': {one_line(names)}")
    return {f"{name}.{rest}": value for rest, value in parts[name].items()}, steps


def _shapes(tensors: Mapping[str, T]) -> dict[str, tuple[int, ...]]:
    """By key, without what a wrapper of the whole puts before all of them."""
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    while prefix := next((one for one in _WRAPPERS if all(key.startswith(one) for key in shapes)), ""):
        shapes = {key.removeprefix(prefix): shape for key, shape in shapes.items()}
    return shapes


def _refuse_weights_in_parts(label: str, tensors: Mapping[str, T]) -> None:
    """A weight that is computed from other tensors before each forward pass is not in the file as such."""
    for key in tensors:
        stem = key.removesuffix("_orig")
        if ".parametrizations." in f".{key}":
            what, hint = "a parametrized weight", "torch.nn.utils.parametrize.remove_parametrizations"
        elif stem != key and f"{stem}_mask" in tensors:
            what, hint = "a pruned weight and its mask", "torch.nn.utils.prune.remove"
        elif stem != key and f"{stem}_u" in tensors:
            what, hint = "a spectrally normalised weight", "torch.nn.utils.remove_spectral_norm"
        elif key.endswith("weight_g") and f"{key.removesuffix('_g')}_v" in tensors:
            what, hint = "a weight in direction and length", "torch.nn.utils.remove_weight_norm"
        else:
            continue
        raise MalformedInput(
            f"{label}: {display_name(key, 80)!r} is part of {what}, expected the weight itself",
            f"call {hint} on each such module, then save again",
        )
