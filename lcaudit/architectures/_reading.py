"""What families share: reading numbers off shapes, and saying why tensors are not theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from lcaudit.core.measurements import Evidence, Normalisation
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Match, Shaping

Shapes = Mapping[str, tuple[int, ...]]
#: Step name of a piece of evidence that lowers the confidence to ``assumed``: public code exists that
#: writes the same names and shapes and computes another function.
RIVAL = "rival"
#: Key ending of batch norm's step counter, which inference never reads.
COUNTER = "num_batches_tracked"
#: Largest side of a tensor that is looked at: products of four sides still fit 64 bits.
MOST_SIDE = 1 << 24
#: Names that a training class puts before all keys; each is one part of a dotted name.
_MOST_PREFIXES = 4


def of_imagenet(source: str) -> Shaping:
    """What is usually done to pictures for networks of ImageNet, on the authority of ``source``."""
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), source)
    return Shaping((224, 224), (256, 256), "centre", "bilinear", normalisation, False, source)


class Unlike(Exception):
    """These tensors are not this family's.

    Attributes:
        reason: what was expected and what was seen, for the end of a sentence.
        close: tensors that did look like the family's, to find the nearest family.
    """

    def __init__(self, reason: str, close: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close = close


@dataclass(frozen=True, slots=True)
class Reader:
    """A family's ``match``: ``read`` returns a match or raises :class:`Unlike`.

    Tensors are read as they are stored, then without the name that stands before all of them.
    ``why_not`` says what was missing, for the message that no network fits.
    """

    read: Callable[[Shapes], Match]

    def __call__(self, shapes: Shapes) -> Match | None:
        for prefix, plain in without_prefixes(shapes):
            try:
                return _prefixed(self._read(plain), prefix, shapes)
            except Unlike:
                continue
        return None

    def why_not(self, shapes: Shapes) -> Unlike | None:
        reasons = []
        for _, plain in without_prefixes(shapes):
            try:
                self._read(plain)
            except Unlike as reason:
                reasons.append(reason)
            else:
                return None
        return max(reasons, key=lambda reason: reason.close)

    def _read(self, shapes: Shapes) -> Match:
        for key, shape in shapes.items():
            if any(not 0 < length <= MOST_SIDE for length in shape):
                raise Unlike(f"{display_name(key)} has the shape {show(shape)}")
        return self.read({key: shape for key, shape in shapes.items() if not key.endswith(COUNTER)})


def without_prefixes(shapes: Shapes) -> Iterator[tuple[str, Shapes]]:
    """(what was taken away, the rest): as stored, then without ``backbone.`` where every key begins so, and so on."""
    taken, plain = "", shapes
    yield taken, plain
    for _ in range(_MOST_PREFIXES):
        firsts = {key.partition(".")[0] for key in plain}
        first = f"{next(iter(firsts), '')}."
        if len(firsts) != 1 or not all(key.startswith(first) and len(key) > len(first) for key in plain):
            return
        taken += first
        plain = {key.removeprefix(first): shape for key, shape in plain.items()}
        yield taken, plain


def removed(prefix: str) -> list[Evidence]:
    """That a network was found without what stands before every key; nothing where nothing does."""
    return [Evidence("prefix", f"removed {display_name(prefix, 80)} from every key")] if prefix else []


def _prefixed(match: Match, prefix: str, shapes: Shapes) -> Match:
    if not prefix:
        return match
    rename = {key: (match.rename or {}).get(key.removeprefix(prefix), key.removeprefix(prefix)) for key in shapes}
    return replace(match, rename=rename, evidence=(*removed(prefix), *match.evidence))


def show(shape: tuple[int, ...]) -> str:
    """``(64, 16, 3, 3)`` → ``64×16×3×3``; a scalar has no shape to show."""
    return "×".join(map(str, shape)) or "scalar"


def side(shapes: Shapes, key: str, axis: int, rank: int) -> int:
    """One side of the tensor at ``key``, which must have ``rank`` sides."""
    if key not in shapes:
        raise Unlike(f"{display_name(key)} is missing")
    if len(shapes[key]) != rank:
        raise Unlike(f"{display_name(key)} has the shape {show(shapes[key])}, not {rank} sides")
    return shapes[key][axis]


def indices(shapes: Shapes, prefix: str) -> list[int]:
    """The numbers N of keys ``prefix`` + ``N.…``, ascending; keys without a plain number are passed over."""
    found = set()
    for key in shapes:
        if key.startswith(prefix):
            number = key[len(prefix) :].split(".", 1)[0]
            if number.isascii() and number.isdigit() and len(number) <= 6 and str(int(number)) == number:
                found.add(int(number))
    return sorted(found)


class Expected(dict[str, tuple[int, ...]]):
    """A network's names and shapes, written down without torch: `lcaudit identify` answers before it is imported.

    That they are those of the module which the family builds is tested, and made sure of whenever weights are loaded.
    """

    def convolution(
        self, path: str, inputs: int, outputs: int, kernel: int, groups: int = 1, bias: bool = False
    ) -> None:
        """``inputs``: channels of the whole image, whatever the groups."""
        self[f"{path}.weight"] = (outputs, inputs // groups, kernel, kernel)
        if bias:
            self[f"{path}.bias"] = (outputs,)

    def batch_norm(self, path: str, width: int) -> None:
        """Gain, shift and the running statistics; its counter is nobody's evidence."""
        self.update({f"{path}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")})

    def linear(self, path: str, inputs: int, outputs: int, bias: bool = True) -> None:
        """A matrix of outputs × inputs."""
        self[f"{path}.weight"] = (outputs, inputs)
        if bias:
            self[f"{path}.bias"] = (outputs,)


def fit(expected: Shapes, shapes: Shapes) -> None:
    """Raise :class:`Unlike` unless the tensors are exactly those expected."""
    differences = compare(expected, shapes)
    if differences:
        shared = sum(shapes.get(key) == shape for key, shape in expected.items())
        raise Unlike("; ".join(differences), shared)


def compare(expected: Shapes, seen: Shapes) -> list[str]:
    """What keeps ``seen`` from being ``expected``, in words; empty if nothing does."""
    missing = [key for key in expected if key not in seen]
    extra = [key for key in seen if key not in expected]
    misfit = [
        f"{display_name(key, 80)} is {show(seen[key])}, expected {show(shape)}"
        for key, shape in expected.items()
        if key in seen and seen[key] != shape
    ]
    differences = []
    if missing:
        differences.append(f"{count(len(missing), 'tensor')} missing ({one_line(missing, 3)})")
    if extra:
        differences.append(f"{count(len(extra), 'tensor')} with no place ({one_line(extra, 3)})")
    if misfit:
        more = f" and {len(misfit) - 2} more shapes differ" if len(misfit) > 2 else ""
        differences.append("; ".join(misfit[:2]) + more)
    return differences
