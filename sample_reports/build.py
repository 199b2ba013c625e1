"""Rebuild the sample reports from the measurements committed beside them: ``make samples``.

No network and no data are needed: each folder holds ``spectra.json``, the measurements of one audit;
rules, fixes and formats are applied to them anew. ``--check`` writes nothing and exits 1 if a committed
report differs. To replace a folder's measurements, audit again and pass the run:

    lcaudit check … -o /tmp/run && python sample_reports/build.py --take NAME /tmp/run/report.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from lcaudit import reports, rules
from lcaudit.audit import judge
from lcaudit.core import serial
from lcaudit.core.files import write_whole
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Run

HERE = Path(__file__).resolve().parent
#: The clock of every sample: reports of the same measurements are the same bytes.
RUN = Run("2026-01-01T00:00:00+00:00", {})


def folders() -> list[Path]:
    """Every sample, by name."""
    return sorted(path.parent for path in HERE.glob("*/spectra.json"))


def render(folder: Path) -> dict[Path, str]:
    """What each file of a sample should hold."""
    text = (folder / "spectra.json").read_text(encoding="utf-8")
    measured = serial.load(Measurements, serial.parse_json(text))
    report = judge(measured, rules.select((), ()), run=RUN)
    made = {"report.html": "html", "report.json": "json", "report.txt": "text"}
    return {folder / name: reports.render(report, form) for name, form in made.items()}


def take(folder: Path, run: Path) -> None:
    """Adopt the measurements of a finished audit."""
    report = reports.read(run.read_text(encoding="utf-8"))
    write_whole(folder / "spectra.json", serial.dumps(report.measurements))


def main(arguments: list[str]) -> int:
    """0, or 1 where ``--check`` found a difference."""
    if arguments[:1] == ["--take"]:
        take(HERE / arguments[1], Path(arguments[2]))
    stale = []
    for folder in folders():
        for path, wanted in render(folder).items():
            if path.exists() and path.read_text(encoding="utf-8") == wanted:
                continue
            stale.append(path.relative_to(HERE))
            if arguments[:1] != ["--check"]:
                write_whole(path, wanted)
    if arguments[:1] == ["--check"] and stale:
        print("stale, run `make samples`:", *stale, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
