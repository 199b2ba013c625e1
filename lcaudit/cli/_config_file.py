"""Configuration files: which one is found, and what it says, unchecked but for its form."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from lcaudit.core.errors import LimitExceeded, MalformedInput, UsageError
from lcaudit.core.files import read_regular
from lcaudit.core.outcomes import Suppression
from lcaudit.core.text import display_name

NAME, SHARED = "lcaudit.toml", "pyproject.toml"
#: Keys that are no option: they hold tables.
IGNORES, SUPPRESS = "per-layer-ignores", "suppress"
_MOST_BYTES = 2**20
_FIELDS = ("rule", "layer", "reason", "until")
_EXAMPLE = 'write [[suppress]] with rule = "LC301", layer = "head", reason = "frozen", until = 2027-03-01'


def discover(start: Path) -> Path | None:
    """The nearest ``lcaudit.toml``, or ``pyproject.toml`` with ``[tool.lcaudit]``, from ``start`` upward.

    The search ends at the root of the repository, else at the home folder. Outside both only ``start`` itself
    is looked into: a file above it, say in a shared ``/tmp``, is nobody's in particular.
    """
    for folder in _folders(start):
        if (folder / NAME).is_file():
            return folder / NAME
        if (folder / SHARED).is_file() and _table(folder / SHARED) is not None:
            return folder / SHARED
    return None


def _folders(start: Path) -> Iterator[Path]:
    start = start.absolute()
    chain = [start, *start.parents]
    roots = [folder for folder in chain if (folder / ".git").exists()]
    home = Path.home()
    last = roots[0] if roots else home if home in chain else start
    yield from chain[: chain.index(last) + 1]


def read(path: Path) -> dict[str, Any]:
    """The settings in ``path``, as TOML has them.

    Raises:
        UsageError: it cannot be read, is no TOML, or is a ``pyproject.toml`` without ``[tool.lcaudit]``.
    """
    table = _table(path)
    if table is None:
        raise UsageError(f"{display_name(path)}: there is no [tool.lcaudit] table", "add one, or name another file")
    return table


def _table(path: Path) -> dict[str, Any] | None:
    shown = display_name(path)
    data: Any
    try:
        data = tomllib.loads(read_regular(path, _MOST_BYTES).decode("utf-8"))
    except (MalformedInput, LimitExceeded) as error:
        raise UsageError(error.message, "name a TOML file, or pass --no-config") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{shown}: not valid TOML: {display_name(said)}", "mend it, or pass --no-config") from None
    if path.name == SHARED:
        tool = data.get("tool")
        data = tool.get("lcaudit") if isinstance(tool, dict) else None
        if data is not None and not isinstance(data, dict):
            raise UsageError(f"{shown}: tool.lcaudit is no table", "write [tool.lcaudit] and the settings below it")
    return data


def unknown(word: str, known: Iterable[str]) -> str:
    """What to do about a key that is not known: the nearest ones, or all."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"


def suppressions(table: dict[str, Any], file: str) -> tuple[Suppression, ...]:
    """What ``[per-layer-ignores]`` and ``[[suppress]]`` ask for.

    Args:
        file: how the file is called in reports.

    Raises:
        UsageError: an entry has a key that is not known, lacks one, or holds something else than text.
    """
    found = [*_ignores(table.get(IGNORES, {}), file)]
    entries = table.get(SUPPRESS, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{file}: suppress is no list of tables", _EXAMPLE)
    for number, entry in enumerate(entries, start=1):
        found.append(_suppression(entry, f"{file}, suppress {number}"))
    return tuple(found)


def _ignores(table: Any, file: str) -> Iterator[Suppression]:
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {IGNORES} is no table", f'write [{IGNORES}] with "head*" = ["LC301"]')
    for pattern, codes in table.items():
        several = codes if isinstance(codes, list) else [codes]
        if not several or not all(isinstance(code, str) for code in several):
            shown = f"{IGNORES}, {display_name(pattern, 80)}"
            raise UsageError(f"{file}: {shown}: expected codes of rules", f'write "{pattern}" = ["LC301"]')
        for code in several:
            yield Suppression(code, pattern, "ignored for this layer", source=f"{file}, {IGNORES}")


def _suppression(entry: dict[str, Any], where: str) -> Suppression:
    for key in entry:
        if key not in _FIELDS:
            raise UsageError(f"{where}: no key {display_name(key, 40)}", unknown(key, _FIELDS))
    until = entry.get("until", "")
    if isinstance(until, date) and not isinstance(until, datetime):
        until = until.isoformat()
    for key, value in {**entry, "until": until}.items():
        if not isinstance(value, str):
            wanted = "a date" if key == "until" else "text"
            raise UsageError(f"{where}: {key} is {type(value).__name__}, expected {wanted}", _EXAMPLE)
    for key in ("rule", "reason"):
        if not entry.get(key, "").strip():
            raise UsageError(f"{where}: {key} is missing", _EXAMPLE)
    return Suppression(entry["rule"], entry.get("layer", ""), entry["reason"], until, where)
