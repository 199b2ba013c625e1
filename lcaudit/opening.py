"""A checkpoint, its network and its probe, opened together: what everything that measures begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lcaudit import architectures, capture, checkpoints, probes, recipes
from lcaudit.core import hub
from lcaudit.core.errors import UsageError
from lcaudit.core.identification import Identification
from lcaudit.core.types import Checkpoint, Network, Probe


def opened(
    model: str | Path,
    data: str | Path,
    arch: str | None,
    max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    *,
    base: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    **choices: Any,
) -> tuple[Checkpoint, tuple[Network, ...], Probe]:
    """The checkpoint, the networks that it may be, and the probe opened for the first of them.

    Args:
        base, columns, input_size, interpolation: as of :func:`lcaudit.audit`. choices: the rest of what
            :func:`lcaudit.probes.open_probe` takes.

    Raises:
        AuditError: one of them cannot be had.
    """
    checkpoint, networks = networks_of(model, arch, max_download, progress, base)
    return checkpoint, networks, probe_of(
        data, networks[0], max_download, progress, columns=columns, input_size=input_size,
        interpolation=interpolation, **choices,
    )  # fmt: skip


def probe_of(
    data: str | Path,
    network: Network,
    max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    *,
    columns: Mapping[str, str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    **choices: Any,
) -> Probe:
    """The data opened for the network; arguments as of :func:`opened`.

    Raises:
        AuditError: it cannot be had, or does not fit.
    """
    return probes.open_probe(
        str(data), network, max_download=max_download, progress=progress, columns=columns or {},
        input_size=sides(input_size), interpolation=interpolation or "", **choices,
    )  # fmt: skip


def networks_of(
    model: str | Path,
    arch: str | None,
    max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    base: str | Path | None = None,
) -> tuple[Checkpoint, tuple[Network, ...]]:
    """The checkpoint, and the networks that it may be: one, unless their tensors do not tell them apart.

    Args:
        base: the weights that a LoRA adapter was trained on.

    Raises:
        AuditError: it cannot be opened, or no network fits.
    """
    checkpoint = checkpoints.open_checkpoint(model, max_download=max_download, progress=progress)
    checkpoint = checkpoints.with_base(checkpoint, base, max_download=max_download, progress=progress)
    if recipes.made(checkpoint):
        return checkpoint, (
            recipes.rebuilt(checkpoint, lambda one, family: architectures.resolve(one, arch or family)),
        )
    return checkpoint, architectures.candidates(checkpoint, arch)


def identified(
    networks: Sequence[Network], probe: Probe, **options: Any
) -> tuple[Network, Probe, Identification | None]:
    """The network and the preprocessing that the probe speaks for: see :func:`lcaudit.capture.identify`."""
    return capture.identify(networks, probe, probes.preprocessings(probe, networks), **options)


def check_kinds(model: object, data: object, arch: object) -> None:
    """Say what is accepted where something else was passed."""
    if not isinstance(model, (str, Path)):
        raise UsageError(
            f"model is a {type(model).__name__}, expected the path of a file or folder of weights",
            "save the weights, torch.save(model.state_dict(), 'weights.pt'), and pass that path; "
            "arch='file.py:factory' builds the network",
        )
    if not isinstance(data, (str, Path)):
        raise UsageError(
            f"data is a {type(data).__name__}, expected the name of a data set or a path",
            "save arrays with numpy.savez('probe.npz', images=..., labels=...) and pass that path",
        )
    if arch is not None and not isinstance(arch, str):
        raise UsageError(
            f"arch is a {type(arch).__name__}, expected 'file.py:factory' or the name of a family",
            "put the function into a file and pass its path and name as one string",
        )


def sides(size: int | tuple[int, int] | None) -> tuple[int, ...]:
    """One side stands for a square."""
    return () if size is None else (size, size) if isinstance(size, int) else tuple(size)


def several(given: str | Sequence[str]) -> tuple[str, ...]:
    """A string by itself counts as one of several."""
    return (given,) if isinstance(given, str) else tuple(given)
