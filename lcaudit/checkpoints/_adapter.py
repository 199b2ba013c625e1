"""LoRA adapters of peft: merged into the weights that they were trained on, W + (α/r) · B A.

Only plain low-rank matrices of linear layers and embeddings are read; everything that would make it another sum is
refused by name. The name of the base in ``adapter_config.json`` is followed only where it is a repository's, and only
for an adapter that came from the Hub itself.

Source: Hu et al. 2022 (arXiv 2106.09685), eq. 3; ``use_rslora``: Kalajdzievski 2023 (arXiv 2312.03732), α/√r. Names and
layout: ``peft.tuners.lora`` and ``peft.utils.save_and_load``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.text import count, display_name, one_line

if TYPE_CHECKING:  # listing containers does not need torch
    import torch

    from lcaudit.core.types import Checkpoint

NAME = "adapter_config.json"
_PREFIX = "base_model.model."
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_MOST_RANK = 65_536
#: Part of a stored key → whether it is the first factor, A, and whether the weight is an embedding's.
_FACTORS = {
    ".lora_A.weight": (True, False),
    ".lora_B.weight": (False, False),
    ".lora_embedding_A": (True, True),
    ".lora_embedding_B": (False, True),
}
#: Entries that say where or how it was trained; the tensors show the outcome.
_IRRELEVANT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
        "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_config", "megatron_core", "modules_to_save",
        "peft_type", "peft_version", "r", "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
        "fan_in_fan_out", "bias", "init_lora_weights", "qalora_group_size", "base_model_class",
    }
)  # fmt: skip
#: Ways to begin that leave the base as it was; others change it, and an adapter does not hold that change.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_MERGE = "merge it with peft, model.merge_and_unload().save_pretrained(…), and audit what that writes"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What ``adapter_config.json`` says. ``scale``: α/r or α/√r; ``transposed``: weights stored as inputs × outputs."""

    rank: int
    scale: float
    transposed: bool
    base: str


def is_adapter(checkpoint: Checkpoint) -> bool:
    """Whether it holds changes to other weights, and not weights."""
    return bool(checkpoint.tensors) and all(key.startswith(_PREFIX) for key in checkpoint.tensors)


def read(said: Mapping[str, Any]) -> Adapter:
    """Read ``adapter_config.json``.

    Raises:
        MalformedInput: it is absent, or asks for something else than W + (α/r) · B A.
    """
    if not said:
        raise MalformedInput(
            f"these are an adapter's tensors, and {NAME} is not beside them", "download the whole folder"
        )
    if said.get("peft_type") != "LORA":
        raise MalformedInput(f"an adapter of the kind {display_name(said.get('peft_type'), 40)}, expected LORA", _MERGE)
    rank, alpha, root = said.get("r"), said.get("lora_alpha"), said.get("use_rslora", False)
    transposed = said.get("fan_in_fan_out", False)
    if type(rank) is not int or not 1 <= rank <= _MOST_RANK:
        raise MalformedInput(f"{NAME} says r = {display_name(rank, 40)}, expected a rank", _MERGE)
    if type(alpha) not in (int, float) or not math.isfinite(alpha) or type(root) is not bool:
        raise MalformedInput(f"{NAME} says lora_alpha = {display_name(alpha, 40)}, expected a number", _MERGE)
    others = [key for key, value in said.items() if key not in _IRRELEVANT and value not in (None, False, {}, [])]
    others += ["bias"] * (said.get("bias", "none") != "none")
    start = said.get("init_lora_weights")
    others += ["init_lora_weights"] * (not isinstance(start, (bool, str, type(None))) or start not in _STARTS)
    if others or type(transposed) is not bool:
        told = one_line([f"{key} = {display_name(said[key], 40)}" for key in others] or ["fan_in_fan_out"], 4)
        raise MalformedInput(f"{NAME} says {told}, which lcaudit does not merge", _MERGE)
    base = said.get("base_model_name_or_path")
    return Adapter(rank, alpha / (math.sqrt(rank) if root else rank), transposed, base if isinstance(base, str) else "")


def base_of(checkpoint: Checkpoint, adapter: Adapter) -> str:
    """Where the base is, where nobody said: a repository, for an adapter that is one itself.

    Raises:
        UsageError: it has to be said.
    """
    if checkpoint.record.hub is not None and _REPOSITORY.fullmatch(adapter.base):
        return f"hf:{adapter.base}"
    of = f" of {display_name(adapter.base, 80)}" if adapter.base else ""
    hub = f", or --base hf:{adapter.base} to download it" if _REPOSITORY.fullmatch(adapter.base) else ""
    raise UsageError(
        f"{display_name(checkpoint.record.name)} is an adapter{of}, and not a network's weights",
        f"pass --base FOLDER with the weights that it was trained on{hub}",
    )


def merge(checkpoint: Checkpoint, adapter: Adapter, base: Checkpoint) -> Checkpoint:
    """The base's weights with the adapter in them; what it touches is widened to float32 first.

    Raises:
        MalformedInput: tensors of the adapter that have no place in the base, or are no pair.
    """
    from lcaudit.checkpoints._tensors import non_finite

    pairs, whole = _sorted_out(checkpoint.tensors, adapter)
    tensors = dict(base.tensors)
    for name, tensor in whole.items():
        key = (
            _place(name.removesuffix(".weight"), tensors) if name.endswith(".weight") and _has(name, tensors) else name
        )
        tensors[key] = tensor
    for module, (first, second, embedding) in pairs.items():
        key = _place(module, tensors)
        tensors[key] = _sum(module, tensors[key], first, second, adapter, embedding)
    merged = f"merged {count(len(pairs), 'low-rank change')} of rank {adapter.rank}, scaled by {adapter.scale:g}"
    steps = [f"{merged}, into {display_name(base.record.name, 80)}"]
    if whole:
        steps.append(f"took {count(len(whole), 'tensor')} from the adapter whole: {one_line(sorted(whole), 3)}")
    digest = hashlib.sha256(f"{base.record.sha256}\n{checkpoint.record.sha256}\n".encode()).hexdigest()
    record = replace(
        checkpoint.record,
        sha256=digest,
        files=(*checkpoint.record.files, *base.record.files),
        unwrapped=(*base.record.unwrapped, *steps),
    )
    tensors = dict(sorted(tensors.items()))
    return replace(base, record=record, tensors=tensors, non_finite=non_finite(tensors), texts={})


def _sorted_out(
    stored: Mapping[str, torch.Tensor], adapter: Adapter
) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor, bool]], dict[str, torch.Tensor]]:
    """(A and B by module, tensors that stand for the base's own by name)."""
    halves: dict[tuple[str, bool], dict[bool, torch.Tensor]] = {}
    whole: dict[str, torch.Tensor] = {}
    for key, tensor in stored.items():
        name = key.removeprefix(_PREFIX)
        ending = next((one for one in _FACTORS if name.endswith(one)), "")
        if ending:
            first, embedding = _FACTORS[ending]
            halves.setdefault((name.removesuffix(ending), embedding), {})[first] = tensor
        elif "lora_" in name:
            raise MalformedInput(f"{display_name(key, 80)} is no matrix of a plain LoRA adapter", _MERGE)
        else:
            whole[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = tensor
    pairs = {}
    for (module, embedding), both in halves.items():
        fits = len(both) == 2 and all(one.dim() == 2 for one in both.values())
        if not fits or both[True].shape[0] != adapter.rank or both[False].shape[1] != adapter.rank:
            raise MalformedInput(
                f"the adapter's matrices at {display_name(module, 80)} are no pair of rank {adapter.rank}", _MERGE
            )
        pairs[module] = (both[True], both[False], embedding)
    if not pairs:
        raise MalformedInput("the adapter holds no low-rank matrices", _MERGE)
    return pairs, whole


def _has(name: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    return bool(_places(name.removesuffix(".weight"), tensors))


def _places(module: str, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Keys of the base that may be this module's weight: the same, or with one prefix more or less."""
    key = f"{module}.weight"
    if key in tensors:
        return [key]
    shorter = key.partition(".")[2]
    found = [one for one in tensors if one == shorter or one.endswith(f".{key}")]
    return list(dict.fromkeys(found))


def _place(module: str, tensors: Mapping[str, torch.Tensor]) -> str:
    found = _places(module, tensors)
    if len(found) != 1:
        seen = f"{len(found)} places" if found else "no place"
        raise MalformedInput(
            f"the adapter changes {display_name(module, 80)}, which has {seen} in the base",
            f"pass --base with the weights that the adapter was trained on; if these are they, {_MERGE}",
        )
    return found[0]


def _sum(
    module: str, weight: torch.Tensor, first: torch.Tensor, second: torch.Tensor, adapter: Adapter, embedding: bool
) -> torch.Tensor:
    import torch

    sides = (second.shape[0], first.shape[1])
    swapped = adapter.transposed or embedding
    wanted = sides[::-1] if swapped else sides
    if wanted != tuple(weight.shape) or not weight.is_floating_point():  # before the product, which may be large
        shapes = "×".join(map(str, wanted)), "×".join(map(str, weight.shape))
        raise MalformedInput(
            f"the adapter's change of {display_name(module, 80)} is {shapes[0]}, the base's weight {shapes[1]}",
            "pass --base with the weights that the adapter was trained on",
        )
    wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
    change = second.to(wide) @ first.to(wide)
    return (weight.to(wide) + adapter.scale * (change.T if swapped else change)).contiguous()
