"""Text that came from a file, made safe to show.

Every string that a checkpoint, a configuration or a data file brought passes :func:`display_name`
before it reaches a terminal, a log or a report; each sink then adds its own escaping on top.
"""

from __future__ import annotations

import unicodedata

#: Categories that can move a cursor, hide text, reorder it or break a line: control, format
#: (bidirectional overrides, zero-width joiners), surrogate, private use, unassigned, line and
#: paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display_name(text: object, limit: int = 200) -> str:
    """Return ``text`` with every invisible or control character spelled out as an escape.

    Args:
        text: anything; ``str()`` of it is shown.
        limit: longest result; a longer text keeps both its ends.

    Returns:
        One line of printable characters. Printable text, non-Latin scripts included, is unchanged.
    """
    raw = str(text)
    if len(raw) > limit:
        half = (limit - 1) // 2
        raw = f"{raw[:half]}…{raw[-half:]}"
    return "".join(_visible(character) for character in raw)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return " " if unicodedata.category(character) == "Zs" else character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def one_line(names: list[str] | tuple[str, ...], most: int = 6) -> str:
    """Join names for a message, naming at most ``most`` and counting the rest."""
    shown = ", ".join(display_name(name, 80) for name in names[:most])
    rest = len(names) - most
    return f"{shown} and {rest} more" if rest > 0 else shown


def count(number: int, noun: str, plural: str = "") -> str:
    """``count(1, 'layer')`` → ``'1 layer'``, ``count(2, 'layer')`` → ``'2 layers'``; digits are grouped from 10 000."""
    shown = f"{number:,}".replace(",", " ") if abs(number) >= 10_000 else str(number)
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"
