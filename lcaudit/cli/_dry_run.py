"""``lcaudit check --dry-run``: the plan in words or as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lcaudit.cli._streams import show
from lcaudit.core import memory, serial
from lcaudit.core.errors import UsageError
from lcaudit.core.figures import grouped
from lcaudit.core.plan import Plan, PlannedLayer, PlannedMoment
from lcaudit.core.text import count, display_name

_HEADINGS = ("layer", "kind", "Σ_x", "rows", "kept as", "Σ_g", "rows", "kept as", "memory", "operations")
_LEFT = (0, 1, 4, 7)
_NAME = 36


def dry_run(model: str | Path, data: str, form: str, quiet: int, options: dict[str, Any]) -> int:
    """Plan, print, return 0.

    Raises:
        UsageError: a format that no plan is written in.
    """
    if form not in ("text", "json"):
        raise UsageError(f"--dry-run with --format {form}, expected text or json", "leave --format out")
    from lcaudit import planning  # imports torch: seconds

    known = inspect.signature(planning.dry_run).parameters  # the others change nothing of what is measured
    plan = planning.dry_run(model, data, **{name: value for name, value in options.items() if name in known})
    if quiet < 2:
        if form == "json":
            show(serial.dumps(plan), for_people=False)
        else:
            show("\n".join(lines(plan)))
    return 0


def lines(plan: Plan) -> Iterator[str]:
    """The plan in words."""
    yield f"model  {display_name(plan.model, 60)} · {display_name(plan.network, 80)}"
    yield (
        f"probe  {display_name(plan.probe, 60)} · {count(plan.samples, 'sample')} in batches of {plan.batch_size} on "
        f"{display_name(plan.device, 40)}"
    )
    yield ""
    measured = [layer for layer in plan.layers if not layer.refused]
    yield from _table(_HEADINGS, [_row(layer) for layer in measured], _LEFT)
    for layer in measured:
        if layer.why:
            yield f"  {display_name(layer.name, _NAME)}: {layer.why}"
    for layer in plan.layers:
        if layer.refused:
            yield f"  not measured: {display_name(layer.name, _NAME)}, {display_name(layer.refused)}"
    yield ""
    total = ("total", operations(sum(stage.operations for stage in plan.stages)), "", seconds(plan.seconds))
    stages = [
        (one.name, operations(one.operations), memory.words(one.nbytes), seconds(one.seconds)) for one in plan.stages
    ]
    yield from _table(("stage", "operations", "memory", "time, about"), [*stages, total], (0,))
    yield ""
    yield (
        f"Moments take {memory.words(plan.nbytes)} of the {memory.words(plan.max_memory)} that --max-memory allows; "
        "kept rows take less where some are padding."
    )
    yield f"Times are estimates from {plan.calibration} on this machine. Nothing was measured, nothing written."


def _row(layer: PlannedLayer) -> tuple[str, ...]:
    cells = [display_name(layer.name, _NAME), layer.kind]
    for one in layer.moments:
        cells += [f"{one.side}²" + (f"×{layer.groups}" if layer.groups > 1 else ""), grouped(one.rows), _form(one)]
    return (*cells, memory.words(layer.nbytes), operations(layer.operations))


def _form(moment: PlannedMoment) -> str:
    return f"sums of {moment.groups}" if moment.form == "sums" else moment.form


def operations(number: int) -> str:
    """Floating-point operations to three digits: ``1.25 G``."""
    power = min(5, max(0, len(str(number)) - 1) // 3)
    return f"{number / 1000**power:.3g} {' kMGTP'[power]}".rstrip()


def seconds(amount: float) -> str:
    """About how long."""
    if amount < 1:
        return "below 1 s"
    return (
        f"{amount:.0f} s" if amount < 120 else f"{amount / 60:.0f} min" if amount < 7200 else f"{amount / 3600:.0f} h"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()
