"""A chain of layers as text; ``_chain_modules`` builds what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lcaudit.architectures._reading import Expected, Unlike

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


def expected_chain(prefix: str, slots: Sequence[Slot]) -> Expected:
    """Names and shapes of the chain, under ``prefix`` (``""`` or with a dot at its end).

    Raises:
        Unlike: the layers do not follow each other.
    """
    expected = Expected()
    width, image = 0, False
    for index, slot in enumerate(slots):
        path = f"{prefix}{index}"
        if width and not image and slot.inputs and slot.inputs != width:
            raise Unlike(f"a layer that reads {slot.inputs} numbers follows one that gives {width}")
        if slot.kind == "norm2d" and width and slot.inputs != width:
            raise Unlike(f"a batch norm of {slot.inputs} channels follows {width} channels")
        if slot.kind == "linear":
            expected.linear(path, slot.inputs, slot.outputs, slot.bias)
        elif slot.kind == "conv":
            inputs = width or slot.inputs
            if inputs % slot.inputs or slot.outputs % (inputs // slot.inputs):
                raise Unlike(f"a convolution reads {slot.inputs} of {inputs} channels")
            expected.convolution(path, inputs, slot.outputs, slot.kernel, inputs // slot.inputs, slot.bias)
        elif slot.kind in ("norm", "norm2d"):
            expected.batch_norm(path, slot.inputs)
        width = slot.outputs or width
        image = slot.kind in ("conv", "norm2d") or (image and slot.kind != "linear")
    return expected
