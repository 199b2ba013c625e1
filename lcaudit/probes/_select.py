"""Which samples are used, and in which order."""

from __future__ import annotations

import numpy as np

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.text import count

#: Samples used where the user names no number.
DEFAULT_SAMPLES = 5000


def choose(available: int, samples: int | None, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Positions int64 in order of use, and the rule in words.

    The order is a seeded permutation even where all are used: files are often sorted by class, and
    blocks of consecutive samples must be random groups.

    Raises:
        UsageError: fewer than two samples were asked for, or the seed is negative.
        ProbeUnavailable: fewer than two samples are there.
    """
    if samples is not None and samples < 2:
        raise UsageError(f"--samples {samples}: at least 2 are needed", "pass --samples 1000")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more", "pass --seed 0")
    if available < 2:
        raise ProbeUnavailable(
            f"the probe holds {count(available, 'usable sample')}, at least 2 are needed", "pass more data to --data"
        )
    number = min(available, DEFAULT_SAMPLES if samples is None else samples)
    rule = f"order of use: numpy.random.default_rng({seed}).permutation({available}), "
    rule += "all of it" if number == available else f"its first {number}"
    notes = (rule,)
    if samples is not None and samples > available:
        notes += (f"{samples} samples were asked for; all {available} were used",)
    return np.random.default_rng(seed).permutation(available)[:number].astype(np.int64), notes


def ranges(positions: np.ndarray) -> str:
    """Sorted positions as compact ranges: ``[4, 0, 1, 2]`` → ``"0-2,4"``."""
    ordered = np.sort(positions)
    if not len(ordered):
        return ""
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
