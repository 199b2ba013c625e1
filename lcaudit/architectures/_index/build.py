"""``python -m lcaudit.architectures._index.build SURVEY``: make ``fingerprints.json.gz`` from a survey.

Networks with the same tensors are compared: those of the same parts with the same settings compute the same
function, and so do those whose outputs agree to nine digits in float64, at random weights large enough to leave
the linear part of every activation, for two image sizes where the network takes any. All others count as
different, also where they could not be run. Takes some minutes; two networks are in memory at a time.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lcaudit.architectures import _libraries
from lcaudit.architectures._index._fingerprint import of_names, of_shapes
from lcaudit.architectures._index._wiring import wiring
from lcaudit.architectures._index.lookup import FILE, FORMAT, POSITIONS
from lcaudit.architectures._index.survey import rows as surveyed

#: Why whole kinds of torchvision's networks are not in the index.
_UNFIT = {
    "detection": "takes a list of images of several sizes and gives boxes",
    "optical_flow": "takes two images",
    "quantization": "a twin for int8 weights; its float copy has the tensors of the plain network",
}
_MOST_COMPARED = 1_500_000_000  # parameters of a network that is built to be compared
_MOST_RUN = 120_000_000
#: Sizes at which networks for any size are run, and how many runs are enough.
_SMALL = ((96, 96), (160, 128))
_ENOUGH = 2
_MOST_WORDS, _LONGEST_WORD = 3, 60
Row = dict[str, Any]


def main(survey: Path, to: Path = FILE) -> None:
    """Read the survey, compare what has equal tensors, write the index."""
    warnings.simplefilter("ignore")
    left_out: dict[str, str] = {}
    kept: list[Row] = []
    for row in surveyed(survey):
        reason = _unfit(row)
        if reason:
            left_out[f"{row['library']}:{row['name']}"] = reason
        else:
            kept.append(row)
    for row in kept:
        shapes = {key: tuple(shape) for key, shape in row["keys"].items()}
        # A head of several layers: the last one alone has the classes. A stem may see pixels moved into channels.
        row["head"] = [key for key in row["head"] if shapes[key][:1] == (row["classes"],)]
        row["stem"] = row["stem"] if all(shapes[key][1:2] == (3,) for key in row["stem"]) else []
        body = {key: shape for key, shape in shapes.items() if key not in row["head"]}
        row["body"], row["names"] = of_shapes(body), of_names(shapes, without=row["head"])
        row["numbers"] = sum(torch.Size(shape).numel() for shape in shapes.values())
    _group(kept)
    heads = sorted({tuple(row["head"]) for row in kept})
    stems = sorted({tuple(row["stem"]) for row in kept})
    positions: dict[str, set[tuple[int, ...]]] = {key: set() for key in POSITIONS}
    for row in kept:
        for key in POSITIONS & row["keys"].keys():
            positions[key].add(tuple(row["keys"][key]))
    data = {
        "format": FORMAT,
        "libraries": {name: importlib.metadata.version(name) for name in ("timm", "torch", "torchvision")},
        "heads": heads,
        "stems": stems,
        "positions": {key: sorted(shapes) for key, shapes in sorted(positions.items())},
        "rows": [
            [
                row["library"],
                row["name"],
                f"{row['body']:016x}",
                f"{row['names']:08x}",
                heads.index(tuple(row["head"])),
                stems.index(tuple(row["stem"])),
                row["classes"],
                _size(row),
                row["function"],
                row["differs"],
            ]
            for row in sorted(kept, key=lambda row: (row["library"], row["name"]))
        ],
        "left_out": left_out,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    to.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{len(kept)} networks, {len(left_out)} left out, {to.stat().st_size:,} bytes")


def _unfit(row: Row) -> str:
    if "error" in row:
        return str(row["error"])
    if row["library"] != "torchvision":
        return ""
    import torchvision

    module = torchvision.models.get_model_builder(row["name"]).__module__
    return next((reason for kind, reason in _UNFIT.items() if f".{kind}." in f"{module}."), "")


def _size(row: Row) -> list[int]:
    if row["library"] == "timm":
        return [int(side) for side in row["input"][1:]]
    preset = _libraries.torchvision_transforms(row["name"])
    return [int(preset.crop_size[0])] * 2 if hasattr(preset, "crop_size") and len(preset.crop_size) == 1 else []


def _group(kept: list[Row]) -> None:
    """Set ``function`` and ``differs`` of every row."""
    groups: dict[tuple[int, tuple[str, ...]], list[Row]] = defaultdict(list)
    for row in kept:
        row["function"], row["differs"] = 0, ""
        groups[row["body"], tuple(row["head"])].append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    for place, rows in enumerate(several):
        print(f"{place + 1}/{len(several)}", ", ".join(row["name"] for row in rows), flush=True)
        lines = {row["name"] + row["library"]: _lines(row) for row in rows}
        kinds: list[list[Row]] = []
        for row in rows:
            mine = lines[row["name"] + row["library"]]
            same = (kind for kind in kinds if mine == lines[kind[0]["name"] + kind[0]["library"]])
            kind = next(same, None) or next((kind for kind in kinds if _same_outputs(kind[0], row)), None)
            if kind is None:
                kinds.append(kind := [])
            kind.append(row)
        shown = [max(kind, key=lambda row: row["library"] == rows[-1]["library"]) for kind in kinds]
        texts = _differences([lines[row["name"] + row["library"]] for row in shown])
        for number, (kind, text) in enumerate(zip(kinds, texts, strict=True)):
            for row in kind:
                row["function"], row["differs"] = number, text
        print("   ", [[row["name"] for row in kind] for kind in kinds], texts, flush=True)


def _lines(row: Row) -> list[str]:
    """The wiring, from a module with numbers in it where some of its tensors are not stored."""
    lines = _libraries.on_meta(lambda: wiring(_make(row)))
    hidden = any("on meta" in line for line in lines)
    return wiring(_make(row)) if hidden and row["numbers"] <= _MOST_COMPARED else lines


def _make(row: Row) -> nn.Module:
    return _libraries.make(row["library"], row["name"]).eval()


def _same_outputs(one: Row, other: Row) -> bool:
    if max(one["numbers"], other["numbers"]) > _MOST_RUN:
        return False
    own = [tuple(_size(row)) or (224, 224) for row in (one, other)]
    sizes = own if one.get("fixed") or other.get("fixed") else [*_SMALL, *own]
    try:
        first, second = _make(one).double(), _make(other).double()
        _randomise(first)
        second.load_state_dict(first.state_dict())
        ran = 0
        for size in dict.fromkeys(sizes):
            agreed = _agree(first, second, size)
            if agreed is False:
                return False
            ran += agreed is True
            if ran == _ENOUGH:
                break
        return ran > 0
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        print("    not run:", type(error).__name__, str(error)[:100])
        return False


def _randomise(module: nn.Module) -> None:
    """Weights of unit gain, everything else spread so widely that clipped and smooth activations differ."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict(keep_vars=True).items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var"):
            noise = noise.abs() + 0.01
        elif value.dim() > 1:
            noise *= (2 / max(1, value[0].numel())) ** 0.5
        elif name.endswith("weight"):
            noise = 1 + noise.abs()
        with torch.no_grad():
            value.copy_(noise)


def _agree(first: nn.Module, second: nn.Module, size: tuple[int, ...]) -> bool | None:
    """Whether outputs are equal; ``None`` where neither takes this size."""
    images = 3 * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine, other = _output(first, images), _output(second, images)
    if mine is None or other is None:
        return None if mine is other else False
    if not mine.isfinite().all() or mine.shape != other.shape or not (mine - mine.mean()).abs().max() > 0:
        return False
    return bool((mine - other).abs().max() <= 1e-9 * mine.abs().max())


def _output(module: nn.Module, images: torch.Tensor) -> torch.Tensor | None:
    try:
        with torch.no_grad():
            output = module(images)
    except (AssertionError, RuntimeError):  # takes its own size only
        return None
    return output if isinstance(output, torch.Tensor) else None


def _differences(kinds: list[list[str]]) -> list[str]:
    """For each function what it has and the others have not, the most frequent first."""
    if len(kinds) == 1:
        return [""]
    counts = [Counter(_traits(lines)) for lines in kinds]
    # Where a part is another one, its settings say nothing more.
    changed = {trait for trait in set().union(*counts) if " " not in trait and len({one[trait] for one in counts}) > 1}
    texts = []
    for place, mine in enumerate(counts):
        others = [other for index, other in enumerate(counts) if index != place]
        own = [trait for trait, number in mine.items() if any(other[trait] != number for other in others)]
        own = [trait for trait in own if " " not in trait or trait.split(" ")[0] not in changed]
        # What the others lack comes first, the parts by which they differ before their settings.
        rarest = sorted(
            own, key=lambda trait: (min(other[trait] for other in others) > 0, " " in trait, len(trait), trait)
        )
        texts.append(", ".join(rarest[:_MOST_WORDS]))
    return texts


def _traits(lines: Iterable[str]) -> Iterable[str]:
    """``BatchNorm2d eps=0.001`` for every setting of every part, and the parts themselves."""
    for line in lines:
        _, _, rest = line.partition(" ")
        kind, *settings = rest.split(" ")
        kind = kind.rpartition(".")[2]
        yield kind
        words = (told for told in settings if "=" in told and len(told) <= _LONGEST_WORD and "@" not in told)
        yield from (f"{kind} {told}" for told in words)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
