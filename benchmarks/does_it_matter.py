"""Does it matter? What normalising the inputs that an audit points at does to training, tried out.

    python -m benchmarks.does_it_matter --data /path/cifar10 resnet20.th resnet32.th resnet44.th
    python -m benchmarks.does_it_matter --render        # the page and its plot again, from the committed JSON

Two experiments, on the CPU in one thread. (a) Small networks are trained from scratch, with and without the change that
``lcaudit.audit`` suggests for the plain one: ``benchmarks/matter_training.py``. (b) The heads of given CIFAR-10
checkpoints are trained again on frozen features, with each change: ``benchmarks/matter_heads.py``. Without ``--data``
and checkpoints only the digits that ship with lcaudit are used. Nothing of the data or the checkpoints is stored.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import matter_heads, matter_training
from benchmarks.matter_page import write_page
from lcaudit.core.machine import environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "does_it_matter.json"
PAGE = ROOT / "docs" / "does-it-matter.md"
#: Digits that the JSON keeps.
DIGITS = 5


def rounded(value: Any) -> Any:
    """The same with every float at ``DIGITS`` significant digits."""
    if isinstance(value, dict):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def experiment(checkpoints: list[Path], data: Path | None, seeds: int, share: float = 1.0) -> dict[str, Any]:
    """Both halves, as the JSON holds them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        heads = matter_heads.run(checkpoints, "cifar10", data, seeds + 1) if data else []
        training = {task.name: matter_training.run_task(task, seeds) for task in matter_training.tasks(data, share)}
        return {
            "what": "training with and without the normalisation that an audit suggests",
            "environment": asdict(environment(torch.device("cpu"))),
            "seeds": seeds,
            "heads": rounded(heads),
            "training": rounded(training),
        }
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Run, or render what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, help="CIFAR-10 ResNets that lcaudit recognises")
    parser.add_argument("--data", type=Path, help="folder with train.npz and test.npz of CIFAR-10")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the steps, into a temporary folder")
    parser.add_argument("--render", action="store_true", help="only write the page again")
    given = parser.parse_args()
    if given.quick:
        folder = Path(tempfile.mkdtemp())
        found = experiment(given.checkpoints, given.data, min(2, given.seeds), 0.05)
        write_page(found, folder / PAGE.name)
        print(folder / PAGE.name)
        return
    if not given.render:
        found = experiment(given.checkpoints, given.data, given.seeds)
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    write_page(json.loads(RESULTS.read_text(encoding="utf-8")), PAGE)


if __name__ == "__main__":
    main()
