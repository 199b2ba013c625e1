"""Tensors as every later stage may rely on them: dense, real, on the CPU, contiguous, in the stored dtype."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lcaudit.core.errors import MalformedInput
from lcaudit.core.measurements import NonFinite
from lcaudit.core.text import display_name

_CHUNK = 2**22
_PLAIN = "save dense, real, unquantised weights"


def plain_tensors(label: str, tensors: Mapping[str, torch.Tensor], file_bytes: int) -> dict[str, torch.Tensor]:
    """The same tensors, detached and contiguous; one object per name, storages shared as in the file.

    Args:
        label: printable name of the file.
        tensors: by key, as a container's reader gave them.
        file_bytes: size of all files, which bounds what copies may take.

    Raises:
        MalformedInput: a tensor that is not plain, or that is larger than what is stored of it.
    """
    copied = 0
    result: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        fault = _fault(tensor)
        if fault:
            raise MalformedInput(f"{label}: tensor {display_name(key, 80)!r} {fault}", _PLAIN)
        plain = tensor.detach()
        if not plain.is_contiguous():
            copied += plain.nbytes
            if copied > file_bytes:
                raise MalformedInput(f"{label}: views of one storage amount to more than the file", _PLAIN)
            plain = plain.contiguous()
        # A Parameter or a subclass is a plain tensor from here on.
        result[key] = plain.as_subclass(torch.Tensor)
    return result


def _fault(tensor: torch.Tensor) -> str:
    if tensor.is_quantized:
        return "is quantised"
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout})"
    if tensor.device.type != "cpu":
        return f"is on device '{tensor.device.type}' and has no data here"
    if tensor.is_complex():
        return f"is complex ({tensor.dtype})"
    if tensor.is_neg() or tensor.is_conj():
        return "is a lazily negated view"
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held:
        return f"declares {tensor.numel() * tensor.element_size():,} bytes over {held:,} of storage"
    return ""


def non_finite(tensors: Mapping[str, torch.Tensor]) -> tuple[NonFinite, ...]:
    """Floating tensors with NaN or infinite entries, in the given order."""
    found = []
    for key, tensor in tensors.items():
        entries = _count(tensor) if tensor.is_floating_point() else 0
        if entries:
            found.append(NonFinite(key, entries, tensor.numel()))
    return tuple(found)


def _count(tensor: torch.Tensor) -> int:
    if tensor.numel() == 0 or tensor.dtype == getattr(torch, "float4_e2m1fn_x2", None):
        return 0  # four-bit floats have neither NaN nor infinity
    if tensor.element_size() > 1:
        low, high = torch.aminmax(tensor)  # propagates NaN, and reads the tensor once without a copy
        if torch.isfinite(low) and torch.isfinite(high):
            return 0
    flat = tensor.reshape(-1)
    count = 0
    for start in range(0, len(flat), _CHUNK):
        piece = flat[start : start + _CHUNK]
        # Arithmetic on eight-bit floats is mostly not implemented; widening them is exact.
        piece = piece if piece.element_size() > 1 else piece.to(torch.float32)
        count += int(torch.count_nonzero(~torch.isfinite(piece)))
    return count
