"""Checkpoints measured one after another: an append-only file, one line each, that can be continued.

Nothing in it depends on when or how fast it was measured, so that a run that was stopped and continued leaves the
bytes of one that was not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from lcaudit.comparisons.baseline import entries_of
from lcaudit.comparisons.fingerprint import digest, fingerprint_of
from lcaudit.core import serial
from lcaudit.core.comparison import Point
from lcaudit.core.errors import MalformedInput
from lcaudit.core.measurements import Measurements, ProbeRecord, Settings
from lcaudit.core.metrics import METRICS
from lcaudit.core.text import display_name

_NUMBER = re.compile(r"\d+")
#: A longer number is a digest or a date, no step.
_LONGEST_STEP = 12


def step_of(name: str) -> int | None:
    """The last number in a file's name without its suffix: ``epoch_003.pt`` → 3."""
    stem = name.rpartition(".")[0] or name
    found = [digits for digits in _NUMBER.findall(stem) if len(digits) <= _LONGEST_STEP]
    return int(found[-1]) if found else None


def settings_of(probe: ProbeRecord, asked: Settings) -> dict[str, str]:
    """How it is measured, as far as figures depend on it: with the choice of samples, which one timeline shares."""
    parts = fingerprint_of(probe, asked)
    return {**parts, "seed": str(asked.seed), "indices": digest({"": probe.indices}), "layers": " ".join(asked.layers)}


def key_of(sha256: str, settings: dict[str, str]) -> str:
    """Of these weights measured in this way."""
    return f"{sha256[:16]}-{digest(settings)}"


def point(measured: Measurements, settings: dict[str, str]) -> Point:
    """One line of the history. ``settings``: as :func:`settings_of` gave them before measuring."""
    checkpoint, probe = measured.checkpoint, measured.probe
    return Point(
        key=key_of(checkpoint.sha256, settings),
        measurement=digest(settings),
        name=checkpoint.name,
        sha256=checkpoint.sha256,
        step=step_of(checkpoint.name),
        title=measured.network.title,
        data=f"{probe.dataset}/{probe.split}",
        samples=probe.samples,
        settings=settings,
        entries=entries_of(measured, METRICS),
    )


def written(one: Point) -> str:
    """The line, with its end."""
    return json.dumps(serial.plain(one), ensure_ascii=True, allow_nan=False) + "\n"


def read_history(text: str) -> tuple[tuple[Point, ...], int]:
    """Points in order, and how many characters hold them.

    A last line without its end was being written when the run was stopped: it is left out, and so is nothing else.

    Raises:
        MalformedInput: a line that is no point.
    """
    whole = text[: text.rfind("\n") + 1]
    points = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            points.append(serial.load(Point, serial.parse_json(line)))
        except MalformedInput as error:
            raise MalformedInput(
                f"line {number} of the history: {display_name(error.message.replace('report', 'it', 1), 300)}",
                "give a history that `lcaudit track` wrote, or another folder with -o",
            ) from None
    return tuple(points), len(whole)


def latest(points: Sequence[Point], measurement: str) -> tuple[Point, ...]:
    """Those measured alike, by step; of several with one name the last one, whose file replaced the others'."""
    mine = {one.name: one for one in points if one.measurement == measurement}
    return tuple(sorted(mine.values(), key=lambda one: (one.step is None, one.step or 0, one.name)))
