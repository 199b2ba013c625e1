"""How a network reads text, and what its outputs then stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: What networks that read text predict.
OBJECTIVES = ("causal", "masked", "sequence", "embedding")


@dataclass(frozen=True, slots=True)
class TextInput:
    """How a network reads text: what a probe of text needs to know of it.

    Attributes:
        objective: ``causal``: outputs [b, L, V] predict each next token; ``masked``: outputs [b, L, V] predict the
            tokens that were hidden; ``sequence``: outputs [b, K] are of whole samples; ``embedding``: outputs
            [b, h] are of whole samples and no class.
        longest: most tokens that a sample may have.
        padding: index of the token that fills up; the network itself takes no notice of positions that hold it.
            ``None`` where it has none: later positions never change earlier ones.
        hidden: index of the token that hides another, for ``masked``.
        tokenizer: the ``tokenizer.json`` beside the weights, ``None`` where there is none.
    """

    objective: Literal["causal", "masked", "sequence", "embedding"]
    longest: int
    padding: int | None = None
    hidden: int | None = None
    tokenizer: Path | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What outputs stand for, where the network's way of reading text settles it.

    Attributes:
        task: its name. evidence: what speaks for it, in words.
        prediction: what one is, ``next token``; then outputs are [b, L, V], and the last axis holds the classes.
    """

    task: str
    evidence: str
    prediction: str = ""
