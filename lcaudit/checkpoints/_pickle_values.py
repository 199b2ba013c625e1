"""Inert stand-ins for what a pickle would make, and the calls that a state dict needs.

Nothing named in a file is imported or called here. Each allowed global has one function that takes the
arguments the pickle gives it and returns a stand-in, or refuses: so a call that is legal in itself but
would allocate without bound, or make a tensor that reaches outside its storage, ends here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lcaudit.checkpoints import _pickle_beside
from lcaudit.checkpoints._pickle_stack import Refusal

MOST_RANK = 64

_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "float8_e8m0fnu"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("complex32", "complex64", "complex128", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that the pickle imports, not imported."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """An object of a class that is not allowed; never built."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers elsewhere in the file."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Inert:
    """Something allowed whose value does not matter here: a tensor, a device, a set."""

    what: str


class Ordered(dict[Any, Any]):
    """Stands for a ``collections.OrderedDict``."""


#: Allowed as names on the stack: dtypes, and storage classes as the type of a persistent identifier.
DTYPES = {f"torch.{name}": getattr(torch, name) for name in _DTYPES}
STORAGE_TYPES = {f"{module}.{name}": dtype for module in ("torch", "torch.cuda") for name, dtype in _STORAGES.items()}
STORAGE_TYPES |= {"torch.storage.UntypedStorage": torch.uint8}

#: torch would load these, but no plain tensor comes of it.
UNREADABLE = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no data",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_wrapper_subclass": "a tensor subclass",
    "torch._tensor._rebuild_from_type_v2": "a tensor subclass",
    "torch._utils._rebuild_parameter_with_state": "a parameter with Python attributes",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
}
#: Names that only come with the unreadable ones.
COMPANIONS = frozenset(
    {"torch.serialization._get_layout"}
    | {f"torch.{name}Storage" for name in ("QInt8", "QInt32", "QUInt8", "QUInt4x2", "QUInt2x4")}
    | {f"torch.{name}" for name in ("qint8", "qint32", "quint8", "quint4x2", "quint2x4")}
    | {f"torch.per_tensor_{kind}" for kind in ("affine", "symmetric")}
    | {f"torch.per_channel_{kind}" for kind in ("affine", "symmetric", "affine_float_qparams")}
)


def is_key(value: object) -> bool:
    """Whether ``value`` may be a key: hashing it takes no time and no depth, whoever chose it."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, (str, float, bytes))


def _tensor_v1(*arguments: Any) -> Inert:
    storage, offset, size, stride = _exactly(4, arguments)
    return _tensor(storage, offset, size, stride)


def _tensor_v2(*arguments: Any) -> Inert:
    if len(arguments) == 7 and not arguments[6]:
        arguments = arguments[:6]
    storage, offset, size, stride, _, hooks = _exactly(6, arguments)
    return _tensor(storage, offset, size, stride, hooks)


def _tensor_v3(*arguments: Any) -> Inert:
    if len(arguments) == 8 and not arguments[7]:
        arguments = arguments[:7]
    storage, offset, size, stride, _, hooks, dtype = _exactly(7, arguments)
    if not isinstance(dtype, Global) or dtype.name not in DTYPES:
        raise Refusal("a tensor whose dtype is not one")
    return _tensor(storage, offset, size, stride, hooks, DTYPES[dtype.name])


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, hooks: Any = None, dtype: torch.dtype | None = None
) -> Inert:
    if not isinstance(storage, Storage) or not all(isinstance(numbers, tuple) for numbers in (size, stride)):
        raise Refusal("a tensor without storage, size and stride")
    if hooks is not None and not (isinstance(hooks, Ordered) and not hooks):
        raise Refusal("a tensor with hooks")
    if len(size) != len(stride) or len(size) > MOST_RANK:
        raise Refusal(f"a tensor of {len(size)} dimensions, at most {MOST_RANK} are read")
    if not all(_is_count(number) for number in (offset, *size, *stride)):
        raise Refusal("a tensor whose sizes are not counts")
    itemsize = (dtype or storage.dtype).itemsize
    needed = math.prod(size) * itemsize
    if needed > storage.size:
        raise Refusal(f"a tensor that declares {_bytes(needed)} over {_bytes(storage.size)} of storage")
    last = offset + sum((number - 1) * step for number, step in zip(size, stride, strict=True))
    if needed and (last + 1) * itemsize > storage.size:
        raise Refusal("a tensor that reaches beyond its storage")
    return Inert("tensor")


def _parameter(*arguments: Any) -> Inert:
    data, _, hooks = _exactly(3, arguments)
    if not isinstance(data, Inert) or data.what != "tensor" or not (isinstance(hooks, Ordered) and not hooks):
        raise Refusal("a parameter that is no tensor")
    return data


def _ordered(*arguments: Any) -> Ordered:
    result = Ordered()
    for pair in _optional(list, arguments):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not is_key(pair[0]):
            raise Refusal("an OrderedDict made of something other than pairs")
        result[pair[0]] = pair[1]
    return result


def _counter(*arguments: Any) -> dict[Any, Any]:
    return dict(_optional(dict, arguments))


def _set(*arguments: Any) -> Inert:
    if not all(is_key(item) for item in _optional(list, arguments)):
        raise Refusal("a set of something other than numbers and strings")
    return Inert("set")


def _size(*arguments: Any) -> Inert:
    if not all(_is_count(number) for number in _optional(tuple, arguments)):
        raise Refusal("a torch.Size that is not made of counts")
    return Inert("size")


def _device(*arguments: Any) -> Inert:
    if not arguments or not isinstance(arguments[0], str) or not all(_is_count(number) for number in arguments[1:]):
        raise Refusal("a torch.device that is not a name and an index")
    return Inert("device")


def _encode(*arguments: Any) -> bytes:
    # How protocol 2 writes bytes: each byte as one character, encoded back as Latin-1.
    text, codec = _exactly(2, arguments)
    if not isinstance(text, str) or codec not in ("latin1", "latin-1") or not all(ord(c) < 256 for c in text):
        raise Refusal("a codecs.encode of something other than bytes")
    return text.encode("latin-1")


#: Global → what calling it would give.
CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "builtins.set": _set,
    "_codecs.encode": _encode,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_tensor": _tensor_v1,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    **_pickle_beside.CALLS,
}


def is_allowed(name: str) -> bool:
    """Whether a state dict, plain or not, or what scripts keep beside it, needs this global."""
    tables = (CALLS, _pickle_beside.MADE, DTYPES, STORAGE_TYPES, COMPANIONS, UNREADABLE)
    return any(name in table for table in tables)


def _exactly(number: int, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) != number:
        raise Refusal(f"a call with {len(arguments)} arguments, expected {number}")
    return arguments


def _optional(kind: type, arguments: tuple[Any, ...]) -> Any:
    if not arguments:
        return kind()
    if len(arguments) > 1 or not isinstance(arguments[0], kind):
        raise Refusal(f"a call with something other than one {kind.__name__}")
    return arguments[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _bytes(number: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
