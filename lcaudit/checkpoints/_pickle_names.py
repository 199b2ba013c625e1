"""Which globals pickles of any protocol name: for messages only, never for deciding that one is safe."""

from __future__ import annotations

import io
import pickletools

_MOST_OPCODES = 1_000_000


def named_globals(data: bytes) -> list[str]:
    """Dotted names of the globals in the pickles that ``data`` begins with, sorted; damage ends the walk."""
    names: set[str] = set()
    stream = io.BytesIO(data)
    left = _MOST_OPCODES
    try:
        while left > 0 and stream.tell() < len(data):
            left = _walk(stream, names, left)
    except Exception:  # whatever was found before the damage is still worth naming
        return sorted(names)
    return sorted(names)


def _walk(stream: io.BytesIO, names: set[str], left: int) -> int:
    """Add the names of one pickle; returns how many opcodes are left to look at."""
    strings = ["", ""]
    memo: dict[int, str] = {}
    last = ""  # what the previous opcode pushed, if a string
    for opcode, argument, _ in pickletools.genops(stream):
        left -= 1
        if left == 0:
            break
        if opcode.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(strings))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = last
            continue
        last = memo.get(int(argument or 0), "") if opcode.name.endswith("GET") else argument
        last = last if isinstance(last, str) else ""
        if last:
            strings = [strings[1], last]
    return left
