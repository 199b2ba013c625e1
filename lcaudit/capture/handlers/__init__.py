"""One file per layer kind: how its input, patches and gradients become rows of a second moment."""

from __future__ import annotations

from functools import cache

import torch

from lcaudit.capture.handlers._base import Handler
from lcaudit.core import plugins


@cache
def handlers() -> dict[str, Handler]:
    """Every layer kind by name."""
    return {name: plugins.load(__name__, name, "HANDLER") for name in plugins.names(__name__)}


def kind_of(module: torch.nn.Module) -> str:
    """The kind that measures this module, or ``""`` where no kind knows it.

    A subclass that computes its output in its own way is not the kind it inherits from.
    """
    for kind, handler in handlers().items():
        for known in handler.modules:
            if isinstance(module, known) and type(module).forward is known.forward:
                return kind
    return ""
