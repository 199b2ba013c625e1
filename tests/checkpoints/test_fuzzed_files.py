"""Damaged copies of good files: a checkpoint or an ``AuditError``, never anything else."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus_parts import SENTINEL, archive, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AuditError
from lcaudit.core.types import Checkpoint

_STATE = {"conv.weight": torch.arange(12.0).view(3, 4).t(), "bn.bias": torch.ones(2), "bn.count": torch.tensor(3)}
_TREE = {"state_dict": _STATE, "epoch": 3, "best_acc": 91.5, "losses": [1.0, 2.0], "optimizer": {"state": {0: {}}}}
_GOOD = {
    "safetensors": save({key: tensor.contiguous() for key, tensor in _STATE.items()}, {"best_acc": "91.5"}),
    "torch-zip": saved(_TREE),
    "torch-legacy": saved(_TREE, _use_new_zipfile_serialization=False),
}
_PICKLE = zipfile.ZipFile(io.BytesIO(_GOOD["torch-zip"])).read("archive/data.pkl")
_MEMBERS = {
    name.removeprefix("archive/"): data
    for name in zipfile.ZipFile(io.BytesIO(_GOOD["torch-zip"])).namelist()
    if name.startswith("archive/data/")
    for data in [zipfile.ZipFile(io.BytesIO(_GOOD["torch-zip"])).read(name)]
}

_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat", "cut", "word"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b"\x85", b"(", b"t", b"R", b"cos\nsystem\n", b"Q", b"b", b"}"]),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=4,
)
_WORDS = [0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
_RARELY = settings(
    derandomize=True, deadline=None, database=None, max_examples=250, suppress_health_check=list(HealthCheck)
)


def _edited(data: bytes, edits: list[tuple[str, float, bytes, int]]) -> bytes:
    edited = bytearray(data)
    for kind, share, new, length in edits:
        at = int(share * len(edited))
        match kind:
            case "set":
                edited[at : at + len(new)] = new
            case "insert":
                edited[at:at] = new
            case "delete":
                del edited[at : at + length]
            case "repeat":
                edited[at:at] = edited[at : at + length]
            case "cut":
                del edited[at:]
            case "word":
                edited[at : at + 8] = struct.pack("<Q", _WORDS[length % len(_WORDS)])
    return bytes(edited)


def _opens_or_refuses(data: bytes) -> Checkpoint | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(data)
        try:
            opened = open_checkpoint(path)
        except AuditError as error:
            assert error.message.isprintable() and error.hint and "weights_only" not in error.message
            return None
        assert list(opened.tensors) == sorted(opened.tensors)
        assert sum(tensor.nbytes for tensor in opened.tensors.values()) <= 4 * len(data) + 64
        assert not (Path(folder) / SENTINEL).exists()
        return opened


@pytest.mark.parametrize("container", _GOOD)
def test_the_unharmed_file_opens(container: str) -> None:
    opened = _opens_or_refuses(_GOOD[container])
    assert opened is not None and opened.record.container == container


@pytest.mark.parametrize("container", _GOOD)
def test_damaged_files(container: str) -> None:
    _run(lambda edits: _edited(_GOOD[container], edits))


def test_damaged_headers() -> None:
    good = _GOOD["safetensors"]
    length = int.from_bytes(good[:8], "little")

    def build(edits: list[tuple[str, float, bytes, int]]) -> bytes:
        header = _edited(good[8 : 8 + length], edits)
        return struct.pack("<Q", len(header)) + header + good[8 + length :]

    _run(build)


def test_damaged_pickles_in_sound_archives() -> None:
    """Checksums would stop most damage; here they are right and the pickle itself is damaged."""
    _run(lambda edits: archive(_edited(_PICKLE, edits), _MEMBERS))


def test_damaged_archives_with_right_checksums() -> None:
    good = _GOOD["torch-zip"]
    directory = good.index(b"PK\x01\x02")

    def build(edits: list[tuple[str, float, bytes, int]]) -> bytes:
        data = bytearray(good[:directory] + _edited(good[directory:], edits))
        start = data.find(b"PK\x01\x02")
        if start >= 0:
            data[start + 16 : start + 20] = struct.pack("<L", zlib.crc32(_PICKLE))
        return bytes(data)

    _run(build)


def _run(build: Callable[[list[tuple[str, float, bytes, int]]], bytes]) -> None:
    @_RARELY
    @given(_EDITS)
    def check(edits: list[tuple[str, float, bytes, int]]) -> None:
        _opens_or_refuses(build(edits))

    check()
