"""The dry run's findings as errors a user can act on."""

from __future__ import annotations

import io
import struct

from lcaudit.checkpoints._pickle_names import named_globals
from lcaudit.checkpoints._pickle_scan import Machine, TooMuch, Walk
from lcaudit.checkpoints._pickle_stack import Refusal
from lcaudit.checkpoints._pickle_values import Foreign, is_allowed
from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.text import display_name, one_line

_SAVE_AGAIN = "where the model was trained, save its weights alone: torch.save(model.state_dict(), 'weights.pt')"
_NUMPY = "save NumPy numbers as float(x) and arrays as tensors, or save the weights alone"


def dry_run(label: str, stream: io.BytesIO, view_field: bool = False) -> Walk:
    """Walk the pickle that begins at the stream's position; afterwards the stream stands behind it.

    Args:
        label: printable name of the file.
        view_field: persistent identifiers carry a sixth field, as in the legacy container.

    Raises:
        UnsafeCheckpoint: it needs a global that is not on the list; the message names them.
        MalformedInput: it is damaged, or holds something that is no plain tensor.
        LimitExceeded: it is beyond a cap.
    """
    walk = Walk()
    start = stream.tell()
    problem: AuditError | None = None
    try:
        walk.root = Machine(stream, walk, view_field).run()
    except Refusal as refusal:
        problem = MalformedInput(f"{label}: its pickle holds {refusal}", _SAVE_AGAIN)
    except TooMuch as excess:
        problem = LimitExceeded(f"{label}: its pickle has {excess}", _SAVE_AGAIN)
    except (IndexError, KeyError, ValueError, TypeError, struct.error):
        problem = MalformedInput(
            f"{label}: its pickle is damaged at byte {stream.tell():,}", "download the file again, or save it again"
        )
    refused = walk.refused
    if problem is not None:
        names = named_globals(stream.getvalue()[start:])
        refused = refused | {name for name in names if not is_allowed(name.replace("__builtin__.", "builtins.", 1))}
    if walk.modules or any(name.startswith("torch.nn.modules.") for name in refused):
        kind = display_name(_class_of(walk) or min(walk.modules | refused), 80)
        raise UnsafeCheckpoint(
            f"{label}: a whole torch.nn.Module was pickled (class {kind}); loading it runs its code", _SAVE_AGAIN
        )
    if refused:
        hint = _NUMPY if all(name.startswith("numpy.") for name in refused) else _SAVE_AGAIN
        raise UnsafeCheckpoint(
            f"{label}: loading needs {one_line(sorted(refused))}; lcaudit does not run code from checkpoints",
            hint,
        )
    if problem is not None:
        raise problem
    if walk.unreadable:
        raise MalformedInput(
            f"{label}: holds {one_line(sorted(walk.unreadable))}; lcaudit reads plain dense tensors",
            "save dense, unquantised weights",
        )
    return walk


def _class_of(walk: Walk) -> str:
    """The class of the pickled module: the object itself, or the first entry that is an object."""
    roots = [walk.root, *walk.root.values()] if isinstance(walk.root, dict) else [walk.root]
    return next((root.name for root in roots if isinstance(root, Foreign)), "")
