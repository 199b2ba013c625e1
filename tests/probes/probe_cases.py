"""Networks and files that the probe tests share."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch

from lcaudit.core.measurements import NetworkRecord, Normalisation
from lcaudit.core.types import Network, Probe
from lcaudit.probes import open_probe


def network(
    shape: tuple[int, ...] = (3, 32, 32), classes: int = 10, normalisation: dict[str, Normalisation] | None = None
) -> Network:
    record = NetworkRecord("tiny", "tiny", {}, "identified", (), (), 1, shape, classes, "float32")
    return Network(record, torch.nn.Identity(), normalisation or {})


def opened(data: Path | str, net: Network | None = None, **options) -> Probe:
    defaults = {"root": None, "split": None, "samples": None, "seed": 0, "mean": None, "std": None}
    return open_probe(str(data), net or network(), **{**defaults, **options})


def images(count: int = 12, shape: tuple[int, ...] = (32, 32, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int = 12, classes: int = 10) -> np.ndarray:
    return np.arange(count, dtype=np.int64) % classes


def save_npz(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def npy_bytes(header: str, body: bytes = b"") -> bytes:
    """An ``.npy`` file (format 1.0) with any header at all."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def safetensors_bytes(header: dict | str, body: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + body


def python2_batch(pixels: np.ndarray, numbers: list[int]) -> bytes:
    """A CIFAR-10 batch as Python 2 and its NumPy wrote it: protocol 2, byte strings, numpy.core."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    shape = b"".join(b"M" + struct.pack("<H", side) for side in pixels.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
    dtype += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    raw = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    listed = b"]q\x05(" + b"".join(b"K" + bytes([number]) for number in numbers) + b"e"
    entries = text(b"batch_label") + text(b"testing batch 1 of 1") + text(b"labels") + listed + text(b"data") + array
    return b"\x80\x02}q\x01(" + entries + b"u."
