"""The folder is the registry: one file per rule, format, family, dataset or layer kind.

A plugin file defines one constant (``RULE``, ``WRITER``, ``FAMILY``, …). Files whose name starts with
an underscore hold a folder's contract and are never plugins. Names are listed without importing, so
that the command line can offer them before torch is loaded.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any


@cache
def names(package: str) -> tuple[str, ...]:
    """File names (without ``.py``) of the plugins in ``package``, sorted; nothing but it is imported."""
    paths = importlib.import_module(package).__path__
    return tuple(sorted(info.name for info in pkgutil.iter_modules(paths) if not info.name.startswith("_")))


def load(package: str, name: str, constant: str) -> Any:
    """The ``constant`` of one plugin file. An absent constant is our own mistake."""
    module = importlib.import_module(f"{package}.{name}")
    assert hasattr(module, constant), f"{package}.{name} defines no {constant}"
    return getattr(module, constant)


def load_all(package: str, constant: str) -> tuple[Any, ...]:
    """Every plugin's ``constant``, in order of file name."""
    return tuple(load(package, name, constant) for name in names(package))


def document(package: str, name: str) -> str:
    """The docstring of a plugin file: its manual page."""
    module = importlib.import_module(f"{package}.{name}")
    assert module.__doc__ and module.__file__, f"{package}.{name} has no docstring"
    return Path(module.__file__).stem and module.__doc__.strip()
