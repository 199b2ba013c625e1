"""A single safetensors file: https://github.com/huggingface/safetensors#format."""

from __future__ import annotations

from lcaudit.checkpoints._container import Container, Contents
from lcaudit.checkpoints._files import OpenedFile
from lcaudit.checkpoints._safetensors import read, sniff


def _read(opened: OpenedFile) -> Contents:
    tensors, texts = read(opened)
    return Contents(tensors, (opened.record,), texts)


CONTAINER = Container("safetensors", sniff, _read)
