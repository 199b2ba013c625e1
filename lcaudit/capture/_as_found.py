"""A network made ready for measuring, and handed back exactly as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def as_found(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[torch.nn.Module]:
    """On ``device`` and in ``dtype``, in eval mode, parameters frozen, products in full precision.

    Everything is restored on leaving, whatever happens inside: the very tensors of parameters, buffers and
    gradients, so that a passage through a narrower type costs nothing, modes and flags. Memory: a second
    copy of the parameters where device or type differ.
    """
    parts = list(module.modules())
    modes = [(part, part.training) for part in parts]
    parameters = [
        (
            part,
            key,
            parameter,
            parameter.data,
            parameter.grad,
            parameter.grad.data if parameter.grad is not None else None,
        )
        for part in parts
        for key, parameter in part._parameters.items()
        if parameter is not None
    ]
    flags = [(parameter, parameter.requires_grad) for _, _, parameter, *_ in parameters]
    buffers = [(part, key, value) for part in parts for key, value in part._buffers.items()]
    precision = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    try:
        module.to(device=device, dtype=dtype)
        module.eval()
        module.requires_grad_(False)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        with torch.enable_grad():
            yield module
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
        for part, training in modes:
            part.training = training
        for part, key, parameter, data, gradient, gradient_data in parameters:
            parameter.data = data
            if gradient is not None and gradient_data is not None:
                gradient.data = gradient_data
                parameter.grad = gradient
            part._parameters[key] = parameter  # some devices need new parameter objects
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for part, key, value in buffers:
            part._buffers[key] = value
