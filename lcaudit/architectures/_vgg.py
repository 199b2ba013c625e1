"""The VGG network that a variant stands for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import nn


class _VGG(nn.Module):
    def __init__(self, features: nn.Sequential, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def build(variant: Mapping[str, str | int | bool]) -> nn.Module:
    """Features and classifier, slot by slot."""
    channels = [int(number) for number in str(variant["channels"]).split("-")]
    linear = [int(number) for number in str(variant["linear"]).split("-")]
    features, place = [], 0
    for slot in str(variant["features"]):
        if slot == "C":
            features.append(nn.Conv2d(channels[place], channels[place + 1], 3, 1, 1, bias=bool(variant["bias"])))
            place += 1
        elif slot == "B":
            features.append(nn.BatchNorm2d(channels[place]))
        else:
            features.append(nn.ReLU() if slot == "R" else nn.MaxPool2d(2, 2))
    widths = itertools.pairwise(linear)
    if not variant["classifier"]:
        return _VGG(nn.Sequential(*features), nn.Linear(*next(widths)))
    kinds = {"L": lambda: nn.Linear(*next(widths)), "R": nn.ReLU, "D": nn.Dropout}
    classifier = nn.Sequential(*(kinds[slot]() for slot in str(variant["classifier"])))
    return _VGG(nn.Sequential(*features), classifier)
