"""What network is it: names and shapes of the tensors, or the user's own word, become a module."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # listing the families must not load torch
    from lcaudit.core.identity import Recognition
    from lcaudit.core.program import Program
    from lcaudit.core.types import Checkpoint, Network


def resolve(checkpoint: Checkpoint, arch: str | None = None) -> Network:
    """Find the network that the checkpoint's tensors belong to and put them into it.

    Nothing is guessed past what the tensors show: a network is returned only if it uses every stored
    tensor and lacks none (batch-norm counters apart, which inference never reads). What names and
    shapes cannot show is listed in ``record.assumptions``.

    Args:
        checkpoint: names and tensors, wrappers already undone.
        arch: ``file.py:factory`` runs that file and calls the factory without arguments; it must
            return an ``nn.Module``. ``timm:NAME`` and ``torchvision:NAME`` are built by these libraries. The
            name of a family considers that family alone. ``None`` considers, in this order, what
            ``lcaudit export`` wrote into the file, the ``config.json`` beside the weights, every family, and the
            index of the libraries' networks.

    Returns:
        The module in eval mode, on the CPU, without gradients: float64 if any stored number is
        float64, else float32. In ``record.input_shape`` a 0 stands for any size, ``()`` for
        "whatever the probe has", and a single number n for samples of n numbers in any shape, which
        the network flattens itself. ``record.classes`` is 0 where the width of the output is unknown.

    Raises:
        UsageError: ``arch`` names neither a family nor a factory, or the user's file failed.
        UnknownArchitecture: no family, or not the one named, has exactly these tensors.
        AmbiguousArchitecture: several families have them and compute different functions.
        MalformedInput: a tensor cannot be loaded without changing its numbers.
        EnvironmentFailure: the network is timm's or torchvision's, which is not installed.
    """
    from lcaudit.architectures._resolver import resolve_checkpoint

    return resolve_checkpoint(checkpoint, arch)


def recognise(
    shapes: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    texts: Mapping[str, str] = MappingProxyType({}),
    program: Program | None = None,
) -> Recognition:
    """Which network has these names and shapes; no tensor is read and no library needed.

    Args:
        shapes: by key, prefixes undone.
        config: the ``config.json`` beside the weights, unchecked; empty if there is none.
        texts: the file's own metadata, unchecked. program: the network's own graph, where the file holds one.
    """
    from lcaudit.architectures._recognition import recognise as recognise_shapes

    if program:
        from lcaudit.architectures._program import recognition

        return recognition(program, recognise_shapes(shapes, config, texts))
    return recognise_shapes(shapes, config, texts)


def candidates(checkpoint: Checkpoint, arch: str | None = None) -> tuple[Network, ...]:
    """As :func:`resolve`, but where several networks that compute different functions have exactly these tensors,
    all of them, so that a probe can decide; their confidence is ``assumed`` until it does.

    Raises:
        As :func:`resolve`; AmbiguousArchitecture only where the several cannot be built.
    """
    from lcaudit.architectures._candidates import candidates_for

    return candidates_for(checkpoint, arch)
