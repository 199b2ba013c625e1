"""State-dict keys as the network itself would name them: wrappers, counters and hooks undone."""

from __future__ import annotations

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

    def numel(self) -> int: ...


T = TypeVar("T", bound=_Counted)

#: Prefix → who adds it.
_WRAPPERS = {
    "module.": "DataParallel or a like wrapper",
    "_orig_mod.": "torch.compile",
    "model.": "a training class",
    "net.": "a training class",
    "network.": "a training class",
}
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
        prefix = next((p for p in _WRAPPERS if all(key.startswith(p) and len(key) > len(p) for key in tensors)), "")
        if not prefix:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        steps.append(f"removed the prefix '{prefix}' of {_WRAPPERS[prefix]}")
    return tensors, steps


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
