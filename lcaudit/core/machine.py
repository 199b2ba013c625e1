"""The device to run on and the environment to report; the one place that asks torch about hardware."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch
from threadpoolctl import ThreadpoolController

import lcaudit
from lcaudit.core import memory
from lcaudit.core.errors import EnvironmentFailure, UsageError
from lcaudit.core.settings import Environment

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def choose_device(name: str, dtype: str) -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS (float32 only), then the CPU.

    Raises:
        EnvironmentFailure: the device that was asked for is not there.
        UsageError: it cannot do ``dtype``.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if present["cuda"] else "mps" if present["mps"] and dtype == "float32" else "cpu"
    if not present[name]:
        raise EnvironmentFailure(f"--device {name}: torch sees no such device here", "use --device auto or cpu")
    if name == "mps" and dtype == "float64":
        raise UsageError("--device mps has no float64", "use --dtype float32 or --device cpu")
    return torch.device(name)


def memory_allowance(asked: int | None, device: torch.device) -> int:
    """Bytes that the moments may take: what was asked for, or a share of what is free where they are kept."""
    if asked is not None:
        return asked
    return memory.allowance(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.free())


@contextmanager
def single_products() -> Iterator[None]:
    """NumPy's products and eigenvalue problems on one thread each, for the time inside: several run side by side.

    Threads of theirs that wait for each other on busy cores take many times as long.
    """
    with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        yield


def environment(device: torch.device) -> Environment:
    """Versions and hardware, for the report."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Environment(
        lcaudit=lcaudit.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
        platform=f"{platform.system()} {platform.machine()}",
        device=name,
        threads=torch.get_num_threads(),
    )
