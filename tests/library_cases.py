"""Names and shapes of published networks, written out by hand, and files of them without numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def vit(
    depth: int, width: int, hidden: int, patch: int, size: int = 224, classes: int = 1000, channels: int = 3
) -> Shapes:
    """A vision transformer as timm writes it; ``classes`` 0 leaves the head out."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, (size // patch) ** 2 + 1, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        linear |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
        for name, shape in linear.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return shapes | ({"head.weight": (classes, width), "head.bias": (classes,)} if classes else {})


def gigantic(**more: int) -> Shapes:
    """timm's vit_gigantic_patch14_224."""
    return vit(48, 1664, 8192, 14, **more)


def alexnet(classes: int = 1000) -> Shapes:
    """torchvision's alexnet."""
    convolutions = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    linear = {1: (4096, 9216), 4: (4096, 4096), 6: (classes, 4096)}
    weights = {f"features.{n}": shape for n, shape in convolutions.items()}
    weights |= {f"classifier.{n}": shape for n, shape in linear.items()}
    return {
        f"{name}.{kind}": shape[: 4 if kind == "weight" else 1]
        for name, shape in weights.items()
        for kind in ("weight", "bias")
    }


def sparse(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F64", width: int = 8) -> Path:
    """A safetensors file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for key, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * width
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return path
