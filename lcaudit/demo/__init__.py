"""A small trained network that ships with lcaudit, so that one command shows a whole audit."""

from __future__ import annotations

from pathlib import Path

#: ResNet-20 of width 16 on the shipped digits, written by ``python -m lcaudit.demo.train``.
WEIGHTS = Path(__file__).with_name("digits_resnet.safetensors")
