"""Are networks of timm and torchvision recognised from weights alone, and is none taken for another?

    python benchmarks/recognition.py --output benchmarks/results/recognition.json --page docs/recognition.md

Each network gets random weights, which are saved as safetensors without any hint, opened and resolved. *Right* is an
answer whose module gives the outputs of the network that was saved; its name does not count. Chosen are, of every
source file of timm, two small networks and then some at random, and those of torchvision, of at most 40 and 100 million
parameters. Then the smallest that were recognised are audited on four pictures, as long as
``--audit-minutes`` last; what was not reached is counted. Needs timm and torchvision.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import signal
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import lcaudit
from lcaudit.architectures import _libraries, resolve
from lcaudit.architectures._index.lookup import index
from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AmbiguousArchitecture, AuditError
from lcaudit.core.files import write_whole

BEGIN, END = "<!-- begin results -->", "<!-- end results -->"
#: Parameters of the largest networks of the sweep, by library: their weights are in memory three times.
MOST_NUMBERS = {"timm": 40_000_000, "torchvision": 100_000_000}
#: What names of small networks hold.
SMALL = re.compile(r"test_|atto|femto|pico|nano|tiny|xxt|xxs|small|_s\d*(_|$)|_xs|_b0|mini")
PEER = ("timm", "torchvision")
Row = dict[str, Any]


class TooSlow(BaseException):
    """The time limit of one step; nothing on the way takes it for a failure of the network."""


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise :class:`TooSlow` after so many seconds."""

    def ring(number: int, frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def is_small(library: str, name: str) -> bool:
    """Whether it has at most so many parameters; built on no device."""
    try:
        with torch.device("meta"):
            module = _libraries.make(library, name)
    except (RuntimeError, NotImplementedError):  # it can be built with numbers only, which takes too long here
        return False
    return sum(value.numel() for value in module.parameters()) <= MOST_NUMBERS[library]


def chosen(
    timm_networks: int, torchvision_networks: int, done: Collection[tuple[str, str]] = ()
) -> Iterator[tuple[str, str]]:
    """(library, name): torchvision's; two small ones of each source file of timm, then some at random.

    ``done``: those whose size is known to be small enough.
    """
    import timm

    files: dict[str, list[str]] = defaultdict(list)
    known = {
        library: [row.candidate.name for row in index().rows if row.candidate.library == library] for library in PEER
    }
    for name in sorted(known["timm"], key=lambda name: (not SMALL.search(name), name)):
        files[timm.models.model_entrypoint(name).__module__].append(name)
    rest = sorted(name for names in files.values() for name in names[2:])
    random.Random(0).shuffle(rest)
    walks = {
        "timm": [name for names in files.values() for name in names[:2]] + rest,
        "torchvision": known["torchvision"],
    }
    for library, most in (("torchvision", torchvision_networks), ("timm", timm_networks)):
        small = (name for name in walks[library] if (library, name) in done or is_small(library, name))
        yield from ((library, name) for name in itertools.islice(small, most))


def save(library: str, name: str, path: Path) -> torch.nn.Module:
    """The network with random weights, running statistics included, and the file of them."""
    torch.manual_seed(0)
    module = _libraries.make(library, name).eval()
    for key, value in module.state_dict(keep_vars=True).items():
        if value.is_floating_point() and key.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(value, 0, 0.3)
        elif value.is_floating_point() and key.endswith("running_var"):
            torch.nn.init.uniform_(value, 0.5, 2)
    save_file({key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}, path)
    return module


def recognise(library: str, name: str, folder: Path) -> Row:
    """One row of the table."""
    path = folder / "weights.safetensors"
    row: Row = {"library": library, "name": name, "outcome": "", "answer": ""}
    module = save(library, name, path)
    row["parameters"] = sum(value.numel() for value in module.parameters())
    start = time.perf_counter()
    try:
        network = resolve(open_checkpoint(path))
    except AmbiguousArchitecture as error:
        outcome = "ambiguous" if among(error.message, name, module) else "wrong"
        return row | {"outcome": outcome, "answer": error.message}
    except AuditError as error:
        return row | {"outcome": "refused", "answer": f"{error.kind}: {error.message}"}
    except Exception as error:  # a mistake of lcaudit's own, to be seen in the table
        return row | {"outcome": "crash", "answer": f"{type(error).__name__}: {error}"}
    row |= {"answer": network.record.title, "confidence": network.record.confidence}
    row["seconds"] = round(time.perf_counter() - start, 2)
    same = agree(module, network.module, network.record.input_shape)
    rivals = " ".join(evidence.says for evidence in network.record.evidence)
    if same is None:
        row["outcome"] = "recognised" if name in network.record.title else "wrong"
        row["compared"] = "by name: neither gives a tensor for one picture"
    elif same:
        row["outcome"] = "recognised"
    else:
        beside = network.record.confidence == "assumed" and f"{library}:{name}" in rivals
        row["outcome"] = "assumed, named as a rival" if beside else "wrong"
    return row


def among(message: str, name: str, module: torch.nn.Module) -> bool:
    """Whether one of the candidates that ``message`` names is this network: its name, or its outputs."""
    for library, rival in re.findall(r"(timm|torchvision):([\w.]+)", message):
        if rival == name:
            return True
        other = _libraries.make(library, rival).eval()
        other.load_state_dict(module.state_dict())
        if agree(module, other, (3, 0, 0)):
            return True
    return False


def agree(one: torch.nn.Module, other: torch.nn.Module, shape: Sequence[int]) -> bool | None:
    """Whether outputs on a random picture are equal to five digits; ``None`` where they are no tensors."""
    sizes = [side or (16 if len(shape) == 4 else 224) for side in shape]
    with torch.no_grad():
        pictures = torch.randn(1, *sizes, generator=torch.Generator().manual_seed(0))
        try:
            mine, others = one(pictures), other(pictures)
        except (RuntimeError, AssertionError, ValueError, TypeError):
            return None
    if not isinstance(mine, torch.Tensor) or not isinstance(others, torch.Tensor):
        return None
    return mine.shape == others.shape and torch.allclose(mine, others, rtol=1e-5, atol=1e-6, equal_nan=True)


def clips(name: str, path: Path) -> Path:
    """Four clips of 8 frames, or of the least that torchvision says, at the size that it cuts them to."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    frames, sides = max(8, weights.meta.get("min_temporal_size", 1)), weights.transforms().crop_size
    numbers = np.random.default_rng(0).normal(size=(4, 3, frames, *sides)).astype(np.float32)
    np.savez(path, images=numbers)
    return path


def sees_clips(row: Row) -> bool:
    """Whether the network's input has frames."""
    if row["library"] != "torchvision":
        return False
    import torchvision

    return row["name"] in torchvision.models.list_models(torchvision.models.video)


def pictures(folder: Path) -> Path:
    """Four pictures of 260 × 300 pixels, smooth and coloured."""
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        coarse = Image.fromarray(generator.integers(0, 256, (13, 15, 3), dtype=np.uint8))
        coarse.resize((300, 260), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def audit(row: Row, folder: Path, images: Path, seconds: int) -> None:
    """Audit the network of ``row`` from its file alone, and write down what came of it."""
    path = folder / "weights.safetensors"
    save(row["library"], row["name"], path)
    start = time.perf_counter()
    try:
        with limit(seconds):
            report = lcaudit.audit(path, images, batch_size=2)
        row["audit"] = "audited"
        row["coverage"] = round(report.measurements.coverage, 4)
        row["layers"] = len(report.measurements.layers)
    except TooSlow:
        row["audit"] = f"stopped after {seconds} s"
    except AuditError as error:
        row["audit"] = f"{error.kind}: {error.message}"
    except Exception as error:  # a mistake of lcaudit's own, to be seen in the table
        row["audit"] = f"crash: {type(error).__name__}: {error}"
    row["audit_seconds"] = round(time.perf_counter() - start, 1)


def summary(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Numbers of networks by library and outcome."""
    return {
        library: dict(Counter(row["outcome"] for row in rows if row["library"] == library))
        for library in ("timm", "torchvision")
    }


def page(text: str, data: dict[str, Any]) -> str:
    """``text`` with the table between its two marks."""
    rows = data["rows"]
    kinds = ("recognised", "assumed, named as a rival", "ambiguous", "refused", "wrong", "crash")
    lines = ["| library | networks | " + " | ".join(kinds) + " |", "|---|---" + "|---" * len(kinds) + "|"]
    for library, counts in summary(rows).items():
        cells = [str(counts.get(kind, 0)) for kind in kinds]
        lines.append(f"| {library} {data['libraries'][library]} | {sum(counts.values())} | {' | '.join(cells)} |")
    audited = [row for row in rows if row.get("audit") == "audited"]
    failed = [row for row in rows if row.get("audit") and row not in audited]
    left = sum(row["outcome"] == "recognised" for row in rows) - len(audited) - len(failed)
    lines += [
        "",
        f"Audited on four pictures from the file alone: {len(audited)} of {len(audited) + len(failed)} tried. "
        f"Recognised, but not reached in the time given: {left}.",
    ]
    if audited:
        shares = sorted(row["coverage"] for row in audited)
        lines[-1] += f" Share of the parameters in audited layers: {shares[0]:.0%} to {shares[-1]:.0%}, median "
        lines[-1] += f"{shares[len(shares) // 2]:.0%}."
    if failed:
        lines += ["", "Not audited:", ""]
        lines += [f"* {row['library']}:{row['name']}: {row['audit']}" for row in failed]
    for kind in kinds[1:]:
        these = [row for row in rows if row["outcome"] == kind]
        if these:
            lines += ["", f"{kind.capitalize()}:", ""]
            lines += [f"* {row['library']}:{row['name']}: {row['answer'][:240]}" for row in these]
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    table = "\n".join(lines)
    return f"{text[:begin]}\n{table}\n{text[end:]}"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", type=int, default=170)
    parser.add_argument("--torchvision", type=int, default=70)
    parser.add_argument("--audit-minutes", type=float, default=20)
    parser.add_argument("--audit-limit", type=int, default=60, help="seconds for one audit")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on with what --output holds")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    data: dict[str, Any] = {"libraries": {name: _libraries.version(name) for name in ("timm", "torchvision", "torch")}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.resume and given.output.exists():
            rows = json.loads(given.output.read_text(encoding="utf-8"))["rows"]
        done = {(row["library"], row["name"]) for row in rows}
        for library, name in chosen(given.timm, given.torchvision, done):
            if (library, name) in done:
                continue
            rows.append(recognise(library, name, folder))
            print(len(rows), rows[-1]["library"], name, rows[-1]["outcome"], rows[-1]["answer"][:90], flush=True)
            write_whole(given.output, json.dumps(data | {"rows": rows}, indent=1) + "\n")
        images = pictures(folder / "pictures")
        until = time.monotonic() + 60 * given.audit_minutes
        for row in sorted(rows, key=lambda row: row["parameters"]):
            if row["outcome"] == "recognised" and "audit" not in row and time.monotonic() < until:
                probe = clips(row["name"], folder / "clips.npz") if sees_clips(row) else images
                audit(row, folder, probe, given.audit_limit)
                print(row["name"], row["audit"], row.get("coverage", ""), row["audit_seconds"], flush=True)
                write_whole(given.output, json.dumps(data | {"rows": rows}, indent=1) + "\n")
    print(summary(rows))
    if given.page:
        write_whole(given.page, page(given.page.read_text(encoding="utf-8"), data | {"rows": rows}))


if __name__ == "__main__":
    main()
