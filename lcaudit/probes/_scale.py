"""Scaling of raw values to [0, 1], and the normalisation that follows, with its origin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.probes._contract import Pixels


@dataclass(frozen=True, slots=True)
class Scaling:
    """How raw values are scaled.

    ``divisor``: raw value that becomes 1. ``unit``: whether values then lie in [0, 1]. ``words``: said so.
    ``why_not``: why no normalisation follows unless the user asks for one; ``""`` where one may.
    """

    divisor: float
    unit: bool
    words: str
    why_not: str = ""


def scaling(pixels: Pixels, largest: float | None, rows: bool = False, image: bool = True) -> Scaling:
    """How raw values come to [0, 1].

    Args:
        pixels: the raw values' kind and range.
        largest: the raw value that means 1 in the recognised data set, or ``None``.
        rows: whether samples are sequences or signals, whose values are no pixels unless they are bytes.
        image: whether samples have channels, height and width.

    Raises:
        ProbeUnavailable: whole numbers that are no pixel values.
    """
    seen = f"{_number(pixels.low)} to {_number(pixels.high)}"
    counted = pixels.kind in "ui" or (pixels.whole and pixels.high > 1)
    if pixels.kind == "b":
        return Scaling(1.0, True, "true and false taken as 1 and 0")
    if counted and largest is not None and pixels.low >= 0 and pixels.high <= largest:
        return Scaling(largest, True, f"pixels ({seen}) divided by {largest:g}")
    if rows and not (pixels.kind == "u" and pixels.high <= 255):
        shown = " × ".join(map(str, pixels.shape))
        words = f"sequences {shown}, values ({seen}) as they are"
        if pixels.kind == "f" and pixels.whole and pixels.low >= 0 and 16 < pixels.high <= 255:
            words += "; if they are pixels 0 to 255 stored as floats, divide them by 255"
        return Scaling(1.0, pixels.low >= 0 and pixels.high <= 1, words, f"not applied: sequences {shown}, as they are")
    if counted and pixels.low >= 0 and pixels.high <= 255 and (pixels.kind != "f" or image or pixels.high > 16):
        words = f"pixels ({seen}) divided by 255"
        if pixels.kind == "f":
            words = f"looks like pixels 0 to 255 stored as floats ({seen}): divided by 255"
            if pixels.high <= 127:
                words += f"; if {_number(pixels.high)} is the largest value there can be, divide them by it instead"
        return Scaling(255.0, True, words)
    if pixels.kind in "ui":
        raise ProbeUnavailable(f"integer pixels from {seen}, expected 0 to 255", "save pixels as uint8 or as floats")
    if pixels.low >= 0 and pixels.high <= 1:
        return Scaling(1.0, True, f"floats in [0, 1] ({seen}) kept as they are")
    words = f"floats outside [0, 1] ({seen}) used as they are"
    if image and pixels.low >= 0 and 16 < pixels.high <= 256:
        words += "; if they are pixels 0 to 255, divide them by 255"
    return Scaling(
        1.0,
        False,
        words,
        "not applied: values outside [0, 1] are taken as normalised already",
    )


def normalisation(
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: int,
    scale: Scaling,
    dataset: str,
    recognised: str,
    family: Mapping[str, Normalisation],
    default: Normalisation | None,
    assumed: Normalisation | None = None,
    declared: Normalisation | None = None,
) -> Normalisation:
    """The normalisation to use: the user's, else the weights' own, else the family's for this data set, else the
    data set's own, else the only one that the family knows.

    Args:
        mean, std: from the command line; both or neither.
        channels: how many values a mean may have, beside one.
        scale: says where none is applied unless the user gives one.
        dataset: recognised name or ``""``; recognised: how it was recognised, in words.
        family: by data set name. default: of the data set, ``None`` where pictures are resized as the network's
            library does, since whoever resized them took its normalisation with it. assumed: see :func:`only_one`.
        declared: what a configuration beside the weights says.

    Raises:
        UsageError: one without the other, wrong number of values, a standard deviation that is not positive, or a
            mean beyond 1 for values that lie in [0, 1].
    """
    if (mean is None) != (std is None):
        raise UsageError("--mean and --std go together: one was given without the other", "pass both, or neither")
    if mean is not None and std is not None:
        chosen = Normalisation(tuple(mean), tuple(std), "given with --mean and --std")
    elif scale.why_not:
        return Normalisation((0.0,), (1.0,), scale.why_not)
    elif declared is not None:
        chosen = declared
    elif dataset in family:
        chosen = family[dataset]
        chosen = Normalisation(chosen.mean, chosen.std, f"{chosen.source}; {recognised}")
    elif default is not None:
        chosen = Normalisation(default.mean, default.std, f"{default.source}; {recognised}")
    elif assumed is not None:
        why = "resized as its library does it" if dataset else "the data set was not recognised"
        words = f"assumed: {assumed.source}; {why}; --mean and --std override it"
        chosen = Normalisation(assumed.mean, assumed.std, words)
    else:
        return Normalisation((0.0,), (1.0,), "none known; pass --mean and --std")
    for flag, values in (("--mean", chosen.mean), ("--std", chosen.std)):
        if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values):
            raise UsageError(
                f"{flag} has {len(values)} values ({', '.join(map(_number, values))}), "
                f"expected finite ones, 1 or as many as channels ({channels})",
                "pass --mean and --std with one value for each channel",
            )
    if mean is not None and scale.unit and max(chosen.mean) > 1:
        raise UsageError(
            f"--mean {_number(max(chosen.mean))}: expected numbers on the scale 0 to 1",
            "divide --mean and --std by 255",
        )
    if min(chosen.std) <= 0:
        raise UsageError(f"--std {min(chosen.std):g}: expected a positive number", "pass the standard deviation")
    return chosen


def only_one(
    family: Mapping[str, Normalisation], widths: Mapping[str, int], classes: int, wanted: tuple[int, ...], channels: int
) -> Normalisation | None:
    """The normalisation that a network's code base can only mean, whatever the samples are called, or ``None``.

    Args:
        family: by data set name. widths: number of classes of data sets. classes: of the network.
        wanted: shape of one input of the network. channels: of the samples.
    """
    if len(wanted) != 3 or wanted[0] != channels:
        return None
    found = {(one.mean, one.std): one for name, one in family.items() if widths.get(name) == classes}
    return next(iter(found.values())) if len(found) == 1 else None


def _number(value: float) -> str:
    return f"{value:.6g}"
