"""In which form each layer's second moments are kept, so that all of them fit into a given memory.

The usual form is a sum Σ x xᵀ for each of ten groups of samples. Where a wide layer has fewer rows than
entries the rows are kept, which takes less memory and less work, and loses nothing. Where the rest does not fit,
the widest layers get fewer groups, and then sketches. Everything is decided before the run, from the survey: rows
per sample are known, and so is the number of samples.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from lcaudit.capture._survey import Found
from lcaudit.capture.stores import TESTS, RowStore, SketchStore, Store
from lcaudit.core.errors import LimitExceeded
from lcaudit.core.memory import words
from lcaudit.core.text import count

#: Sides from which rows are kept where they are fewer; the sums of a narrower layer are small, and usual.
WIDE = 1024
#: Operations of the rows' inner products, of which their eigenvalues take several times as many: beyond it a wide
#: layer's rows are sketched, since it would take longer than all the rest. About a minute on one core.
MOST_WORK = 10**12
#: Dimensions of a sketch, and how small it may become.
SPAN, LEAST_SPAN = 128, 32
#: Groups of samples, in turn, that a layer whose sums are too large may come down to.
FEWER_GROUPS = (4, 2)


@dataclass(frozen=True, slots=True)
class Form:
    """How one second moment is kept.

    Attributes:
        kind: ``sums``, ``rows``, ``sketch``, or ``counts`` of one-hot rows. name: of the moment, in words.
        pairs, side: K blocks of d × d. rows: that the whole probe brings, at most; ``None`` if not known.
        dtype: of the rows. only_sums: whether the layer's kind knows no other form.
    """

    name: str
    kind: Literal["sums", "rows", "sketch", "counts"]
    groups: int
    pairs: int
    side: int
    rows: int | None
    dtype: torch.dtype
    span: int = SPAN
    only_sums: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of what :func:`lcaudit.capture.measure` hands on, in bytes."""
        squares = 8 * self.groups * self.pairs * self.side
        if self.kind == "sums":
            return squares * self.side
        if self.kind == "counts":
            return squares
        if self.kind == "rows":
            assert self.rows is not None, "kept only where they can be counted"
            return squares + self.rows * (self.pairs * self.side * self.dtype.itemsize + 8)
        vectors = min(self.span, self.side) + TESTS
        return squares + 8 * self.side * (vectors * (1 + self.pairs) + self.pairs)

    @property
    def long(self) -> bool:
        """Whether the rows' eigenvalues would take longer than all the rest."""
        return self.rows is not None and self.rows < self.side and self.rows**2 * self.side * self.pairs > MOST_WORK

    def store(self, device: torch.device) -> Store | None:
        """An empty one; ``None`` for sums and counts, which the layer's kind makes itself."""
        if self.kind in ("sums", "counts"):
            return None
        if self.kind == "rows":
            assert self.rows is not None, "kept only where they can be counted"
            return RowStore(self.groups, self.pairs, self.side, self.rows, self.dtype, device)
        return SketchStore(self.groups, self.pairs, self.side, self.span, device)

    def others(self) -> Iterator[Form]:
        """Forms that could take this one's place, the better ones first."""
        if self.only_sums:
            return
        if self.kind == "sums" and self.rows is not None and self.rows < self.side and not self.long:
            yield replace(self, kind="rows")
        if self.kind != "sketch":
            yield replace(self, kind="sketch")
        elif self.span > LEAST_SPAN:
            yield replace(self, span=LEAST_SPAN)

    def why(self, usual: int, most: int) -> str:
        """In words, where it is not the usual one: sums for ``usual`` groups. ``most``: bytes allowed."""
        allowed = f"where --max-memory allows {words(most)} in all"
        if self.kind == "counts":
            return f"{self.name}: counts of its {self.side} entries, since one-hot rows have no products"
        if self.kind == "rows":
            assert self.rows is not None, "kept only where they can be counted"
            return f"{self.name}: {count(self.rows, 'row')} kept, fewer than the {self.side} entries of each"
        if self.kind == "sketch" and self.long and self.rows is not None:
            return (
                f"{self.name}: a sketch of {min(self.span, self.side)} dimensions, since eigenvalues from its "
                f"{count(self.rows, 'row')} of {self.side} entries would take longer than all the rest; figures are "
                "bounds for this very probe"
            )
        if self.kind == "sketch":
            sums = replace(self, kind="sums", groups=FEWER_GROUPS[-1]).nbytes
            told = [f"its sums would take {words(sums)}"]
            if self.rows is not None:
                told.append(f"its rows {words(replace(self, kind='rows').nbytes)}")
            return (
                f"{self.name}: a sketch of {min(self.span, self.side)} dimensions, {' and '.join(told)} {allowed}; "
                "figures are bounds for this very probe"
            )
        return (
            f"{self.name}: {self.groups} groups of samples in place of {usual}, {allowed}"
            if self.groups < usual
            else ""
        )


@dataclass(frozen=True, slots=True)
class Forms:
    """Of one layer's input and gradient.

    Attributes:
        why: in words, where they are not the usual ones. shared: key of the layer that keeps the input for both.
    """

    inputs: Form
    gradient: Form
    why: str = ""
    shared: Hashable = None

    @property
    def groups(self) -> int:
        """Groups of samples that are kept apart."""
        return self.inputs.groups

    @property
    def nbytes(self) -> int:
        """Memory of both, of the gradient alone where another layer keeps the input."""
        return self.gradient.nbytes + (self.inputs.nbytes if self.shared is None else 0)

    def __iter__(self) -> Iterator[Form]:
        return iter((self.inputs, self.gradient))


def plan_forms(
    found: Mapping[Hashable, Found], looked: int, most: int, *, samples: int, groups: int, passes: int | None,
    dtype: torch.dtype,
) -> dict[Hashable, Forms]:  # fmt: skip
    """The forms of every layer that the survey of ``looked`` samples found, in its order; see :func:`usual`.

    Layers that are not measured take nothing.

    Raises:
        LimitExceeded: nothing fits into ``most`` bytes.
    """
    keys = {id(one): key for key, one in found.items()}
    wanted = {}
    for key, one in found.items():
        shared = one.twin and not one.refused and not one.twin.refused
        forms = usual(one, looked, samples=samples, groups=groups, passes=passes, dtype=dtype)
        wanted[key] = replace(forms, shared=keys[id(one.twin)]) if shared else forms
    return wanted | fit({key: wanted[key] for key, one in found.items() if not one.refused}, most)


def usual(found: Found, looked: int, *, samples: int, groups: int, passes: int | None, dtype: torch.dtype) -> Forms:
    """The forms that a layer takes where memory does not matter.

    Args:
        looked: samples of the survey that found it. passes: backward passes for each sample, ``None`` if not known.
    """
    rows = found.rows // looked * samples
    shape, plain = found.shape, not found.handler.keeps_rows

    def form(name: str, side: int, many: int | None, only_sums: bool) -> Form:
        sums = Form(name, "sums", groups, shape.groups, side, many, dtype, only_sums=only_sums)
        fewer = many is not None and side >= WIDE and many < side and not only_sums
        return replace(sums, kind="sketch" if sums.long else "rows") if fewer else sums

    inputs = form("Σ_x", shape.inputs, rows, plain)
    return Forms(
        replace(inputs, kind="counts") if found.handler.counts(found.call) else inputs,
        form("Σ_g", shape.outputs, None if passes is None else rows * passes, False),
    )


def fit(wanted: Mapping[Hashable, Forms], most: int) -> dict[Hashable, Forms]:
    """Forms that take at most ``most`` bytes together: fewer groups for the widest layers first, then other forms.

    Raises:
        LimitExceeded: nothing fits.
    """
    chosen = dict(wanted)
    full = {key: forms.groups for key, forms in wanted.items()}
    for fewer in FEWER_GROUPS:
        for key in sorted(wanted, key=lambda one: -wanted[one].nbytes):
            if wanted[key].shared is None and _total(chosen) > most and chosen[key].groups > fewer:
                inputs, gradient = (replace(form, groups=fewer) for form in chosen[key])
                chosen = _followed(chosen | {key: replace(chosen[key], inputs=inputs, gradient=gradient)})
    while _total(chosen) > most:
        smaller = _smaller(chosen)
        if smaller is None:
            raise LimitExceeded(
                f"the moments of this network take at least {words(_total(chosen))}, expected at most {words(most)}",
                "allow more with --max-memory, or name fewer layers with --layers",
            )
        chosen = _followed(chosen | smaller)
    return {
        key: replace(forms, why="; ".join(filter(None, (form.why(full[key], most) for form in forms))))
        for key, forms in chosen.items()
    }


def _smaller(chosen: Mapping[Hashable, Forms]) -> dict[Hashable, Forms] | None:
    """The largest moment that has a smaller form, in the first such form; sketches shrink last."""
    candidates = [
        (form.kind == "sketch", -form.nbytes, place, key, other)
        for key, forms in chosen.items()
        for place, form in enumerate(forms)
        if place or forms.shared is None
        for other in form.others()
        if other.nbytes < form.nbytes
    ]
    if not candidates:
        return None
    # ties keep the order of the layers
    _, _, place, key, other = min(candidates, key=lambda one: one[:2])
    forms = chosen[key]
    return {key: replace(forms, gradient=other) if place else replace(forms, inputs=other)}


def _followed(chosen: Mapping[Hashable, Forms]) -> dict[Hashable, Forms]:
    """The same; layers whose input another one keeps have its groups, and its form for the input."""

    def followed(forms: Forms) -> Forms:
        if forms.shared is None:
            return forms
        leader = chosen[forms.shared]
        return replace(forms, inputs=leader.inputs, gradient=replace(forms.gradient, groups=leader.groups))

    return {key: followed(forms) for key, forms in chosen.items()}


def _total(chosen: Mapping[Hashable, Forms]) -> int:
    return sum(forms.nbytes for forms in chosen.values())
