"""What looking once before the end costs an interval: its coverage, when an input may stop being summed.

    python benchmarks/early_stop.py

Ten groups of normal numbers stand for a figure's logarithm without bias; a quarter of each group is looked at first,
and the rest is left out where the interval of that quarter is within the precision. Printed for several true widths,
each as a multiple of the precision: how often the rest is left out, and how often the interval in the report covers
the truth, with its 95 % and its 99.9 % ends.
"""

from __future__ import annotations

import argparse

import numpy as np

from lcaudit.core.quantity import VERDICT_LEVEL
from lcaudit.core.statistics import quantile

GROUPS = 10


def covered(width: float, repetitions: int, generator: np.random.Generator) -> tuple[float, float, float]:
    """Share that stops, coverage of the 95 % interval and of the one for verdicts; ``width``: in units of precision."""
    first, rest = (generator.standard_normal((repetitions, GROUPS)) * scale for scale in (1, 3**-0.5))
    looks = [(look.mean(1), look.std(1, ddof=1) / GROUPS**0.5) for look in (first, (first + 3 * rest) / 4)]
    stops = looks[0][1] * width * GROUPS**0.5 <= 1
    shares = [
        float(np.where(stops, *(np.abs(mean) <= quantile(level, GROUPS - 1) * error for mean, error in looks)).mean())
        for level in (0.95, VERDICT_LEVEL)
    ]
    return float(stops.mean()), shares[0], shares[1]


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=400_000)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    print("true half-width / precision | stops | 95 % covers | 99.9 % covers")
    for width in (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0):
        stops, shown, judged = covered(width, given.repetitions, generator)
        print(f"{width:27} | {stops:5.1%} | {shown:11.2%} | {judged:.3%}")


if __name__ == "__main__":
    main()
