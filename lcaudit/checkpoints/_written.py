"""Tensors as the bytes of a safetensors file; tied ones are stored once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # headers are read without torch
    import torch


def written(tensors: Mapping[str, torch.Tensor], texts: Mapping[str, str]) -> bytes:
    """A safetensors file.

    Of tensors that are one in memory the first is stored, and the others are named in the metadata, ``{name: stored
    name}``, from which :func:`lcaudit.checkpoints.open_checkpoint` restores them.

    Args:
        tensors: by key, of any device; stored types are kept. texts: metadata.

    Cost: a second copy of the tensors in memory, and a third as bytes.
    """
    from safetensors.torch import save

    kept: dict[str, torch.Tensor] = {}
    metadata = {"format": "pt", **texts}
    first: dict[tuple[object, ...], str] = {}
    for key, value in tensors.items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.shape), value.dtype)
        if value.numel() and place in first and "." in key:
            metadata[key] = first[place]
        else:
            first[place] = key
            kept[key] = value.detach().cpu().contiguous().clone()
    return save(kept, metadata=metadata)
