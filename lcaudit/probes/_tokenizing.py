"""Run as a process of its own: a tokenizer's file and texts in, token ids out.

A ``tokenizer.json`` of a stranger's holds regular expressions that can run for years, replacements that can fill any
memory, and whatever makes the library's own parser give up the whole process. So it is never opened in the process
that audits: this file runs alone, under limits that it sets for itself before it reads, and its parent waits for so
long and no longer. It uses nothing but the standard library and ``tokenizers``.

In: a line of JSON (``Request``), the tokenizer's bytes, a JSON list of texts. Out: a line of JSON, then for all texts
together the ids as uint32 and one byte for each, 1 where the tokenizer put in a special token.
"""

from __future__ import annotations

import contextlib
import json
import sys
from array import array
from collections.abc import Iterator
from typing import Any

#: Texts that are held as the library's own objects at once.
_STEP = 64


def limit(memory: int, seconds: int) -> None:
    """No more memory than this many bytes, no more work than this many seconds; where the system knows such limits."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is left
        return
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, (most, most))


def encoded(tokenizer: Any, texts: list[str], longest: int, most: int) -> Iterator[tuple[Any, bool]]:
    """(encoding, whether it was cut) of each text; ``longest`` 0: all of it, without special tokens.

    Raises:
        ValueError: more than ``most`` tokens in all.
    """
    total = 0
    for start in range(0, len(texts), _STEP):
        for one in tokenizer.encode_batch(texts[start : start + _STEP], add_special_tokens=longest > 0):
            total += len(one.ids)
            if total > most:
                raise ValueError(f"more than {most} tokens")
            yield one, bool(one.overflowing)


def wrapping(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Special tokens that it puts before and after a text."""
    one = tokenizer.encode("a", add_special_tokens=True)
    special = list(one.special_tokens_mask)
    before = next((place for place, flag in enumerate(special) if not flag), len(special))
    after = next((place for place, flag in enumerate(reversed(special)) if not flag), 0)
    return list(one.ids[:before]), list(one.ids[len(one.ids) - after :])


def main() -> int:
    """Answer one request on standard input."""
    memory, seconds, packages = sys.argv[1:4]
    limit(int(memory), int(seconds))
    sys.path.append(packages)  # where the parent has the library from
    asked = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(asked["tokenizer"])
    texts = json.loads(sys.stdin.buffer.read())
    answer: dict[str, Any] = {}
    ids, special = array("I"), bytearray()
    assert ids.itemsize == 4
    try:
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_buffer(content)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        before, after = wrapping(tokenizer)
        longest = asked["longest"]
        if longest:
            tokenizer.enable_truncation(max_length=longest)
        counts, cut = [], 0
        for one, overflowing in encoded(tokenizer, texts, longest, asked["most"]):
            counts.append(len(one.ids))
            ids.extend(one.ids)
            special += bytes(one.special_tokens_mask)
            cut += overflowing
        names = tokenizer.get_added_tokens_decoder()
        answer = {
            "counts": counts,
            "cut": cut,
            "before": before,
            "after": after,
            "special": sorted(index for index, token in names.items() if token.special),
            "size": tokenizer.get_vocab_size(),
        }
    except BaseException as error:  # the library's panics are no Exceptions
        answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        ids, special = array("I"), bytearray()
    out = sys.stdout.buffer
    out.write(json.dumps(answer).encode() + b"\n")
    if "error" not in answer:
        ids.tofile(out)
        out.write(special)
    out.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
