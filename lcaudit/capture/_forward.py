"""Running a network that may be the user's own."""

from __future__ import annotations

from typing import Any

import torch

from lcaudit.core.errors import AuditError, UnknownArchitecture, out_of_memory
from lcaudit.core.text import display_name


def forward(module: torch.nn.Module, inputs: torch.Tensor) -> Any:
    """``module(inputs)``.

    Raises:
        UnknownArchitecture: the network cannot take these inputs; what it said is in the message.
    """
    try:
        return module(inputs)
    except AuditError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        said = display_name(str(error).strip().split("\n")[0], 200)
        if isinstance(error, IndexError) and not inputs.is_floating_point():
            sizes = {name: part for name, part in module.named_modules() if isinstance(part, torch.nn.Embedding)}
            known = ", ".join(f"{display_name(name, 80)} has {part.num_embeddings}" for name, part in sizes.items())
            said += f"; the largest token id here is {int(inputs.max())}, of the embeddings {known or 'there are none'}"
        raise UnknownArchitecture(
            f"the network failed on an input {list(inputs.shape)}: {type(error).__name__}: {said}",
            "if these are token ids, save them as int64 under the name input_ids"
            if "'indices'" in said and inputs.is_floating_point()
            else "pass data of the shape that the network takes, or another --arch",
        ) from error
