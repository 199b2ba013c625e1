"""What a module would compute, as text: its classes and everything that they were told.

Two modules with the same text, and the same learned tensors, compute the same function: the same code reads
the same settings. The converse does not hold, so different texts prove nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

#: Names that never reach a forward pass in eval mode, or choose between equal implementations.
_IDLE = frozenset(
    {"training", "pretrained_cfg", "default_cfg", "feature_info", "grad_checkpointing", "fused_attn", "num_classes"}
)
#: Modules that are the identity in eval mode, whatever they were told.
_IDENTITIES = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "DropPath", "StochasticDepth", "Identity"})
_PLAIN = frozenset(vars(nn.Module()))


def wiring(module: nn.Module) -> list[str]:
    """One line for each part: path, class, and its settings.

    A setting that cannot be put into words appears with its address, so that it equals nothing else. Tensors
    that are not stored with the weights count by value, which needs a module on the CPU: on the meta device
    they are as good as unequal.

    Cost: a walk over the module; no forward pass.
    """
    return [_line(path, part) for path, part in module.named_modules(remove_duplicate=False)]


def digest(lines: list[str]) -> str:
    """Sixteen hexadecimal digits that stand for the lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _line(path: str, part: nn.Module) -> str:
    kind = type(part).__qualname__
    if kind in _IDENTITIES:
        return f"{path} Identity"
    settings = {name: value for name, value in vars(part).items() if name not in _PLAIN and not _idle(name, value)}
    hidden = {name: value for name, value in part._buffers.items() if name in part._non_persistent_buffers_set}
    told = " ".join(f"{name}={_words(value)}" for name, value in sorted({**settings, **hidden}.items()))
    return f"{path} {type(part).__module__}.{kind} {told}".rstrip()


def _idle(name: str, value: Any) -> bool:
    chance = "drop" in name and (value is None or isinstance(value, (int, float)))
    return name in _IDLE or chance


def _words(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.Size)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return _numbers(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{_words(key)}:{_words(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(map(_words, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(_words, value))) + "}"
    if isinstance(value, functools.partial):
        return f"partial({_words(value.func)},{_words(value.args)},{_words(value.keywords)})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.FunctionType):
        return "".join(_function(value))
    if dataclasses.is_dataclass(value):
        told = (f"{one.name}={_words(getattr(value, one.name))}" for one in dataclasses.fields(value))
        return f"{type(value).__qualname__}({','.join(told)})"
    return f"{type(value).__qualname__}@{id(value):x}"


def _function(function: types.FunctionType) -> Iterator[str]:
    code = function.__code__
    yield f"{function.__module__}.{function.__qualname__}"
    used = code.co_names if _nested(code) else code.co_consts
    yield hashlib.sha256(code.co_code + repr(used).encode()).hexdigest()[:8]
    for cell in function.__closure__ or ():
        yield f"({_words(cell.cell_contents)})"
    if function.__defaults__:
        yield _words(function.__defaults__)


def _nested(code: types.CodeType) -> bool:
    """Constants that are code print with their address."""
    return any(isinstance(constant, types.CodeType) for constant in code.co_consts)


def _numbers(value: torch.Tensor) -> str:
    shape = "×".join(map(str, value.shape))
    if value.is_meta:
        return f"{shape} on meta @{id(value):x}"
    plain = value.detach().contiguous()
    content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return f"{shape} {value.dtype} {hashlib.sha256(content).hexdigest()[:16]}"
