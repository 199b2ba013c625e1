"""What a network's layers say about the input that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # data can be read without torch
    import torch


def embeddings(module: torch.nn.Module) -> dict[str, int]:
    """Number of ids that each ``nn.Embedding`` knows, by name."""
    import torch

    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    return {
        name or type(part).__name__: part.num_embeddings
        for name, part in module.named_modules()
        if isinstance(part, kinds)
    }
