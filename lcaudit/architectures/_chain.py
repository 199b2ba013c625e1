"""A chain of layers as text; ``_chain_modules`` builds what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ACTIVATION = "relu"


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the chain.

    Attributes:
        kind: ``linear conv norm norm2d relu dropout flatten``.
        inputs, outputs: widths; ``inputs`` of a convolution are those of one group. 0 without tensors.
        kernel: side of a convolution's kernel.
    """

    kind: str
    inputs: int = 0
    outputs: int = 0
    kernel: int = 0
    bias: bool = False


def write_chain(slots: Sequence[Slot]) -> str:
    """``flatten linear:64:32:0:1 relu linear:32:10:0:1``: kind, inputs, outputs, kernel, bias."""
    return " ".join(
        f"{slot.kind}:{slot.inputs}:{slot.outputs}:{slot.kernel}:{slot.bias:d}" if slot.inputs else slot.kind
        for slot in slots
    )


def read_slot(text: str) -> Slot:
    """One word of the text."""
    kind, *numbers = text.split(":")
    inputs, outputs, kernel, bias = map(int, numbers) if numbers else (0, 0, 0, 0)
    return Slot(kind, inputs, outputs, kernel, bool(bias))
