"""From the names in a file to those of the built network, and what of the file the network does not need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from lcaudit.architectures._transformers import build
from lcaudit.architectures._transformers.config import TransformersConfig
from lcaudit.core.errors import MalformedInput, UnknownArchitecture
from lcaudit.core.measurements import Evidence
from lcaudit.core.text import count, display_name, one_line

#: Last parts of the names of constants that older releases stored beside the weights.
_CONSTANTS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "relative_position_index")
#: Causal masks, of which weights of four sides have the same last part in no network that is read.
_MASKS = ("attn.bias", "attention.bias")


@dataclass(slots=True)
class Names:
    """How the file's names become the module's.

    Attributes:
        rename: stored key → key of the module, for those that it has a place for.
        constants: stored keys of what the module computes for itself. left: stored keys of other heads.
    """

    rename: dict[str, str] = field(default_factory=dict)
    constants: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)


def match(config: TransformersConfig, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> Names:
    """Match names; shapes are compared when the tensors are loaded.

    Raises:
        UnknownArchitecture: two stored tensors for one place. MalformedInput: weights that the library would compute
            from several stored ones.
    """
    expected = module.state_dict()
    rules, conversions = build.renamings(module)
    prefix = getattr(module, "base_model_prefix", "")
    names = Names()
    added, removed, renamed = 0, 0, 0
    for key in tensors:
        target = key
        for rule in rules:
            target, _ = rule.rename_source_key(target)
        if any(rule.rename_source_key(target)[1] is not None for rule in conversions):
            raise MalformedInput(
                f"transformers computes weights of {config.name} from {display_name(key, 80)} and others",
                "load them with transformers, save with save_pretrained(…, save_original_format=False), or pass "
                "--arch file.py:factory",
            )
        renamed += target != key
        if target not in expected and prefix and f"{prefix}.{target}" in expected:
            target, added = f"{prefix}.{target}", added + 1
        elif target not in expected and prefix and target.removeprefix(f"{prefix}.") in expected:
            target, removed = target.removeprefix(f"{prefix}."), removed + 1
        if target not in expected and _is_constant(target, tensors[key]):
            names.constants.append(key)
        else:
            names.rename[key] = target
    _refuse_twice(config, names.rename)
    if renamed:
        names.evidence.append(Evidence("names", f"{count(renamed, 'key')} renamed as transformers does when it loads"))
    for number, words in ((added, f"put {prefix}. before"), (removed, f"removed {prefix}. from")):
        if number:
            names.evidence.append(Evidence("prefix", f"{words} {count(number, 'key')}"))
    return names


def leave_other_heads(
    names: Names, tensors: Mapping[str, torch.Tensor], module: nn.Module, others: Mapping[str, tuple[int, ...]]
) -> None:
    """Take tensors out that have no place in the module and are, by name and shape, those of another head.

    Args:
        others: names and shapes of the class that the weights may have been pretrained as.
    """
    expected = module.state_dict()
    rest = {key: target for key, target in names.rename.items() if target not in expected}
    if rest and all(others.get(target) == tuple(tensors[key].shape) for key, target in rest.items()):
        names.left = list(rest)
        names.rename = {key: target for key, target in names.rename.items() if key not in rest}


def check_constants(names: Names, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    """Compare stored constants with what the network computes for itself.

    Raises:
        UnknownArchitecture: one is another: this is not the function that the weights were trained in.
    """
    own = dict(module.named_buffers())
    for key in names.constants:
        if not _as_computed(key, tensors[key], own):
            raise UnknownArchitecture(
                f"{display_name(key, 80)} is stored and is not what {type(module).__name__} computes for itself",
                "pass --arch file.py:factory with a factory of the network that these weights were saved from",
            )
    if names.constants:
        words = f"{count(len(names.constants), 'stored constant')} equal to what the network computes"
        names.evidence.append(Evidence("constants", f"{words}: {one_line(names.constants, 2)}"))


def _is_constant(key: str, tensor: torch.Tensor) -> bool:
    return key.rsplit(".", 1)[-1] in _CONSTANTS or (key.endswith(_MASKS) and tensor.dim() == 4)


def _as_computed(key: str, tensor: torch.Tensor, own: Mapping[str, torch.Tensor]) -> bool:
    last = key.rsplit(".", 1)[-1]
    if last == "position_ids":
        return bool((tensor.flatten() == torch.arange(tensor.numel())).all())
    if last == "token_type_ids":
        return not bool(tensor.any())
    if last == "masked_bias":
        return tensor.numel() == 1 and float(tensor) <= -1e4
    if key.endswith(_MASKS):
        side = tensor.shape[-1]
        return tensor.shape == (1, 1, side, side) and bool((tensor[0, 0].bool() == torch.ones(side, side).tril()).all())
    same = [value for name, value in own.items() if name.rsplit(".", 1)[-1] == last and value.shape == tensor.shape]
    return any(torch.allclose(value.double(), tensor.double(), rtol=1e-2, atol=1e-6) for value in same)


def _refuse_twice(config: TransformersConfig, rename: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for key, target in rename.items():
        other = seen.setdefault(target, key)
        if other != key:
            raise UnknownArchitecture(
                f"{display_name(key, 80)} and {display_name(other, 80)} have one place in {config.name}",
                "pass --arch file.py:factory with a factory of the network that these weights were saved from",
            )
