"""VGG networks: one ``features`` chain of 3×3 convolutions, one ``classifier``.

The numbers of a chain's slots tell what lies between its convolutions: after a convolution, and its
batch norm if there is one, a gap of one slot is a ReLU and a gap of two a ReLU and a 2×2 max pooling.
The classifier's inputs tell the image's side. kuangliu/pytorch-cifar and bearpaw/pytorch-classification
have one linear layer, chenyaofo/pytorch-cifar-models three; torchvision's own networks have the same
form with 224×224 images, whose adaptive pooling leaves 7×7 as it is.

Source: Simonyan and Zisserman 2015, table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lcaudit.architectures._reading import RIVAL, Expected, Reader, Shapes, Unlike, fit, indices, of_imagenet, side
from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.types import Family, Match

if TYPE_CHECKING:  # what is no VGG is told without torch
    import torch

#: Configurations A, B, D and E of the paper, by name: convolutions before each pooling.
_PUBLISHED = {"1-1-2-2-2": "VGG-11", "2-2-2-2-2": "VGG-13", "2-2-3-3-3": "VGG-16", "2-2-4-4-4": "VGG-19"}
#: Sides of the images that public code trains these networks on.
_SIDES = (32, 224)


@dataclass(frozen=True, slots=True)
class _Chain:
    """The features: a letter per slot (C convolution, B batch norm, R ReLU, M max pooling) and the widths."""

    slots: str
    channels: tuple[int, ...]
    bias: bool


def _read(shapes: Shapes) -> Match:
    close = sum(key.startswith(("features.", "classifier.")) for key in shapes)
    if not close:
        raise Unlike("it has no tensors named features.N and classifier")
    try:
        return _read_chain(shapes)
    except Unlike as reason:
        raise Unlike(reason.reason, max(close // 2, reason.close)) from None


def _read_chain(shapes: Shapes) -> Match:
    chain = _features(shapes)
    classifier, linear = _classifier(shapes)
    chain, image = _last_pooling(chain, linear[0])
    variant: dict[str, str | int | bool] = {
        "features": chain.slots,
        "channels": "-".join(map(str, chain.channels)),
        "bias": chain.bias,
        "classifier": classifier,
        "linear": "-".join(map(str, linear)),
    }
    fit(_expected(chain, classifier, linear), shapes)
    stages = "-".join(str(stage.count("C")) for stage in chain.slots.rstrip("RM").split("M"))
    name = _PUBLISHED.get(stages, "")
    norm = "with" if "B" in chain.slots else "without"
    rival = Evidence(RIVAL, "not one of the paper's configurations, so the kind and place of pooling are conventions")
    return Match(
        variant=variant,
        title=f"{name or 'VGG-style network'} ({image}×{image} images, {norm} batch norm)",
        input_shape=(chain.channels[0], image, image),
        classes=linear[-1],
        evidence=(
            Evidence(
                "slots", f"{chain.slots.count('C')} convolutions, {chain.slots.count('M')} poolings read off gaps"
            ),
            *(() if name else (rival,)),
        ),
        assumptions=(
            "3×3 convolutions have stride 1 and one zero of padding on every side",
            "pooling takes the maximum of 2×2 pixels; the last one follows from the classifier's inputs",
            "a single unnamed slot after a convolution, batch norm or linear layer is a ReLU; a second one in the"
            " classifier is dropout",
        ),
        normalisation=(statistics := _normalisation(chain, image)),
        shaping=of_imagenet(statistics["imagenet"].source) if "imagenet" in statistics else None,
    )


def _expected(chain: _Chain, classifier: str, linear: tuple[int, ...]) -> Expected:
    """Names and shapes of the network that :func:`lcaudit.architectures._vgg.build` builds."""
    expected, place = Expected(), 0
    for slot, kind in enumerate(chain.slots):
        if kind == "C":
            expected.convolution(f"features.{slot}", *chain.channels[place : place + 2], 3, bias=chain.bias)
            place += 1
        elif kind == "B":
            expected.batch_norm(f"features.{slot}", chain.channels[place])
    paths = [f"classifier.{slot}" for slot, kind in enumerate(classifier) if kind == "L"] or ["classifier"]
    for path, widths in zip(paths, pairwise(linear), strict=True):
        expected.linear(path, *widths)
    return expected


def _features(shapes: Shapes) -> _Chain:
    slots, channels, biased = "", [], set()
    found = indices(shapes, "features.")
    for index in found:
        weight = shapes.get(f"features.{index}.weight", ())
        slots += _gap(slots, index - len(slots))
        if len(weight) == 4:
            if weight[2:] != (3, 3):
                raise Unlike(f"features.{index} has a {weight[2]}×{weight[3]} kernel, expected 3×3")
            slots += "C"
            channels += [weight[0]] if channels else [weight[1], weight[0]]
            biased.add(f"features.{index}.bias" in shapes)
        elif len(weight) == 1 and f"features.{index}.running_mean" in shapes and slots.endswith("C"):
            slots += "B"
        else:
            raise Unlike(f"features.{index} is neither a convolution nor a batch norm after one")
    if len(biased) != 1:
        raise Unlike("features holds no convolutions, or only some of them have a bias")
    return _Chain(slots, tuple(channels), biased == {True})


def _gap(before: str, gap: int) -> str:
    """What fills ``gap`` slots without tensors before the next one with tensors."""
    if gap > 2 or (gap and not before):
        raise Unlike(f"features leaves {gap} slots without tensors at {len(before)}, expected a ReLU and a pooling")
    return "RM"[:gap]


def _classifier(shapes: Shapes) -> tuple[str, tuple[int, ...]]:
    """The classifier's slots (L linear, R ReLU, D dropout; empty if it is one layer) and its widths."""
    if "classifier.weight" in shapes:
        return "", (side(shapes, "classifier.weight", 1, 2), side(shapes, "classifier.weight", 0, 2))
    found = indices(shapes, "classifier.")
    if not found or found[0] > 1:
        raise Unlike("classifier does not begin with a linear layer")
    slots, widths = "D" * found[0], [side(shapes, f"classifier.{found[0]}.weight", 1, 2)]
    for index in found:
        gap = index - len(slots)
        if widths[1:] and not 1 <= gap <= 2:
            raise Unlike(f"classifier leaves {gap} slots between linear layers, expected a ReLU and at most dropout")
        slots += "RD"[:gap] if widths[1:] else ""
        slots += "L"
        widths.append(side(shapes, f"classifier.{index}.weight", 0, 2))
    return slots, tuple(widths)


def _last_pooling(chain: _Chain, inputs: int) -> tuple[_Chain, int]:
    """End the chain with a ReLU, and with a pooling if only that gives a side that public code uses."""
    area, rest = divmod(inputs, chain.channels[-1])
    left = round(area**0.5)
    if rest or left * left != area:
        raise Unlike(f"the classifier reads {inputs} numbers, not a square map of {chain.channels[-1]} channels")
    ends = {
        ending: left * 2 ** (chain.slots + ending).count("M")
        for ending in ("R", "RM")
        if left * 2 ** (chain.slots + ending).count("M") in _SIDES
    }
    if len(ends) != 1:
        raise Unlike("the classifier's inputs fit neither 32×32 nor 224×224 images")
    ((ending, image),) = ends.items()
    return _Chain(chain.slots + ending, chain.channels, chain.bias), image


def _normalisation(chain: _Chain, image: int) -> dict[str, Normalisation]:
    if chain.channels[0] != 3:
        return {}
    if image == 32:
        source = "the CIFAR-10 statistics in common use, as in the training code of kuangliu/pytorch-cifar"
        return {"cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), source)}
    source = "ImageNet's statistics, as in torchvision"
    return {"imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), source)}


def _build(variant: Mapping[str, str | int | bool]) -> torch.nn.Module:
    from lcaudit.architectures._vgg import build

    return build(variant)


FAMILY = Family(title="VGG networks", match=Reader(_read), build=_build)
