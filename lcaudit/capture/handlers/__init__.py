"""One file per layer kind: how its input, patches and gradients become rows of a second moment."""

from __future__ import annotations

import torch

from lcaudit.capture.handlers._base import Handler
from lcaudit.core import plugins


def handlers() -> dict[str, Handler]:
    """Every layer kind by name."""
    return {name: plugins.load(__name__, name, "HANDLER") for name in plugins.names(__name__)}


def handler_for(module: torch.nn.Module) -> tuple[str, Handler] | None:
    """The kind and handler of a module, or ``None`` where no kind knows it.

    A subclass that computes its output in its own way is not the kind it inherits from.
    """
    for kind, handler in handlers().items():
        if isinstance(module, handler.module) and type(module).forward is handler.module.forward:
            return kind, handler
    return None
