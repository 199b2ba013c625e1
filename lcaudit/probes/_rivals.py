"""What else public training code does to images: the preprocessings that a probe is compared under."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from lcaudit.core.measurements import Normalisation
from lcaudit.core.types import Preprocessing, Probe

#: By number of channels: mean, standard deviation, and whose they are.
_USUAL: dict[int, tuple[tuple[tuple[float, ...], tuple[float, ...], str], ...]] = {
    3: (
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet's statistics"),
        ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "the CIFAR-10 statistics in common use"),
        ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "CIFAR-10's own statistics"),
        ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), "CIFAR-100's own statistics"),
    ),
    1: (
        ((0.1307,), (0.3081,), "MNIST's own statistics"),
        ((0.2860,), (0.3530,), "Fashion-MNIST's own statistics"),
    ),
}
_PLAIN = (
    (0.5, 0.5, "values from −1 to 1"),
    (0.0, 1.0, "values from 0 to 1, as ToTensor leaves them"),
    (0.0, 1 / 255, "values from 0 to 255"),
)
#: Two normalisations whose results differ by less than this, in standard deviations, are one reading.
_SAME = 0.02


def preprocessings(probe: Probe, known: Iterable[Normalisation]) -> tuple[Preprocessing, ...]:
    """The probe's own preprocessing, then its rivals: other normalisations, and the own one with the channels'
    order or the rows and columns exchanged. Empty where samples are no images.

    Args:
        known: what the candidate networks' code bases and the data set do.
    """
    shape, own = probe.record.shape, probe.record.normalisation
    if probe.pixels is None:
        return ()
    channels, height, width = probe.pixels(0, 1).shape[1:]
    several = [own, *(one for one in known if len(one.mean) in (1, channels)), *_usual(channels)]
    distinct: list[Normalisation] = []
    for one in several:
        if not any(_same(one, other, channels) for other in distinct):
            distinct.append(one)
    found = [Preprocessing(one) for one in distinct]
    if channels == 3:
        found += [Preprocessing(one, reversed_channels=True) for one in distinct]
    if height == width and len(shape) == 3:
        found += [Preprocessing(one, transposed=True) for one in distinct]
    return tuple(found)


def _usual(channels: int) -> Iterator[Normalisation]:
    for mean, std, source in _USUAL.get(channels, ()):
        yield Normalisation(mean, std, source)
    for middle, spread, source in _PLAIN:
        yield Normalisation((middle,) * channels, (spread,) * channels, source)


def _same(one: Normalisation, other: Normalisation, channels: int) -> bool:
    """Whether both make the same of black and of white, to ``_SAME``."""

    def ends(of: Normalisation) -> list[float]:
        mean, std = (values * channels if len(values) == 1 else values for values in (of.mean, of.std))
        return [(end - m) / s for end in (0, 1) for m, s in zip(mean, std, strict=True)]

    return all(math.isclose(a, b, abs_tol=_SAME) for a, b in zip(ends(one), ends(other), strict=True))
