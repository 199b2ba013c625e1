"""How something was measured, as far as it changes what the figures mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from lcaudit.core.comparison import PARTS
from lcaudit.core.measurements import Measurements, ProbeRecord
from lcaudit.core.metrics import ESTIMATOR
from lcaudit.core.settings import Settings


def fingerprint(measured: Measurements) -> dict[str, str]:
    """What two measurements must share before their figures are compared, by part.

    Which samples were drawn is no part, only from what data and how many: the intervals hold that. Neither are the
    device and the versions of libraries, which change figures by rounding.
    """
    return fingerprint_of(measured.probe, measured.settings)


def fingerprint_of(probe: ProbeRecord, settings: Settings) -> dict[str, str]:
    """The same before anything is measured, from the probe and the settings asked for."""
    shown = {
        "data": probe.sha256,
        "normalisation": json.dumps([probe.shape, probe.normalisation.mean, probe.normalisation.std]),
        "samples": str(probe.samples),
        "dtype": settings.dtype,
        "convention": settings.convention,
        "fisher": settings.fisher,
        "mc_samples": str(settings.mc_samples),
        "task": settings.task,
        "ignore_index": str(settings.ignore_index),
        "estimator": ESTIMATOR,
    }
    if settings.convention == "huang2020":  # its batch statistics make every figure depend on it
        shown["batch_size"] = str(settings.batch_size)
    return shown


def digest(parts: Mapping[str, str]) -> str:
    """16 hexadecimal digits that stand for all parts."""
    return hashlib.sha256(json.dumps(dict(sorted(parts.items()))).encode()).hexdigest()[:16]


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs, in words: ``the number of samples (500, now 400)``."""
    said = []
    for part in dict.fromkeys([*before, *after]):
        then, now = before.get(part, "not stated"), after.get(part, "not stated")
        if then != now:
            words = PARTS.get(part, part)
            long = len(then) + len(now) > 60
            said.append(words if long else f"{words} ({then}, now {now})")
    return said
