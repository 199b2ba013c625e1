"""A small CIFAR network and a table of images, as they lie on the Hub; both made here."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import save

from lcaudit.core import plugins

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def state() -> dict[str, torch.Tensor]:
    """A CIFAR ResNet-8 of width 4, random weights, as its public code base names them."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        family = plugins.load("lcaudit.architectures", "resnet_cifar", "FAMILY")
        shapes = {
            "conv1.weight": (4, 3, 3, 3),
            **_norm("bn1", 4),
            **{
                key: shape
                for stage, (inputs, width) in enumerate(((4, 4), (4, 8), (8, 16)), 1)
                for key, shape in {
                    f"layer{stage}.0.conv1.weight": (width, inputs, 3, 3),
                    **_norm(f"layer{stage}.0.bn1", width),
                    f"layer{stage}.0.conv2.weight": (width, width, 3, 3),
                    **_norm(f"layer{stage}.0.bn2", width),
                }.items()
            },
            "linear.weight": (10, 16),
            "linear.bias": (10,),
        }
        assert family.match(shapes) is not None
        return {key: _values(key, shape) for key, shape in shapes.items()}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def _values(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith(("running_var", "bn1.weight", "bn2.weight")):
        return torch.rand(shape) + 0.5
    return torch.randn(shape) * 0.2


@cache
def safetensors() -> bytes:
    """The network in one file."""
    return save(state())


@cache
def pickled() -> bytes:
    """The network as torch.save writes it."""
    stream = io.BytesIO()
    torch.save(state(), stream)
    return stream.getvalue()


@cache
def sharded(parts: int = 3) -> dict[str, bytes]:
    """The network in several files with their index."""
    keys = list(state())
    names = [f"model-{part + 1:05}-of-{parts:05}.safetensors" for part in range(parts)]
    held = {name: {key: state()[key] for key in keys[part::parts]} for part, name in enumerate(names)}
    places = {key: name for name, tensors in held.items() for key in tensors}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    return {"model.safetensors.index.json": json.dumps(index).encode()} | {
        name: save(tensors) for name, tensors in held.items()
    }


def png(pixels: np.ndarray) -> bytes:
    """One image as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@cache
def pictures(number: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 32, 32, 3], int64 [n]."""
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8), np.arange(number, dtype=np.int64) % 10


def features(image: str = "img", label: str = "label", names: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """What the Hub's libraries record about the columns."""
    return {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}


def table(columns: dict[str, Any], described: dict[str, Any] | None = None, **options: Any) -> bytes:
    """A Parquet file of these columns."""
    made = pyarrow.table(columns)
    if described is not None:
        text = json.dumps({"info": {"features": described}})
        made = made.replace_schema_metadata({"huggingface": text})
    stream = io.BytesIO()
    pyarrow.parquet.write_table(made, stream, **options)
    return stream.getvalue()


@cache
def parquet(start: int = 0, stop: int = 40) -> bytes:
    """Some of :func:`pictures` with their labels, as the Hub converts them."""
    images, labels = pictures()
    cells = [{"bytes": png(image), "path": None} for image in images[start:stop]]
    return table({"img": cells, "label": labels[start:stop]}, features(), row_group_size=16)
