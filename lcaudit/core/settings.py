"""How an audit measured, and where it ran; part of every report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, after defaults.

    Attributes:
        fisher: whose labels Σ_g averages over: ``expected``, the network's own, or ``empirical``, the given ones.
        mc_samples: label draws per sample, ``exact`` for the whole expectation; 0 where labels are given.
        task: the one asked for, or the one that ``auto`` settled on. task_evidence: what in the data speaks for
            it. loss: its ℓ of one sample, in words. ignore_index: class index that does not count.
        convention: ``kfac``, or ``huang2020`` for that paper's authors' own.
        layers: patterns of the layers asked for; none for all.
        looks: numbers of samples that ``--samples auto`` tried, ``samples`` last. learning_rate: the user's, if given.
        precision: within what share of itself κ of Σ_x had to be known for its sums to end early; 0: they never did.
        max_memory: bytes that the moments of all layers could take; 0 where that is not known.
    """

    seed: int
    samples: int
    batch_size: int
    dtype: str
    device: str
    fisher: str = "expected"
    mc_samples: int | str = 1
    task: str = "classification"
    task_evidence: str = ""
    loss: str = ""
    ignore_index: int = -100
    convention: str = "kfac"
    layers: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    max_memory: int = 0
    learning_rate: float | None = None
    precision: float = 0.0


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it ran."""

    lcaudit: str
    python: str
    torch: str
    numpy: str
    platform: str
    device: str
    threads: int
