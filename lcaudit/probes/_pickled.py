"""Reading a pickle that holds plain values and NumPy arrays, with no unpickler.

CIFAR-10's Python batches are pickles. An unpickler, however restricted, calls what the file names and
takes memory as the file says; this reader walks the opcodes (:mod:`pickletools` only tokenises), knows
the few that such a file needs, keeps a named global as an inert name, and calls nothing. Dictionary keys
must be text, bytes or integers, so no nested key can exhaust the stack.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from lcaudit.core.errors import LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.text import display_name

_MOST_OPCODES = 2_000_000
_MARK = object()
_RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_KNOWN = {*_RECONSTRUCT, *_FROM_BUFFER, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}
_DTYPES = {"u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"}


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(slots=True)
class _DType:
    code: str
    order: str = "<"


@dataclass(slots=True)
class _Array:
    state: Any = None


def read(content: bytes, name: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The ``wanted`` entries of a pickled dictionary: lists, text, numbers, NumPy arrays.

    Only these are made real: a file can name one array under a million keys.

    Args:
        content: the whole file. name: for messages. wanted: keys, which the file may hold as text or bytes.

    Raises:
        UnsafeCheckpoint: the pickle names a function or class beyond what NumPy arrays need.
        MalformedInput: it is not a pickle, or uses what such files do not.
        LimitExceeded: more opcodes or more text than a data file needs.
    """
    try:
        value = _own(_Machine(name, 2 * len(content)).run(content), dict)
        found = {key: value[key] if key in value else value[key.encode()] for key in wanted}
        return {key: _array(item) if isinstance(item, _Array) else item for key, item in found.items()}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise MalformedInput(
            f"{display_name(name)}: the pickle cannot be read ({display_name(error, 80)})",
            "it may be damaged; extract it again",
        ) from None


class _Machine:
    """A stack, a memo, and a budget of bytes that conversions may create."""

    def __init__(self, name: str, budget: int) -> None:
        self.name, self.budget = name, budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number > _MOST_OPCODES:
                raise LimitExceeded(f"{display_name(self.name)}: more than {_MOST_OPCODES:,} pickle opcodes")
            if opcode.name == "STOP":
                break
            self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode]())
            case "TUPLE":
                stack.append(tuple(self.to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode == "APPEND" else self.to_mark()
                _own(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode == "SETITEM" else self.to_mark()
                target = _own(stack[-1], dict)
                for key, value in zip(items[::2], items[1::2], strict=True):
                    target[_own(key, (str, bytes, int))] = value
            case "GLOBAL":
                self.find(argument.replace(" ", "."))
            case "STACK_GLOBAL":
                attribute, module = _own(stack.pop(), str), _own(stack.pop(), str)
                self.find(f"{module}.{attribute}")
            case "REDUCE":
                arguments, function = _own(stack.pop(), tuple), _own(stack.pop(), _Global)
                stack.append(self.construct(function.name, arguments))
            case "BUILD":
                state = _own(stack.pop(), tuple)
                if isinstance(stack[-1], _DType):
                    stack[-1].order = _own(state[1], str)
                else:
                    _own(stack[-1], _Array).state = state
            case _:
                raise ValueError(f"opcode {opcode} has no place in a data file")

    def to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def find(self, name: str) -> None:
        if name not in _KNOWN:
            raise UnsafeCheckpoint(
                f"{display_name(self.name)}: the pickle names {display_name(name, 80)}; "
                "lcaudit runs no code from files",
                "extract the original archive again",
            )
        self.stack.append(_Global(name))

    def construct(self, function: str, arguments: tuple[Any, ...]) -> Any:
        if function == "numpy.dtype":
            return _DType(_own(arguments[0], str))
        if function == "_codecs.encode":
            text, encoding = arguments
            self.budget -= len(_own(text, str))
            if encoding != "latin1" or self.budget < 0:
                raise ValueError("text that is converted in an unusual way")
            return text.encode("latin-1")
        if function in _RECONSTRUCT:
            return _Array()
        if function in _FROM_BUFFER:
            buffer, dtype, shape, order = arguments
            return _Array((1, shape, dtype, order == "F", buffer))
        raise ValueError(f"{function} is not called in a data file")


def _own(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__.strip('_')} in an unexpected place")
    return value


def _array(inert: _Array) -> np.ndarray:
    _, shape, dtype, fortran, raw = _own(inert.state, tuple)
    code, order = _own(dtype, _DType).code, dtype.order
    if code not in _DTYPES or order not in ("<", ">", "|", "="):
        raise ValueError(f"arrays of {code}")
    data = raw.encode("latin-1") if isinstance(raw, str) else _own(raw, (bytes, bytearray))
    shape = tuple(_own(side, int) for side in _own(shape, tuple))
    if min(shape, default=0) < 0 or len(shape) > 8 or math.prod(shape) * int(code[1:]) != len(data):
        raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
    flat = np.frombuffer(data, np.dtype(f"{order}{code}"))
    return flat.astype(flat.dtype.newbyteorder("=")).reshape(shape, order="F" if fortran else "C")
