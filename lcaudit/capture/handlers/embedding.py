"""``torch.nn.Embedding`` and ``F.embedding``: a row is a one-hot vector over the vocabulary.

Σ_x is then diagonal and holds the tokens' frequencies. For a small vocabulary it is kept as a full matrix,
like every other, so that figures have intervals; for a large one as the frequencies alone. Entries at
``padding_idx`` get no gradient: their rows are left out of both factors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._base import Accumulator, Call, Handler, Shape, arguments
from lcaudit.capture.handlers.linear import gradient_rows
from lcaudit.capture.stores import Store
from lcaudit.core.types import Counts, InputMoments

#: Largest vocabulary whose Σ_x is kept as a matrix: 8 MiB for each group of samples.
MOST_ENTRIES = 1024

_NAMES = "input weight padding_idx max_norm norm_type scale_grad_by_freq sparse"


def _read(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    given = arguments(_NAMES, args, kwargs)
    padding = given.get("padding_idx")
    if padding is not None:
        padding %= given["weight"].shape[0]
    # two vocabularies' ids are not the same rows, even where one tensor holds both
    return Call(given["input"], given["weight"], outputs_first=False, options=(padding, len(given["weight"])))


def _run(function: Any, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    given = arguments(_NAMES, args, kwargs)
    if given.get("max_norm") is not None:  # rows are scaled down in place where they are used
        given["weight"] = call.weight.clone()
    return F.embedding(**given)


def _kept(call: Call) -> torch.Tensor | None:
    padding, _ = call.options
    return None if padding is None else call.inputs.reshape(-1) != padding


def _counts(call: Call) -> bool:
    return call.weight.shape[0] > MOST_ENTRIES


class _Sums:
    """See :class:`Accumulator`: counts of tokens."""

    def __init__(self, call: Call, groups: int, device: torch.device) -> None:
        self.counts = torch.zeros(groups, call.weight.shape[0], dtype=torch.int64, device=device)
        self.wide = _counts(call)

    def add(self, call: Call, group: int, keep: torch.Tensor | None) -> None:
        tokens = call.inputs.reshape(-1)
        tokens = (tokens if keep is None else tokens[keep]).to(self.counts.device)
        self.counts[group] += torch.bincount(tokens, minlength=self.counts.shape[1])

    def part(self, first: int, last: int, samples: int) -> _Sums:
        other = copy.copy(self)
        other.counts = torch.zeros_like(self.counts)
        return other

    def collect(self, part: _Sums) -> None:
        self.counts += part.counts

    def finish(self) -> InputMoments:
        counts = self.counts.cpu().double().unsqueeze(1)
        entries = counts.shape[-1]
        return InputMoments(
            second=Counts(counts) if self.wide else torch.diag_embed(counts),
            first=counts,
            channel=torch.arange(entries),
            channel_sum=counts,
            channel_square=counts.clone(),
            rows=self.counts.cpu().sum(1),
            elements=self.counts.cpu().sum(1),
        )


def _accumulator(call: Call, groups: int, device: torch.device, store: Store | None = None) -> Accumulator:
    assert store is None, "keeps no rows"
    return _Sums(call, groups, device)


HANDLER = Handler(
    functions=(F.embedding,),
    owner=torch.nn.Module,
    modules=(torch.nn.Embedding,),
    read=_read,
    refuse=lambda call: "",
    shape=lambda call: Shape(call.weight.shape[0], call.weight.shape[1], 1),
    geometry=lambda call: "",
    accumulator=_accumulator,
    rows=lambda call: tuple(call.inputs.shape),
    gradient_rows=gradient_rows,
    keeps_rows=False,
    counts=_counts,
    operations=lambda call, groups: 0,
    kept=_kept,
    run=_run,
)
