"""Pickle's stack, marks, memo and operands, with a bound on depth; nothing here knows what they mean."""

from __future__ import annotations

import io
import struct
from typing import Any

MOST_DEPTH = 100


class TooMuch(Exception):
    """A cap was passed; the text says which."""


class Refusal(Exception):
    """The pickle asks for something a state dict does not need; the text says what."""


class Stack:
    """State of one dry run over ``stream``, which stands at the pickle's first byte."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._read_some = stream.read
        self._readline = stream.readline
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._depths: dict[int, int] = {}

    def read(self, size: int) -> bytes:
        data = self._read_some(size)
        if len(data) != size:
            raise ValueError("the pickle ends early")
        return data

    def line(self) -> str:
        data = self._readline()
        if not data.endswith(b"\n"):
            raise ValueError("the pickle ends early")
        return data[:-1].decode("utf-8")

    def push(self, value: Any, parts: list[Any] | tuple[Any, ...] = ()) -> None:
        # Identities are reused once an object is gone, so every new container sets its own depth.
        if isinstance(value, (tuple, list, dict)):
            self._depths[id(value)] = 0
            self.deepen(value, parts)
        self._stack.append(value)

    def deepen(self, value: Any, parts: list[Any] | tuple[Any, ...]) -> None:
        below = max((self._depths[id(part)] for part in parts if isinstance(part, (tuple, list, dict))), default=0)
        depth = max(self._depths.get(id(value), 0), below + 1)
        if depth > MOST_DEPTH:
            raise TooMuch(f"objects nested deeper than {MOST_DEPTH}")
        self._depths[id(value)] = depth

    def pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def mark(self) -> None:
        if len(self._marked) >= MOST_DEPTH:
            raise TooMuch(f"objects nested deeper than {MOST_DEPTH}")
        self._marked.append(self._stack)
        self._stack = []

    def tuple_(self) -> None:
        items = tuple(self.pop_mark())
        self.push(items, items)

    def short_tuple(self, size: int) -> None:
        items = tuple(self._stack[-size:])
        if len(items) != size:
            raise IndexError("the stack is empty")
        del self._stack[-size:]
        self.push(items, items)

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def number(self, form: str) -> int | float:
        value = struct.unpack(form, self.read(struct.calcsize(form)))[0]
        assert isinstance(value, (int, float))
        return value

    def index(self, form: str) -> int:
        return int(self.number(form))

    def text(self, length: int, errors: str) -> str:
        return self.read(length).decode("utf-8", errors)

    def long(self) -> int:
        return int.from_bytes(self.read(self.index("<B")), "little", signed=True)
