"""From names and shapes to the networks that have them."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from lcaudit.architectures._index._fingerprint import of_names, of_shapes, of_tensor, total
from lcaudit.architectures._reading import COUNTER, Shapes, without_prefixes

FILE = Path(__file__).with_name("fingerprints.json.gz")
FORMAT = 1
#: Embeddings of positions, whose length follows from the image size: timm's, and torchvision's.
POSITIONS = frozenset({"pos_embed", "encoder.pos_embedding"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network of a library that has these names.

    Attributes:
        library: ``timm`` or ``torchvision``. name: as the library has it.
        classes: as stored; 0 where the head is missing. channels: of the input, as stored.
        size: (height, width) that the library's own weights were made for; ``()`` where it is not known.
        function: equal for networks that compute the same. differs: what tells it from the others, in words.
        agree: ``shapes`` of all tensors; all shapes but that of the ``positions``, whose number follows from the
            image size; or ``names`` alone, as those of a relative of another width do.
        prefix: what stands before every stored key and not before the network's own.
    """

    library: str
    name: str
    classes: int
    channels: int
    size: tuple[int, ...]
    function: int
    differs: str
    agree: Literal["shapes", "positions", "names"] = "shapes"
    prefix: str = ""

    @property
    def exact(self) -> bool:
        """Whether shapes agree too."""
        return self.agree == "shapes"

    @property
    def full_name(self) -> str:
        """What ``--arch`` takes."""
        return f"{self.library}:{self.name}"


@dataclass(frozen=True, slots=True)
class _Row:
    candidate: Candidate
    names: int
    head: tuple[str, ...]
    stem: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """The file, read. ``libraries``: versions that were surveyed. ``left_out``: networks it lacks, and why."""

    libraries: Mapping[str, str]
    heads: tuple[tuple[str, ...], ...]
    stems: tuple[tuple[str, ...], ...]
    positions: Mapping[str, tuple[tuple[int, ...], ...]]
    bodies: Mapping[int, tuple[_Row, ...]]
    left_out: Mapping[str, str]

    @property
    def rows(self) -> tuple[_Row, ...]:
        """Every network."""
        return tuple(row for rows in self.bodies.values() for row in rows)


@cache
def index(file: Path = FILE) -> Index:
    """Read the index. Cost: some ten milliseconds, once."""
    data = json.loads(gzip.decompress(file.read_bytes()))
    assert data["format"] == FORMAT, f"{file.name} has format {data['format']}, this code reads {FORMAT}"
    heads = tuple(tuple(keys) for keys in data["heads"])
    stems = tuple(tuple(keys) for keys in data["stems"])
    bodies: dict[int, list[_Row]] = defaultdict(list)
    for library, name, body, names, head, stem, classes, size, function, differs in data["rows"]:
        found = Candidate(library, name, classes, 3, tuple(size), function, differs)
        bodies[int(body, 16)].append(_Row(found, int(names, 16), heads[head], stems[stem]))
    return Index(
        data["libraries"],
        heads,
        stems,
        {key: tuple(map(tuple, shapes)) for key, shapes in data["positions"].items()},
        {body: tuple(rows) for body, rows in bodies.items()},
        data["left_out"],
    )


def look_up(shapes: Shapes, found_in: Index | None = None) -> tuple[Candidate, ...]:
    """Every network with these names and shapes, any number of classes and input channels.

    Where none has the shapes, those that have them at another image size; else those with the names alone.

    Args:
        shapes: by key; batch-norm counters are ignored.
        found_in: another index than the shipped one.

    Cost: milliseconds; no torch.
    """
    known = found_in or index()
    plain = {key: tuple(shape) for key, shape in shapes.items() if not key.endswith(COUNTER)}
    for prefix, rest in without_prefixes(plain):
        found = _exact(rest, known) or _at_other_sizes(rest, known) or _by_names(rest, known)
        if found:
            return tuple(replace(one, prefix=prefix) for one in found)
    return ()


def _exact(shapes: Shapes, known: Index) -> list[Candidate]:
    whole = of_shapes(shapes)
    found = []
    for head, classes in _heads(shapes, known):
        body = total((whole, *(-of_tensor(key, shapes[key]) for key in head)))
        for sum_of, channels, stem in ((body, 3, ()), *_other_stems(body, shapes, known)):
            found += [
                replace(row.candidate, classes=classes, channels=channels)
                for row in known.bodies.get(sum_of, ())
                if _same_head(row, head) and (not stem or stem == row.stem)
            ]
    return list(dict.fromkeys(found))


def _at_other_sizes(shapes: Shapes, known: Index) -> list[Candidate]:
    found = []
    for key in known.positions.keys() & shapes.keys():
        others = (shape for shape in known.positions[key] if shape[-1:] == shapes[key][-1:] and shape != shapes[key])
        found += [one for other in others for one in _exact({**shapes, key: other}, known)]
    return [replace(one, agree="positions") for one in dict.fromkeys(found)]


def _by_names(shapes: Shapes, known: Index) -> list[Candidate]:
    found = []
    for head, classes in _heads(shapes, known):
        names = of_names(shapes, without=head)
        for row in known.rows:
            if row.names == names and _same_head(row, head):
                channels = shapes[row.stem[0]][1] if row.stem and len(shapes.get(row.stem[0], ())) > 1 else 3
                found.append(replace(row.candidate, classes=classes, channels=channels, agree="names"))
    return list(dict.fromkeys(found))


def _heads(shapes: Shapes, known: Index) -> list[tuple[tuple[str, ...], int]]:
    """(keys of a head that is all there, number of classes), and no head at all."""
    found = []
    for head in known.heads:
        widths = {shapes[key][0] if shapes.get(key) else 0 for key in head}
        if head and len(widths) == 1 and 0 not in widths:
            found.append((head, widths.pop()))
    return [*found, ((), 0)]


def _same_head(row: _Row, head: tuple[str, ...]) -> bool:
    """A head may be left out, or put on a network that has none by itself."""
    return not head or not row.head or row.head == head


def _other_stems(body: int, shapes: Shapes, known: Index) -> list[tuple[int, int, tuple[str, ...]]]:
    """(sum as if the stem had three channels, its channels, its keys), for every stem that is all there."""
    found = []
    for stem in known.stems:
        channels = {shapes[key][1] if len(shapes.get(key, ())) > 1 else 0 for key in stem}
        if len(channels) == 1 and not channels & {0, 3}:
            usual = (of_tensor(key, (shapes[key][0], 3, *shapes[key][2:])) for key in stem)
            found.append((total((body, *usual, *(-of_tensor(key, shapes[key]) for key in stem))), channels.pop(), stem))
    return found
