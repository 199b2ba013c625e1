"""Putting stored tensors into a module: all of them, nothing missing, no number changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch

from lcaudit.architectures._reading import COUNTER, compare
from lcaudit.core.errors import MalformedInput, UnknownArchitecture
from lcaudit.core.measurements import Evidence
from lcaudit.core.text import count, display_name

#: Stored types whose every number float32 or float64 can hold.
_EXACT = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_PLAIN = "save the weights as plain float32 tensors"
#: What counts the batches that a batch norm has seen.
COUNTERS = "batch-norm step counter"
_FACTORY = "pass --arch file.py:factory with a factory of the network that these weights were saved from"


def check_stored(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that claim more numbers than the file holds, or that are not plain arrays.

    Raises:
        MalformedInput: which tensor, and why.
    """
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
            raise MalformedInput(f"{display_name(key)} is not a plain array of numbers", _PLAIN)
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise MalformedInput(f"{display_name(key)} claims more numbers than are stored for it", _PLAIN)


def stored_dtype(tensors: Mapping[str, torch.Tensor]) -> str:
    """The floating types of the stored tensors, joined; ``float32`` for an ordinary checkpoint."""
    kinds = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()})
    return ", ".join(kinds) or "none"


def check_fit(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], rename: Mapping[str, str], title: str
) -> None:
    """Compare names and shapes as :func:`load` does, without loading anything.

    Args:
        module: may be on the meta device. rename: stored key → key in the module; keys that it lacks are left out.

    Raises:
        UnknownArchitecture: a tensor is missing, has no place, or another shape.
    """
    stored = {target: tensors[key] for key, target in rename.items()}
    expected = {key: value for key, value in module.state_dict(keep_vars=True).items() if torch.is_tensor(value)}
    _check_shapes(stored, expected, title)


def load(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], rename: Mapping[str, str], title: str
) -> list[Evidence]:
    """Copy every tensor into ``module``, put it in eval mode and switch gradients off.

    Args:
        module: on the CPU or on the meta device; a meta parameter becomes real here.
        rename: stored key → key in the module; identity where absent.
        title: the network's name, for messages.

    Returns:
        What was checked, and every change of type.

    Raises:
        UnknownArchitecture: a tensor is missing, has no place, or another shape.
        MalformedInput: a tensor would have to change its numbers to be loaded.
    """
    stored = {rename.get(key, key): tensor for key, tensor in tensors.items()}
    assert len(stored) == len(tensors), "two stored keys were renamed to one"
    expected = {key: value for key, value in module.state_dict(keep_vars=True).items() if torch.is_tensor(value)}
    shapes, absent, aliases = _check_shapes(stored, expected, title)
    for key in shapes:
        _check_type(key, stored[key].dtype, expected[key].dtype)
    _check_ties(expected, stored)
    wide = any(tensor.dtype == torch.float64 for tensor in stored.values())
    target = torch.float64 if wide else torch.float32
    sources = {**{key: key for key in shapes}, **aliases}
    state = {key: stored[source].detach() for key, source in sources.items()}
    state.update((key, torch.zeros((), dtype=torch.long)) for key in absent)
    module.double() if wide else module.float()
    # Assigning gives meta parameters their storage; copying keeps tied parameters of a real module tied.
    on_meta = any(value.is_meta for value in expected.values())
    if on_meta:
        state = {key: _copied(value, target) for key, value in state.items()}
    versioned = OrderedDict(state)
    # Files carry no versions of modules' formats; keys and shapes are those that this module writes.
    versioned._metadata = getattr(module.state_dict(), "_metadata", None)  # type: ignore[attr-defined]  # as torch does
    try:
        module.load_state_dict(versioned, strict=True, assign=on_meta)
    except (RuntimeError, ValueError) as error:
        reason = display_name(str(error).strip().rpartition("\n")[2].strip())
        raise UnknownArchitecture(f"the weights do not fit {title}: {reason}", _FACTORY) from None
    module.eval().requires_grad_(False)
    return _account(stored, absent, aliases, target)


def _check_shapes(
    stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], title: str
) -> tuple[dict[str, tuple[int, ...]], list[str], dict[str, str]]:
    """(shapes by key of what is stored, counters that are not, aliases of tied tensors that are not)."""
    counters = [key for key in expected if key.endswith(COUNTER)]
    absent = [key for key in counters if key not in stored or stored[key].is_floating_point()]
    aliases = _aliases(expected, stored)
    shapes = {key: tuple(value.shape) for key, value in expected.items() if key not in {*absent, *aliases}}
    differences = compare(shapes, {key: tuple(value.shape) for key, value in stored.items() if key not in absent})
    if differences:
        raise UnknownArchitecture(f"the weights do not fit {title}: {'; '.join(differences)}", _FACTORY)
    return shapes, absent, aliases


def _aliases(expected: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Keys of tied parameters that the file omits, with the stored key of the same parameter."""
    kept = {id(value): key for key, value in expected.items() if key in stored}
    found = {key: kept.get(id(value)) for key, value in expected.items() if key not in stored}
    return {key: source for key, source in found.items() if source is not None}


def _check_ties(expected: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor]) -> None:
    """A tensor that the network holds once, under two names, must be the same under both in the file."""
    first: dict[int, str] = {}
    for key, value in expected.items():
        other = first.setdefault(id(value), key) if key in stored else key
        if other != key and not _same(stored[key], stored[other]):
            raise MalformedInput(
                f"{display_name(key)} and {display_name(other)} are one tensor in the network, two in the file",
                "pass --arch file.py:factory with a factory whose network does not tie them",
            )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _check_type(key: str, stored: torch.dtype, expected: torch.dtype) -> None:
    fits = stored in _EXACT if expected.is_floating_point else stored == expected
    if not fits:
        seen, wanted = (str(kind).removeprefix("torch.") for kind in (stored, expected))
        raise MalformedInput(
            f"{display_name(key)} is stored as {seen}, the network has {wanted}: loading would change its numbers",
            _PLAIN,
        )


def _copied(value: torch.Tensor, target: torch.dtype) -> torch.Tensor:
    return value.to(target if value.is_floating_point() else value.dtype, copy=True)


def _account(
    stored: Mapping[str, torch.Tensor], absent: list[str], aliases: Mapping[str, str], target: torch.dtype
) -> list[Evidence]:
    counters = sum(key.endswith(COUNTER) for key in stored)
    used = count(len(stored) - counters, "tensor") + (f" and {count(counters, COUNTERS)}" if counters else "")
    notes = [Evidence("strict load", f"all {used} used, none missing, every shape equal")]
    if absent:
        notes.append(Evidence("strict load", f"{count(len(absent), COUNTERS)} not stored; inference reads none"))
    if aliases:
        notes.append(Evidence("strict load", f"{count(len(aliases), 'tied tensor')} stored under one name only"))
    kind = str(target).removeprefix("torch.")
    changed = {key: value for key, value in stored.items() if value.is_floating_point() and value.dtype != target}
    if changed:
        notes.append(Evidence("type", f"stored as {stored_dtype(changed)}, widened to {kind} without rounding"))
    return notes
