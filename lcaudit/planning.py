"""What an audit would do, without doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lcaudit import capture, comparisons
from lcaudit.core import hub
from lcaudit.core.machine import DTYPES, choose_device, environment, memory_allowance
from lcaudit.core.plan import Plan
from lcaudit.core.settings import Settings
from lcaudit.opening import check_kinds, opened, several


def dry_run(
    model: str | Path,
    data: str | Path,
    *,
    arch: str | None = None,
    base: str | Path | None = None,
    data_root: Path | None = None,
    split: str | None = None,
    samples: int | str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    columns: Mapping[str, str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    tokenizer: Path | None = None,
    max_tokens: int | None = None,
    batch_size: int | str = "auto",
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    fisher: str | None = None,
    mc_samples: int | str = 1,
    task: str = "auto",
    ignore_index: int = -100,
    convention: str = "kfac",
    layers: str | Sequence[str] = (),
    max_memory: int | None = None,
    max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Plan:
    """What :func:`audit` would measure, in which form, and what time and memory each stage would take.

    Arguments as for :func:`audit`, which ``samples="auto"`` may call on fewer samples than are planned for here. A
    cross-check (``exact``) is not counted.

    Raises:
        AuditError: what would stop the audit before it measures.

    Cost: reading the checkpoint and the probe, two forward passes and one backward pass over one batch.
    """
    check_kinds(model, data, arch)
    whose = capture.fisher_of(fisher, mc_samples, convention)
    on = choose_device(device, dtype)
    max_memory = memory_allowance(max_memory, on)
    _, (network, *_), probe = opened(
        model, data, arch, max_download, progress, root=data_root, split=split,
        samples=None if samples == "auto" else samples, seed=seed, mean=mean, std=std, task=task,
        ignore_index=ignore_index, columns=columns, input_size=input_size, interpolation=interpolation,
        tokenizer=tokenizer, max_tokens=max_tokens, base=base,
    )  # fmt: skip
    batch_size = capture.first_batch_size(batch_size, on, probe, network.record.classes)
    planned, stages = capture.plan_run(
        network, probe, device=on, dtype=DTYPES[dtype], batch_size=batch_size, task=task, ignore_index=ignore_index,
        fisher=whose, convention=convention, layers=several(layers), max_memory=max_memory,
    )  # fmt: skip
    return Plan(
        model=Path(model).name,
        network=network.record.title,
        probe=f"{probe.record.dataset}/{probe.record.split}",
        samples=probe.record.samples,
        batch_size=batch_size,
        device=environment(on).device,
        max_memory=max_memory,
        layers=planned,
        stages=stages,
        calibration=capture.CALIBRATION,
    )


def planned(
    model: str | Path, data: str | Path, *, arch: str | None = None, base: str | Path | None = None,
    data_root: Path | None = None, split: str | None = None, samples: int | str | None = None,
    columns: Mapping[str, str] | None = None, mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    input_size: int | tuple[int, int] | None = None, interpolation: str | None = None,
    tokenizer: Path | None = None, max_tokens: int | None = None,
    batch_size: int | str = "auto", dtype: str = "float32", device: str = "auto", fisher: str | None = None,
    mc_samples: int | str = 1, convention: str = "kfac", layers: Sequence[str] = (), task: str = "auto",
    ignore_index: int = -100, seed: int = 0, max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None, **without_effect: Any,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """What :func:`audit` would measure with the same arguments: the SHA-256 of the weights, and how.

    ``without_effect``: what else the audit takes, which changes none of its figures.

    Cost: opening checkpoint and probe; nothing is measured. Raises: as :func:`audit` does before it measures.
    """
    checkpoint, _, probe = opened(
        model, data, arch, max_download, progress, root=data_root, split=split, samples=samples, seed=seed, mean=mean,
        std=std, task=task, ignore_index=ignore_index, columns=columns, input_size=input_size,
        interpolation=interpolation, tokenizer=tokenizer, max_tokens=max_tokens, base=base,
    )  # fmt: skip
    whose = capture.fisher_of(fisher, mc_samples, convention)
    asked = Settings(
        seed, probe.record.samples, batch_size if isinstance(batch_size, int) else 0, dtype, device, whose.kind,
        whose.draws if whose.kind == "expected" else 0, task, ignore_index=ignore_index, convention=convention,
        layers=tuple(layers),
    )  # fmt: skip
    return checkpoint.record.sha256, comparisons.settings_of(probe.record, asked)
