"""Finding the one state dict in what was saved.

Training scripts save a mapping of many things, and the weights under one of a few names. Where only one
reading is possible it is taken and said; where several are, the user is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lcaudit.core.errors import MalformedInput
from lcaudit.core.text import display_name, one_line

#: Names for the weights as trained.
PLAIN = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "net_state_dict",
    "module",
    "weights",
    "params",
    "model_weights",
)
#: Names for a running average of them, taken only where nothing else is there.
AVERAGED = (
    "ema",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "model_ema_state_dict",
    "ema_state",
    "ema_model_state_dict",
    "params_ema",
    "averaged_model",
    "swa_state_dict",
    "shadow",
)
MOST_LEVELS = 8
_ONE_COPY = "save the one to audit alone: torch.save(model.state_dict(), 'weights.pt')"


def find_state_dict(label: str, tree: object) -> tuple[Mapping[Any, Any], list[Mapping[Any, Any]], list[str]]:
    """Walk down to the state dict.

    Args:
        label: printable name of the file.
        tree: what was saved.

    Returns:
        The innermost mapping, every mapping on the way from the outermost (itself last), and what was
        undone, in words.

    Raises:
        MalformedInput: there is none, or more than one.
    """
    path: list[Mapping[Any, Any]] = []
    steps: list[str] = []
    for _ in range(MOST_LEVELS):
        if isinstance(tree, torch.Tensor):
            raise MalformedInput(f"{label}: holds one tensor, expected a mapping of names to tensors", _ONE_COPY)
        if not isinstance(tree, Mapping):
            raise MalformedInput(
                f"{label}: holds a {type(tree).__name__}, expected a mapping of names to tensors", _ONE_COPY
            )
        path.append(tree)
        key, step = _choose(label, tree)
        if not step:
            return tree, path, steps
        steps.append(step)
        tree = tree[key]
    raise MalformedInput(f"{label}: weights nested deeper than {MOST_LEVELS} levels", _ONE_COPY)


def _choose(label: str, tree: Mapping[Any, Any]) -> tuple[str, str]:
    """The entry that holds the weights and a sentence about it; an empty sentence: ``tree`` itself."""
    plain = [key for key in PLAIN if holds_weights(tree.get(key))]
    averaged = [key for key in AVERAGED if holds_weights(tree.get(key))]
    if len(plain) > 1:
        raise MalformedInput(f"{label}: holds several sets of weights: {one_line(plain)}; expected one", _ONE_COPY)
    if plain:
        beside = f"; the running average under {one_line(averaged)} was left out" if averaged else ""
        return plain[0], f"took the weights under '{plain[0]}'{beside}"
    if len(averaged) > 1:
        raise MalformedInput(f"{label}: holds several running averages: {one_line(averaged)}; expected one", _ONE_COPY)
    if averaged:
        return averaged[0], f"took the running average under '{averaged[0]}', the only weights in the file"
    if any(is_weight(value) for value in tree.values()):
        return "", ""
    others = [key for key, value in tree.items() if isinstance(key, str) and holds_weights(value)]
    if len(others) > 1:
        raise MalformedInput(f"{label}: holds several sets of weights: {one_line(others)}; expected one", _ONE_COPY)
    if others:
        return others[0], f"took the weights under '{display_name(others[0], 80)}', the only ones in the file"
    if any(isinstance(value, torch.Tensor) for value in tree.values()):
        return "", ""
    seen = f"it has {one_line([str(key) for key in tree])}" if tree else "it is empty"
    raise MalformedInput(f"{label}: holds no tensors; {seen}", "name a file that holds a model's weights")


def holds_weights(value: object, seen: set[int] | None = None) -> bool:
    """Whether ``value`` is a mapping with weights in it, directly or under the usual names."""
    seen = set() if seen is None else seen
    if not isinstance(value, Mapping) or id(value) in seen or len(seen) > 1000:
        return False
    seen.add(id(value))
    if any(is_weight(item) for item in value.values()):
        return True
    return any(holds_weights(value.get(key), seen) for key in (*PLAIN, *AVERAGED))


def is_weight(value: object) -> bool:
    """A tensor of at least one dimension: losses, epochs and accuracies are recorded as scalars."""
    return isinstance(value, torch.Tensor) and value.dim() > 0
