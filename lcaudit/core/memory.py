"""Amounts of memory: read from the command line, shown to people, and what the machine has free."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lcaudit.core.errors import UsageError
from lcaudit.core.text import display_name

#: The default allowance is at most this share of what is free …
SHARE = 0.5
#: … and this much where nobody can tell what is.
UNKNOWN = 4 * 2**30
_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}
_UNITS |= {f"{letter}{tail}": 1024**power for power, letter in enumerate("kmgt", 1) for tail in ("", "ib")}


def parse(text: str) -> int:
    """``8GB``, ``500 MiB`` or ``1e9`` in bytes; ``K``, ``M``, ``G``, ``T`` by themselves count in 1024s.

    Raises:
        UsageError: no such amount.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d{1,2})?)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    amount = float(found[1]) * _UNITS.get(found[2].lower(), 0) if found else 0
    if not 1 <= amount < 2**63:
        raise UsageError(f"{display_name(text, 40)} is no amount of memory", "for example 8GB or 500MiB")
    return int(amount)


def words(amount: float) -> str:
    """Bytes to three digits: ``1.25 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1000 or unit == "GiB":
            return f"{amount:.0f} bytes" if unit == "bytes" else f"{amount:.3g} {unit}".replace("e+03", "e3")
        amount /= 1024
    raise AssertionError("the last unit returns")


def allowance(free: int | None) -> int:
    """The default: at most half of what is free, rounded down to a power of two.

    Rounded, so that a machine that is a little busier measures an unchanged network in the same way.
    """
    return UNKNOWN if free is None else 2 ** max(20, int(free * SHARE).bit_length() - 1)


def free() -> int | None:
    """Bytes that a new program could use without pushing others out; ``None`` where the system does not say."""
    found = [value for value in (_system(), _container()) if value is not None]
    return min(found) if found else None


def _system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:  # all there is, where what is free is not told
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _container() -> int | None:
    """What a control group's limit leaves; its file cache can be given up."""
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith("inactive_file "):
                used -= int(line.split()[1])
        return max(0, most - used)
    except (OSError, ValueError, IndexError):
        return None
