"""Hostile and broken safetensors files."""

from __future__ import annotations

import json

from corpus_parts import Case, entry, safetensors, written

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput

_ONE = {"a": entry([1], 0, 4)}
_TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
_F = b"\0\0\x80\x3f"


def _case(name: str, data: bytes, says: str, error: type[AuditError] = MalformedInput) -> Case:
    return Case(f"safetensors: {name}", written("model.safetensors", data), error, says)


def _raw(name: str, raw: bytes, says: str, error: type[AuditError] = MalformedInput, data: bytes = _F) -> Case:
    return _case(name, safetensors(None, data, raw=raw), says, error)


def _header(name: str, header: object, says: str, data: bytes = _F, error: type[AuditError] = MalformedInput) -> Case:
    return _case(name, safetensors(header, data), says, error)


CASES = (
    _case("seven bytes", b"\x40\0\0\0\0\0\0", "not a checkpoint"),
    _case("only a length", b"\x40\0\0\0\0\0\0\0", "truncated"),
    _case("length zero", safetensors(None, b"{}", length=0, raw=b""), "must begin with {"),
    _case("length beyond the file", safetensors(_ONE, _F, length=16_777_224), "header promises 16,777,224 bytes"),
    _case("length of all ones", b"\xff" * 8 + b"{}", "not a checkpoint"),
    _case("header over the cap", safetensors(None, raw=b"{" + b" " * 16_000_001 + b"}"), "header of", LimitExceeded),
    _raw("not JSON", b'{"a":}', "not JSON"),
    _raw("array", b"[1,2,3]  ", "must begin with {"),
    _raw("leading blank", b" " + json.dumps(_ONE).encode(), "must begin with {"),
    _raw("byte order mark", b"\xef\xbb\xbf" + json.dumps(_ONE).encode(), "must begin with {"),
    _raw("not UTF-8", json.dumps(_ONE).encode().replace(b'"a"', b'"\xff"'), "not UTF-8"),
    _raw("surrogate name", json.dumps(_ONE).encode().replace(b'"a"', b'"\\ud800"'), "not valid Unicode"),
    _raw("padding of zeros", json.dumps(_ONE).encode() + b"\0\0", "end with }"),
    _raw("nested too deeply", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    _raw("duplicate tensor", _TWICE, "'a' appears twice"),
    _raw("duplicate metadata", b'{"__metadata__":{"k":"1","k":"2"}}', "'k' appears twice", data=b""),
    _raw("NaN in a shape", b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', "sizes"),
    _header("overlap", {"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, "overlaps", b"\0" * 6),
    _header("hole", {"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, "hole", b"\0" * 12),
    _header("does not start at zero", {"a": entry([1], 4, 8)}, "hole", b"\0" * 8),
    _header("reversed offsets", {"a": entry([1], 4, 0)}, "data_offsets give -4"),
    _header("bytes after the end", _ONE, "after the last tensor", _F + b"PK\x05\x06" + b"\0" * 18),
    _header("truncated data", {"a": entry([4], 0, 16)}, "truncated: tensors need 16 bytes"),
    _header("negative size", {"a": entry([-1], 0, 4)}, "sizes from 0"),
    _header("fractional size", {"a": entry([1.0], 0, 4)}, "sizes from 0"),
    _header("boolean size", {"a": entry([True], 0, 4)}, "sizes from 0"),
    _header("size of 64 bits", {"a": entry([0, 2**64 - 1], 0, 0)}, "sizes from 0", b""),
    _header("product overflows", {"a": entry([2**62, 2**62], 0, 4)}, "of this shape needs"),
    _header("rank 65", {"a": entry([1] * 65, 0, 4)}, "65 dimensions", error=LimitExceeded),
    _header("unknown dtype", {"a": entry([1], 0, 4, dtype="F33")}, "unknown dtype F33"),
    _header("dtype is a list", {"a": entry([1], 0, 4, dtype=["F32"])}, "unknown dtype"),  # type: ignore[arg-type]
    _header("odd count of four bits", {"a": entry([3], 0, 1, dtype="F4")}, "needs 1.5 bytes", b"\0"),
    _header("packed dtype", {"a": entry([2], 0, 1, dtype="F4")}, "is packed", b"\0"),
    _header("complex", {"a": entry([1], 0, 8, dtype="C64")}, "is complex", b"\0" * 8),
    _header("unknown field", {"a": entry([1], 0, 4, note="x")}, "exactly the fields"),
    _header("missing field", {"a": {"dtype": "F32", "shape": [1]}}, "exactly the fields"),
    _header("three offsets", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, "two offsets"),
    _header("metadata not text", {"__metadata__": {"k": 1}}, "strings to strings", b""),
    _header("no tensors", {}, "holds no tensors", b""),
    _header("too many tensors", {f"{i}": 0 for i in range(200_001)}, "200,001 tensors", b"", LimitExceeded),
    _header("name of a megabyte", {"a" * 10**6: entry([1], 0, 4)}, "tensor name", error=LimitExceeded),
)
