"""A dry run of one pickle: the opcodes that torch's weights-only reader knows, on inert stand-ins.

The walk follows ``torch._weights_only_unpickler`` step by step, so what it accepts is what torch will
then be asked to build; but it imports nothing, calls nothing, and counts what it makes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lcaudit.checkpoints._pickle_beside import MADE, Beside, made, set_state
from lcaudit.checkpoints._pickle_stack import Refusal, Stack, TooMuch
from lcaudit.checkpoints._pickle_values import (
    CALLS,
    STORAGE_TYPES,
    UNREADABLE,
    Foreign,
    Global,
    Inert,
    Ordered,
    Storage,
    is_allowed,
    is_key,
)

MOST_OPCODES = 5_000_000

# Python 2 names that protocol 2 still writes for Python 3's.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


@dataclass(slots=True)
class Walk:
    """What one dry run found.

    Attributes:
        root: the stand-in for the pickled object.
        storages: by key. refused: names that are not allowed. unreadable: what torch could load but
            lcaudit cannot use. modules: classes pickled as whole modules.
    """

    root: Any = None
    storages: dict[str, Storage] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


class Machine(Stack):
    """What each opcode does, on stand-ins.

    Args:
        stream: stands at the pickle's first byte. walk: is filled in.
        view_field: persistent identifiers of the legacy container carry a sixth field.
    """

    def __init__(self, stream: io.BytesIO, walk: Walk, view_field: bool) -> None:
        super().__init__(stream)
        self._walk = walk
        self._view_field = view_field

    def run(self) -> Any:
        """Walk to STOP and return the stand-in for the result.

        Raises:
            Refusal, TooMuch: as they say. IndexError, KeyError, ValueError, struct.error: damaged.
        """
        for _ in range(MOST_OPCODES):
            opcode = self.read(1)
            if opcode == b".":
                return self._stack.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise Refusal(f"pickle opcode 0x{opcode.hex()}, which is not of pickle protocol 2 as torch writes it")
            step(self)
        raise TooMuch(f"more than {MOST_OPCODES:,} pickle opcodes")

    def proto(self) -> None:
        if self.read(1) != b"\x02":
            raise Refusal("a pickle protocol other than 2, which torch.save writes")

    def global_(self) -> None:
        module, name = self.line(), self.line()
        full = f"{_RENAMED.get(module, module)}.{name}"
        if full in UNREADABLE:
            self._walk.unreadable.add(UNREADABLE[full])
        elif not is_allowed(full):
            self._walk.refused.add(full)
        self.push(Global(full))

    def reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(arguments, tuple):
            raise Refusal("a call whose arguments are no tuple")
        if not isinstance(function, Global):
            raise Refusal("a call of something that is no function")
        if function.name in MADE:
            raise Refusal(f"a {MADE[function.name]} made by a call")
        if function.name not in CALLS:
            return self.push(Foreign(function.name))
        self.push(CALLS[function.name](*arguments), arguments)

    def newobj(self) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        if isinstance(kind, Global) and kind.name in MADE:
            return self.push(made(kind.name, arguments))
        if not isinstance(kind, Global) or kind.name in CALLS:
            raise Refusal("an object made in a way that state dicts do not need")
        self.push(Foreign(kind.name))

    def build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Foreign):
            return
        if isinstance(target, Beside):
            return set_state(target, state)
        # Attributes of an OrderedDict: torch writes only this one, and others could hide its methods.
        if not isinstance(target, Ordered) or not isinstance(state, dict) or not set(state) <= {"_metadata"}:
            raise Refusal("attributes set on something other than a state dict")

    def persistent(self) -> None:
        identifier = self._stack.pop()
        if isinstance(identifier, tuple) and identifier and identifier[0] == "module":
            kind = identifier[1] if len(identifier) > 1 else None
            name = kind.name if isinstance(kind, Global) else "unknown"
            self._walk.modules.add(name)
            return self.push(Global(name))
        fields = 6 if self._view_field else 5
        if not isinstance(identifier, tuple) or len(identifier) != fields or identifier[0] != "storage":
            raise Refusal("a storage that is not described as torch describes one")
        kind, key, location, numel = identifier[1:5]
        if not isinstance(key, str) or not isinstance(location, str) or not isinstance(kind, Global):
            raise Refusal("a storage that is not described as torch describes one")
        if self._view_field and identifier[5] is not None:
            raise Refusal("a view of a storage, as torch 0.3 and older wrote them")
        if not isinstance(numel, int) or isinstance(numel, bool) or not 0 <= numel < 2**60:
            raise Refusal("a storage whose size is not a count")
        if kind.name not in STORAGE_TYPES:
            return self.push(Foreign(kind.name))
        dtype = STORAGE_TYPES[kind.name]
        known = self._walk.storages.setdefault(key, Storage(key, dtype, numel))
        if (known.dtype, known.numel) != (dtype, numel):
            raise Refusal("one storage described in two ways")
        self.push(known)

    def append(self) -> None:
        self._extend([self._stack.pop()])

    def appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Foreign):
            return
        if type(target) is not list:
            raise Refusal("items appended to something other than a list")
        target.extend(items)
        self.deepen(target, items)

    def setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def setitems(self) -> None:
        self._update(self.pop_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Foreign):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise Refusal("items set on something other than a dict")
        keys, values = items[::2], items[1::2]
        for key, value in zip(keys, values, strict=True):
            if isinstance(key, Foreign):
                continue
            if not is_key(key):
                raise Refusal("a dict key that is neither a string nor a number")
            target[key] = value
        self.deepen(target, values)


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": Machine.proto,
    b"(": Machine.mark,
    b"c": Machine.global_,
    b"R": Machine.reduce,
    b"\x81": Machine.newobj,
    b"b": Machine.build,
    b"Q": Machine.persistent,
    b"a": Machine.append,
    b"e": Machine.appends,
    b"s": Machine.setitem,
    b"u": Machine.setitems,
    b"t": Machine.tuple_,
    b"\x85": lambda machine: machine.short_tuple(1),
    b"\x86": lambda machine: machine.short_tuple(2),
    b"\x87": lambda machine: machine.short_tuple(3),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b")": lambda machine: machine.push(()),
    b"]": lambda machine: machine.push([]),
    b"}": lambda machine: machine.push({}),
    b"\x8f": lambda machine: machine.push(Inert("set")),
    b"J": lambda machine: machine.push(machine.number("<i")),
    b"K": lambda machine: machine.push(machine.number("<B")),
    b"M": lambda machine: machine.push(machine.number("<H")),
    b"G": lambda machine: machine.push(machine.number(">d")),
    b"\x8a": lambda machine: machine.push(machine.long()),
    b"X": lambda machine: machine.push(machine.text(machine.index("<I"), "surrogatepass")),
    b"U": lambda machine: machine.push(machine.text(machine.index("<B"), "strict")),
    b"q": lambda machine: machine.put(machine.index("<B")),
    b"r": lambda machine: machine.put(machine.index("<I")),
    b"h": lambda machine: machine.get(machine.index("<B")),
    b"j": lambda machine: machine.get(machine.index("<I")),
}
