"""Audit a trained checkpoint: how well conditioned is every layer, and what would mend it.

``lcaudit.audit("model.safetensors", "cifar10")`` returns a :class:`Report`; the command line is
``lcaudit check``. ``lcaudit.apply_recipe(model, "fixed.recipe.json")`` puts what ``lcaudit fix`` did into your own
network. torch is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AuditError", "Finding", "Report", "apply_recipe", "audit"]

if TYPE_CHECKING:
    from lcaudit.audit import audit
    from lcaudit.core.errors import AuditError
    from lcaudit.core.outcomes import Finding, Report
    from lcaudit.recipes import apply_recipe

_HOMES = {
    "AuditError": "core.errors",
    "Finding": "core.outcomes",
    "Report": "core.outcomes",
    "apply_recipe": "recipes",
    "audit": "audit",
    "render": "reports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lcaudit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"lcaudit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
