"""Which weight a tensor is: a parameter of the network, or a part of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

#: A run of a parameter's elements: (id of the parameter, first element, elements).
Block = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight as one layer applies it.

    Attributes:
        key: tells weights apart. name: the owner's path in the state dict where the weight is its
            ``weight``, else the parameter's own, with its rows where it is a part: ``attn.in_proj_weight[0:8]``.
        block: its elements; ``None`` for a weight that its module computes before use.
        looks_up: whether it is a table of rows here, and not a matrix.
        flipped: whether the tensor is the transpose of what is stored.
        sharers: paths of other modules that own the same parameter.
        of_module: whether it is its owner's ``weight``, and not a parameter of another name.
    """

    key: Any
    name: str
    owner: torch.nn.Module
    block: Block | None
    flipped: bool
    sharers: tuple[str, ...] = ()
    of_module: bool = True
    looks_up: bool = False

    @property
    def other_use(self) -> Any:
        """Key of the same elements as a matrix where these are a table, and the other way round."""
        return self.block, not self.looks_up


class Weights:
    """Every parameter of a network, and who owns it. Paths of shared parameters: the first to own it."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.owners: dict[int, list[tuple[str, torch.nn.Module, str]]] = {}
        self.parameters: dict[int, torch.nn.Parameter] = {}  # keeps them alive, so that an id stays theirs
        self.stored: dict[int, list[int]] = {}
        for path, part in module.named_modules():
            for key, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
                if id(parameter) not in self.owners and parameter.numel():
                    self.stored.setdefault(parameter.untyped_storage().data_ptr(), []).append(id(parameter))
                self.owners.setdefault(id(parameter), []).append((path, part, key))
                self.parameters[id(parameter)] = parameter

    def parameter_of(self, value: Any) -> int | None:
        """The id of the parameter that ``value`` is or is a view of, recognised by its storage."""
        if not isinstance(value, torch.Tensor):
            return None
        if id(value) in self.owners:
            return id(value)
        if value.layout is not torch.strided:
            return None
        for identity in self.stored.get(value.untyped_storage().data_ptr(), ()):
            whole = self.parameters[identity]
            if 0 <= value.storage_offset() - whole.storage_offset() < whole.numel():
                return identity
        return None

    def block(self, value: torch.Tensor | None) -> Block | None:
        """The run of elements that ``value`` consists of, if it is one."""
        parameter = self.parameter_of(value)
        if parameter is None or value is None:
            return None
        whole = self.parameters[parameter]
        if value is whole:
            return parameter, 0, whole.numel()
        if not whole.is_contiguous() or not (value.is_contiguous() or _transpose(value)):
            return None
        return parameter, value.storage_offset() - whole.storage_offset(), value.numel()

    def find(self, value: torch.Tensor, looks_up: bool = False) -> Weight | None:
        """The weight that ``value`` is, or ``None`` if it is none of the network's or not one run of elements.

        Args:
            looks_up: whether it is a table of rows here: an embedding that is also a matrix is two weights, since
                the one-hot rows and the others have no Σ_x in common.
        """
        block = self.block(value)
        if block is None:
            return None
        parameter, start, size = block
        owners = sorted(self.owners[parameter], key=lambda one: isinstance(one[1], torch.nn.Embedding) is not looks_up)
        (path, owner, key), *others = owners
        whole = self.parameters[parameter]
        table = isinstance(owner, torch.nn.Embedding)
        of_module = key == "weight" and bool(path) and (looks_up or not table)
        name = path if of_module else f"{path}.{key}".lstrip(".")
        if size < whole.numel():
            row = whole[0].numel()
            name += f"[{start // row}:{(start + size) // row}]"
        flipped = value is not whole and not value.is_contiguous()
        sharers = tuple(dict.fromkeys(other for other, _, _ in others if other != path))
        return Weight((block, looks_up), name, owner, block, flipped, sharers, of_module, looks_up)

    def computed(self, path: str, owner: torch.nn.Module) -> Weight:
        """The weight that module ``owner`` computes from its parameters."""
        return Weight((id(owner),), path, owner, None, False)

    def overlapping(self, blocks: list[Block]) -> set[Block]:
        """Those that share elements with another one that is not the same."""
        return {
            one
            for one in blocks
            for other in blocks
            if one != other and one[0] == other[0] and one[1] < other[1] + other[2] and other[1] < one[1] + one[2]
        }


def _transpose(value: torch.Tensor) -> bool:
    return value.dim() == 2 and value.T.is_contiguous()
