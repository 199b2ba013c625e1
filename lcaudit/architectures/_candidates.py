"""Every network that has a checkpoint's tensors, where names and shapes do not tell them apart."""

from __future__ import annotations

from dataclasses import replace

from lcaudit.architectures._resolver import resolve_checkpoint
from lcaudit.core.errors import AmbiguousArchitecture
from lcaudit.core.types import Checkpoint, Network


def candidates_for(checkpoint: Checkpoint, arch: str | None) -> tuple[Network, ...]:
    """See :func:`lcaudit.architectures.candidates`."""
    try:
        return (resolve_checkpoint(checkpoint, arch),)
    except AmbiguousArchitecture as error:
        if not error.candidates:
            raise
        networks = [resolve_checkpoint(checkpoint, name) for name in error.candidates]
    return tuple(replace(one, record=replace(one.record, confidence="assumed")) for one in networks)
