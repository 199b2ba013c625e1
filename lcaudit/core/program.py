"""The graph of a program that torch.export saved, as data: names, numbers and names of operators; free of torch.

Nothing here can run. :mod:`lcaudit.checkpoints` reads it from a file, :mod:`lcaudit.architectures` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of this name in its graph."""

    name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One of torch's enumerations by its number in the file; a device has none, since the audit chooses it."""

    what: Literal["dtype", "layout", "memory format", "device"]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """What is recorded of a tensor: number of its type, and sizes, −1 for one that may change."""

    dtype: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One call.

    Attributes:
        target: ``torch.ops.aten.conv2d.default``. args, options: constants, :class:`Ref`, :class:`Kind`,
            :class:`Graph` and tuples of them. outputs: names of what it gives, flat; "" for what nothing uses.
    """

    target: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Calls in order. ``inputs``: names; ``outputs``: as arguments; ``values``: tensors by name."""

    inputs: tuple[str, ...]
    outputs: tuple[Any, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Program:
    """A whole program.

    Attributes:
        own: name in the graph → state-dict key, of parameters, buffers and constants.
        parameters: the keys among them that are parameters.
        constants: tensors that are in no state dict, by key.
        given: names of inputs that are fixed → their value. user: names of the inputs that are left.
        torch: version that exported it, as it says.
    """

    graph: Graph
    own: Mapping[str, str]
    parameters: frozenset[str]
    given: Mapping[str, Any]
    user: tuple[str, ...]
    torch: str
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)
