"""Where the classes and the positions of a sample lie in a network's outputs and targets."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lcaudit.core.errors import ProbeUnavailable, UsageError


@dataclass(frozen=True, slots=True)
class Layout:
    """``axis``: the class axis of the outputs, 1 ([b, C, …]) or −1 ([b, …, C]); 0 where there is none ([b])."""

    axis: int

    def rows(self, outputs: Tensor) -> Tensor:
        """Outputs, or targets shaped like them → [b, T, C]: T positions of C outputs each (a view where possible)."""
        if self.axis == 0:
            return outputs.reshape(-1, 1, 1)
        moved = outputs.movedim(self.axis, -1)
        return moved.reshape(moved.shape[0], -1, moved.shape[-1])

    def restore(self, rows: Tensor, outputs: Tensor) -> Tensor:
        """The inverse of :meth:`rows`: [b, T, C] → the shape of ``outputs``."""
        if self.axis == 0:
            return rows.reshape(outputs.shape)
        moved = outputs.movedim(self.axis, -1)
        return rows.reshape(moved.shape).movedim(-1, self.axis)

    def positions(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The outputs' shape without the class axis: [b, …]."""
        if self.axis == 0:
            return shape
        return shape[:1] + (shape[2:] if self.axis == 1 else shape[1:-1])

    def width(self, shape: tuple[int, ...]) -> int:
        """Outputs at one position, C."""
        return shape[self.axis] if self.axis else 1

    def target_rows(self, targets: Tensor, shape: tuple[int, ...], indices: bool) -> Tensor:
        """Targets as [b, T], or as [b, T, C] where they are not class ``indices``.

        Raises:
            ProbeUnavailable: their shape is not that of outputs of ``shape``.
        """
        if not _belong(self, shape, tuple(targets.shape), indices):
            wanted = self.positions(shape) if indices else shape
            raise ProbeUnavailable(f"targets {list(targets.shape)} for outputs {list(shape)}, expected {list(wanted)}")
        if indices:
            return targets.reshape(len(targets), -1)
        return self.rows(targets) if tuple(targets.shape) == shape else targets.reshape(len(targets), -1, 1)


def find(
    shape: tuple[int, ...], targets: tuple[int, ...] | None, classes: int, indices: bool, last: bool = False
) -> Layout:
    """The layout under which outputs of ``shape`` and targets of shape ``targets`` belong together.

    Args:
        shape: of the outputs. targets: ``None`` where there are none.
        classes: width of the network's output if known, else 0: decides between [b, C, T] and [b, T, C].
        indices: whether targets are class indices, which have no class axis.
        last: whether the last axis of three or more is known to hold the classes.

    Raises:
        UsageError: the shapes leave open which axis holds the classes.
        ProbeUnavailable: no axis fits.
    """
    seen = f"outputs {list(shape)}" + ("" if targets is None else f" and targets {list(targets)}")
    fitting = [one for one in _layouts(shape, indices) if targets is None or _belong(one, shape, targets, indices)]
    fitting = [one for one in fitting if one.axis == -1 or not last or len(shape) < 3]
    named = [layout for layout in fitting if classes and layout.width(shape) == classes]
    candidates = named or fitting
    if not candidates:
        wanted = "one class index per sample or position" if indices else "targets of the outputs' shape"
        raise ProbeUnavailable(f"{seen} do not belong together, expected {wanted}")
    if len(candidates) > 1 and len(shape) == 3:  # images have theirs second, as all of torch
        raise UsageError(
            f"{seen} leave open which axis holds the classes: the second or the last",
            "use samples whose number of positions is not the number of classes",
        )
    return candidates[0]


def _layouts(shape: tuple[int, ...], indices: bool) -> list[Layout]:
    if len(shape) == 1:
        return [] if indices else [Layout(0)]
    return [Layout(1)] if len(shape) == 2 else [Layout(1), Layout(-1)]


def _belong(layout: Layout, shape: tuple[int, ...], targets: tuple[int, ...], indices: bool) -> bool:
    without = layout.positions(shape)
    if indices:
        return targets == without
    return targets == shape or (layout.width(shape) == 1 and targets == without)
