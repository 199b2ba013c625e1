"""Windows of a convolution, in one, two or three dimensions: padding, unfolding, and the geometry in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel meets its input, one entry per dimension.

    Attributes:
        before, after: padding at the low and the high end. mode: as in ``F.pad``.
        padding: as it was asked for, e.g. ``"1"`` or ``"same"``.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    groups: int
    padding: str
    mode: str = "constant"

    def pad(self, inputs: torch.Tensor) -> torch.Tensor:
        """[b, c, *sides] with the padding applied."""
        if not any(self.before) and not any(self.after):
            return inputs
        ends = [end for pair in zip(self.before[::-1], self.after[::-1], strict=True) for end in pair]
        return F.pad(inputs, ends, mode=self.mode)

    def padded(self, sides: Sequence[int]) -> tuple[int, ...]:
        """Sides of an input with zeros put around it; padding of other kinds repeats what is there and adds nothing."""
        if self.mode != "constant":
            return tuple(sides)
        return tuple(low + side + high for side, low, high in zip(sides, self.before, self.after, strict=True))

    def positions(self, sides: Sequence[int]) -> tuple[int, ...]:
        """Windows along each dimension of an input with these ``sides``."""
        return tuple(
            (side + low + high - dilation * (kernel - 1) - 1) // stride + 1
            for side, low, high, dilation, kernel, stride in zip(
                sides, self.before, self.after, self.dilation, self.kernel, self.stride, strict=True
            )
        )

    def unfold(self, inputs: torch.Tensor) -> torch.Tensor:
        """[b, c, *sides] → [b, c · taps, positions], padded; entries ordered as a weight's [c, *kernel]."""
        padded = self.pad(inputs)
        if len(self.kernel) == 1:
            return F.unfold(padded.unsqueeze(2), (1, *self.kernel), (1, *self.dilation), 0, (1, *self.stride))
        if len(self.kernel) == 2:
            return F.unfold(padded, self.kernel, self.dilation, 0, self.stride)
        positions = self.positions(inputs.shape[2:])
        batch, channel, *steps = padded.stride()
        taps = [step * dilation for step, dilation in zip(steps, self.dilation, strict=True)]
        moves = [step * stride for step, stride in zip(steps, self.stride, strict=True)]
        view = padded.as_strided(
            (*padded.shape[:2], *self.kernel, *positions), (batch, channel, *taps, *moves), padded.storage_offset()
        )
        return view.flatten(2 + len(self.kernel)).flatten(1, -2)

    def rows(self, inputs: torch.Tensor) -> torch.Tensor:
        """[b, c, *sides] → [groups, taps · c / groups, b · positions], padded: a column is a patch, [*kernel, c].

        Copied from channels-last images, where what a patch holds of a line lies in one piece.
        """
        images = self.pad(inputs).movedim(1, -1).contiguous()
        positions = self.positions(inputs.shape[2:])
        batch, *steps, _ = images.stride()
        taps = [step * dilation for step, dilation in zip(steps, self.dilation, strict=True)]
        moves = [step * stride for step, stride in zip(steps, self.stride, strict=True)]
        size = (len(images), *positions, *self.kernel, images.shape[-1])
        patches = images.as_strided(size, (batch, *moves, *taps, 1)).reshape(
            -1, math.prod(self.kernel), images.shape[-1]
        )
        if self.groups == 1:
            return patches.flatten(1).T.unsqueeze(0)
        return patches.unflatten(2, (self.groups, -1)).permute(2, 0, 1, 3).flatten(2).transpose(1, 2)

    def words(self) -> str:
        """E.g. ``3×3, stride 2, padding 1, 4 groups``."""
        said = ["×".join(map(str, self.kernel))]
        if set(self.stride) != {1}:
            said.append("stride " + sides(self.stride))
        if any(self.before) or any(self.after):
            said.append(f"padding {self.padding}" + ("" if self.mode == "constant" else f" {self.mode}"))
        if set(self.dilation) != {1}:
            said.append("dilation " + sides(self.dilation))
        if self.groups > 1:
            said.append(f"{self.groups} groups")
        return ", ".join(said)


def sides(values: Sequence[int]) -> str:
    """``(2, 2)`` → ``2``, ``(1, 2)`` → ``1×2``."""
    return "×".join(map(str, values if len(set(values)) > 1 else values[:1]))


def each(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """One number per dimension."""
    values = tuple(value) if isinstance(value, Sequence) else (int(value),)
    return values * dimensions if len(values) == 1 else values
