"""Programs exported for one batch size: sizes that hold it are made to follow the batch, and the result is checked.

A graph that was exported without dynamic shapes has the batch size in it wherever the code asked for a shape. Which
numbers these are is not recorded, but follows from the sizes that are: where an argument has grown in one axis, the
axis of the result that holds it grows alike. What is derived so is only used once it gave, on random inputs, what the
graph as it stands gives for batches of its own size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Largest difference between outputs, relative to the largest output: rounding, summed in another order.
TOLERANCE = 1e-4
_VIEWS = ("view", "reshape", "_unsafe_view")
_MADE = ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty")


class CannotFollow(Exception):
    """The graph does not say how a size follows the batch."""


def followed(
    name: str, args: list[Any], recorded: Sequence[tuple[int, ...] | None], batch: int, samples: int
) -> list[Any]:
    """The arguments for ``samples`` samples of a call that was recorded for ``batch``.

    Args:
        name: of the operator. args: with tensors in them. recorded: sizes of tensors among the first arguments as
            they were, ``None`` where unknown; for a list of tensors those of its members.

    Raises:
        CannotFollow: it is not known how.
    """
    if name in _VIEWS and recorded[0] is not None:
        return [args[0], _viewed(args[1], recorded[0], tuple(args[0].shape), batch), *args[2:]]
    if name == "expand" and recorded[0] is not None:
        return [args[0], _expanded(args[1], recorded[0], tuple(args[0].shape), batch, samples), *args[2:]]
    if name in _MADE:
        place = 1 if name.startswith("new_") else 0
        sizes = tuple(args[place])
        if batch > 1 and sizes[:1] == (batch,):
            args = [*args[:place], (samples, *sizes[1:]), *args[place + 1 :]]
        return args
    if name == "repeat" and batch > 1 and recorded[0] is not None:
        times = tuple(args[1])
        fresh = times[:1] == (batch,) and (len(recorded[0]) < len(times) or recorded[0][:1] == (1,))
        return [args[0], (samples, *times[1:]) if fresh else times, *args[2:]]
    if name in ("cat", "stack"):
        return [_alike(args[0], args[1] if len(args) > 1 else 0, name == "cat"), *args[1:]]
    return args


def _viewed(sizes: Sequence[int], was: tuple[int, ...], now: tuple[int, ...], batch: int) -> tuple[int, ...]:
    known = -math.prod(sizes) if -1 in sizes else 0
    wanted = [math.prod(was) // known if side == -1 and known else side for side in sizes]
    grown = [axis for axis, (before, after) in enumerate(zip(was, now, strict=True)) if before != after]
    if not grown:
        return tuple(wanted)
    if len(grown) > 1:
        raise CannotFollow
    (axis,) = grown
    for place in _holders(wanted, math.prod(was[:axis]), was[axis], batch):
        scaled, rest = divmod(wanted[place] * now[axis], was[axis])
        if not rest:
            return (*wanted[:place], scaled, *wanted[place + 1 :])
    raise CannotFollow


def _holders(sizes: Sequence[int], outside: int, side: int, batch: int) -> list[int]:
    """Axes of a view that may hold an axis of ``side`` with ``outside`` rows before it, the likeliest first.

    That is one inside it of the batch's own size; any other inside it; one that it was merged into, with what comes
    after it rather than before, but not with the last one, which holds features.
    """
    inside, around, reached = [], [], 1
    for place, size in enumerate(sizes):
        if outside <= reached and reached * size <= outside * side:
            inside.append(place)
        elif reached <= outside and reached * size >= outside * side:
            around.append(place)
        reached *= size
    inside.sort(key=lambda place: sizes[place] != batch)
    around.sort(key=lambda place: (place == len(sizes) - 1, -place))
    return [*inside, *around]


def _expanded(
    sizes: Sequence[int], was: tuple[int, ...], now: tuple[int, ...], batch: int, samples: int
) -> tuple[int, ...]:
    ahead = len(sizes) - len(was)
    wanted = list(sizes)
    for place in range(len(sizes)):
        axis = place - ahead
        if axis >= 0 and was[axis] != now[axis]:
            wanted[place] = -1
        elif place == 0 and batch > 1 and sizes[0] == batch and (axis < 0 or now[axis] == 1):
            wanted[0] = samples
    return tuple(wanted)


def _alike(tensors: Sequence[torch.Tensor], dim: int, joined: bool) -> list[torch.Tensor]:
    """Tensors of one sample beside tensors of many, e.g. a class token, are repeated for each."""
    sizes = [max(sides) for sides in zip(*(tensor.shape for tensor in tensors), strict=True)]
    found = []
    for tensor in tensors:
        rank = tensor.dim()
        keep = [joined and axis == dim % rank for axis in range(rank)]
        wanted = [
            -1 if kept or side == most else most for kept, side, most in zip(keep, tensor.shape, sizes, strict=True)
        ]
        found.append(tensor if all(side == -1 for side in wanted) else tensor.expand(wanted))
    return found


def why_not(run: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, batch: int) -> str:
    """Run samples in one batch and in batches of the recorded size; what is wrong with the former, ``""`` if nothing.

    Args:
        run: the program. inputs: a multiple of ``batch`` samples, more than one batch.
    """
    apart = torch.cat([run(part) for part in inputs.split(batch)])
    for samples in (len(inputs), batch + 1 if len(inputs) > batch + 1 else len(inputs)):
        try:
            together = run(inputs[:samples])
        except (CannotFollow, RuntimeError, ValueError, TypeError, IndexError):
            return "it holds sizes that cannot follow the batch"
        expected = apart[:samples]
        if together.shape != expected.shape:
            return f"it gives {list(together.shape)} for {samples} samples"
        scale = float(expected.abs().max()) or 1.0
        off = float((together - expected).abs().max()) / scale
        if not off <= TOLERANCE:
            return f"{samples} samples together give other outputs than by themselves (by {off:.2g} of their scale)"
    return ""
