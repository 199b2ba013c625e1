"""One forward pass as a graph: every torch function, what it read and who reads what it gave.

A graph is only of use if nothing is missing from it. Where a tensor turns up that no recorded call made,
or is changed while another view of it is known, :attr:`Dataflow.doubt` says so and nobody should trust it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Calls that tell about a tensor without its numbers.
_ABOUT = frozenset(
    {"dim", "ndimension", "size", "numel", "nelement", "stride", "is_floating_point", "is_contiguous", "get_device",
     "__len__", "is_complex", "element_size", "storage_offset", "has_names", "is_nonzero_static"}
)  # fmt: skip
#: Properties that are numbers of the tensor; any other property is only about it.
_NUMBERS = frozenset({"data", "T", "mT", "H", "mH", "real", "imag", "grad"})


@dataclass(slots=True)
class Node:
    """One call. ``reads``: places of the calls whose outputs it takes, −1 for the network's input.

    Attributes:
        first: the place of its first argument, ``None`` if that is no tensor that was computed.
        own: ids of parameters and buffers among its arguments.
        shape: of its output. before: of its first argument. arguments, options: as passed, without tensors.
        readers: places of the calls that take its output; ``escapes``: whether it leaves the record.
    """

    name: str
    reads: tuple[int, ...]
    first: int | None
    own: tuple[int, ...]
    shape: tuple[int, ...]
    before: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    readers: list[int] = field(default_factory=list)
    escapes: bool = False


class Dataflow(TorchFunctionMode):
    """Records while it is entered; then ask :attr:`nodes`.

    Attributes:
        doubt: why the graph cannot be trusted, or ``""``.
    """

    def __init__(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        super().__init__()
        self.own = {id(value) for value in (*module.parameters(), *module.buffers())}
        self.nodes: list[Node] = []
        self.doubt = ""
        self.kept: list[torch.Tensor] = [inputs]  # alive, so that an id stays theirs
        self.made = {id(inputs): -1}
        self.sharing: dict[int, set[int]] = {}

    def __torch_function__(
        self, function: Any, kinds: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Every call of a torch function passes here; inside, no call does."""
        options = dict(kwargs or {})
        tensors = list(_tensors((*args, *options.values())))
        versions = [tensor._version for tensor in tensors]
        before = tuple(args[0].shape) if args and isinstance(args[0], torch.Tensor) else ()
        output = function(*args, **options)
        name = getattr(function, "__name__", "a function").partition(".")[0]  # of a graph: relu.default
        if name == "__get__":  # a property: x.shape, x.T
            name = getattr(getattr(function, "__self__", None), "__name__", "a property")
            if name not in _NUMBERS:
                return output
        if name in _ABOUT:
            return output
        self._record(name, args, options, tensors, versions, before, output)
        return output

    def finish(self, output: object) -> None:
        """The network's output leaves the record."""
        found = list(_tensors((output,)))
        for tensor in found:
            if id(tensor) not in self.made:
                self.doubt = self.doubt or "the output was made by something that is not a torch function"
            elif self.made[id(tensor)] >= 0:
                self.nodes[self.made[id(tensor)]].escapes = True

    def _record(
        self, name: str, args: tuple[Any, ...], options: dict[str, Any], tensors: list[torch.Tensor],
        versions: list[int], before: tuple[int, ...], output: object,
    ) -> None:  # fmt: skip
        place = len(self.nodes)
        reads = tuple(self._source(tensor) for tensor in tensors if id(tensor) not in self.own)
        first = args[0] if args else None
        made = list(_tensors((output,)))
        node = Node(
            name=name,
            reads=reads,
            first=self._source(first) if isinstance(first, torch.Tensor) and id(first) not in self.own else None,
            own=tuple(id(tensor) for tensor in tensors if id(tensor) in self.own),
            shape=tuple(made[0].shape) if made else (),
            before=before,
            arguments=tuple(value for value in args if not isinstance(value, torch.Tensor)),
            options={key: value for key, value in options.items() if not isinstance(value, torch.Tensor)},
        )
        self.nodes.append(node)
        for source in set(reads):
            if source >= 0:
                self.nodes[source].readers.append(place)
        if not made:  # its numbers went to Python
            node.escapes = True
        for tensor, version in zip(tensors, versions, strict=True):
            if tensor._version != version:
                self._written(tensor, place, made)
        for tensor in made:
            self.kept.append(tensor)
            self.made[id(tensor)] = place
            self.sharing.setdefault(tensor.untyped_storage().data_ptr(), set()).add(id(tensor))

    def _source(self, tensor: torch.Tensor) -> int:
        if id(tensor) not in self.made:
            self.doubt = self.doubt or "a tensor was made by something that is not a torch function"
            self.kept.append(tensor)
            self.made[id(tensor)] = -1
        return self.made[id(tensor)]

    def _written(self, tensor: torch.Tensor, place: int, made: list[torch.Tensor]) -> None:
        """A call changed its argument: whoever reads that later reads the call's result."""
        if id(tensor) in self.own:
            self.doubt = self.doubt or "a parameter or buffer is changed in the forward pass"
        if self.sharing.get(tensor.untyped_storage().data_ptr(), set()) - {id(tensor)} - set(map(id, made)):
            self.doubt = self.doubt or "a tensor is changed while another view of it is in use"
        self.made[id(tensor)] = place


def _tensors(values: object) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
