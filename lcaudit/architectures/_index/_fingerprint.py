"""A hash of names and shapes that can be changed one key at a time.

A sum of hashes, so that a head left out or a stem with other channels costs one addition. Nothing rests on
nobody being able to forge it: a network found by it still has to load every tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

BODY_BITS, NAME_BITS = 64, 32


def of_tensor(key: str, shape: Iterable[int]) -> int:
    """64 bits of one name and shape."""
    return _hash(f"{key} {'×'.join(map(str, shape))}")


def of_shapes(shapes: Mapping[str, Iterable[int]]) -> int:
    """64 bits of all names and shapes, in any order."""
    return total(of_tensor(key, shape) for key, shape in shapes.items())


def of_names(shapes: Mapping[str, tuple[int, ...]], without: Iterable[str] = ()) -> int:
    """32 bits of all names and ranks, in any order."""
    skipped = set(without)
    ranks = (_hash(f"{key} {len(shape)}") for key, shape in shapes.items() if key not in skipped)
    return total(ranks) >> (BODY_BITS - NAME_BITS)


def total(hashes: Iterable[int]) -> int:
    """The sum in 64 bits."""
    return sum(hashes) % 2**BODY_BITS


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
