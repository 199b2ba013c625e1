"""Fixes applied and measured again: ``lcaudit fix`` from the audit to the file and back.

Half of the samples measure the network and make the fixes; the other half are held out and only judge them.
A fix that claims to keep the function is refused where the outputs say otherwise, one that changes it where
the error on held-out samples does not fall. The changed network is written to a file, read back, audited, and
held against what was predicted from the original's moments.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lcaudit import checkpoints, recipes
from lcaudit.audit import audit
from lcaudit.core.errors import EnvironmentFailure
from lcaudit.core.files import write_together
from lcaudit.core.outcomes import Report
from lcaudit.core.recipe import METADATA_KEY, VERSION, Recipe
from lcaudit.core.text import display_name
from lcaudit.core.verification import Unsettled
from lcaudit.mend._bench import Bench
from lcaudit.mend._choose import Choice, choose, unsettled
from lcaudit.mend._work import TOLERANCE, Work

__all__ = ["TOLERANCE", "Choice", "Mended", "choose", "mend"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of it: the report of the changed network, or of the original where nothing was applied.

    Attributes:
        weights, recipe: contents of the two files; empty where nothing was applied.
        unsettled: what the samples did not decide and therefore was not mended.
    """

    report: Report
    weights: bytes
    recipe: str
    choices: tuple[Choice, ...]
    unsettled: Unsettled


def mend(
    model: str | Path,
    data: str | Path,
    name: str,
    *,
    select: Sequence[str] = (),
    unsafe: bool = False,
    samples: int | None = None,
    only_choose: bool = False,
    progress: Progress = lambda stage, done, total: None,
    **options: Any,
) -> Mended:
    """Audit, choose fixes, apply each that holds, measure again. Nothing is written but temporary files.

    Args:
        name: base name that the new weights will have.
        select, unsafe: see :func:`choose`.
        samples: how many measure; as many more are held out where the data has them. ``None``: half of the data,
            at most 5,000.
        only_choose: stop once it is known which fixes would be tried.
        options: as of :func:`lcaudit.audit`.

    Raises:
        AuditError: there is no verdict on the original, or the changed network cannot be read back.

    Cost: two audits, two more runs that measure the changed layers, and three forward passes for each fix.
    """
    bench = Bench(model, str(data), samples, options)
    before = audit(model, data, samples=len(bench.probe.keys), precision=0.0, progress=progress, **bench.options)
    choices, refused = choose(before, select, unsafe)
    open_ = unsettled(before, select, bench.available)
    if only_choose:
        return Mended(before, b"", "", choices, open_)
    work = Work(bench, before)
    for number, choice in enumerate(choices):
        progress("applying fixes", number, len(choices))
        work.make(choice)
    refused += tuple(work.refused)
    if not work.steps:
        found = replace(work.verification(before, refused, ((), None)), unsettled=open_)
        return Mended(replace(before, verification=found), b"", "", choices, open_)
    record = before.measurements
    recipe = Recipe(
        VERSION, record.environment.lcaudit, record.network.family, display_name(record.network.title, 200),
        display_name(record.checkpoint.name), record.checkpoint.sha256, (*bench.earlier, *work.steps),
    )  # fmt: skip
    text = recipes.written(recipe)
    weights = checkpoints.written(work.module.state_dict(), {**bench.declared, METADATA_KEY: text})
    try:
        with tempfile.TemporaryDirectory(prefix="lcaudit-") as folder:
            path = Path(folder) / name
            write_together([(path, weights)])
            renamed = work.options_after()
            after = audit(path, data, samples=len(bench.probe.keys), precision=0.0, progress=progress, **renamed)
            again = Bench(path, str(data), samples, options)
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot use the temporary folder: {error.strerror}", "set TMPDIR to another"
        ) from None
    work.take_back(again)
    verification = replace(work.verification(after, refused, work.figures()), unsettled=open_)
    return Mended(replace(after, verification=verification), weights, text, choices, open_)
