"""A fake Hub for the whole session, and command lines run against it in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_hub import FakeHub, running

#: Looks like a token; must never be seen by anything but the Hub itself.
TOKEN = "hf_0123456789abcdefSECRET"


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command line gave."""

    code: int
    out: str
    err: str


class Machine:
    """A process with its own environment, cache and working folder, in which command lines run one by one."""

    def __init__(self, folder: Path, endpoint: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "LCAUDIT"))}
        kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "no_proxy": "127.0.0.1"}
        kept |= {"PYTHONPATH": str(Path(__file__).parents[2])}  # the package under test, however it is installed
        kept |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hub_worker.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=kept, text=True, encoding="utf-8",
        )  # fmt: skip

    def __call__(self, *arguments: object) -> Ran:
        """Run ``lcaudit *arguments``."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.process.stdin.flush()
        return Ran(*json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End it, without the seconds that Python takes to leave torch in order."""
        assert self.process.stdin and self.process.stdout
        self.process.kill()
        self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def hub() -> Iterator[FakeHub]:
    with running() as fake:
        yield fake


@pytest.fixture(scope="session")
def machine(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Online, with a token, one cache for the session."""
    made = Machine(tmp_path_factory.mktemp("machine"), hub.url, HF_TOKEN=TOKEN)
    yield made
    made.close()


@pytest.fixture(scope="session")
def away(hub: FakeHub, machine: Machine) -> Iterator[Machine]:
    """Offline, with the cache of ``machine``."""
    made = Machine(machine.folder, hub.url, HF_HUB_OFFLINE="1")
    yield made
    made.close()


@pytest.fixture
def another(hub: FakeHub, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Machines with environments of their own; in the same ``folder`` they share a cache."""
    made: list[Machine] = []

    def start(folder: Path | None = None, endpoint: str = hub.url, **environment: str) -> Machine:
        made.append(Machine(folder or tmp_path / f"machine{len(made)}", endpoint, **environment))
        return made[-1]

    yield start
    for one in made:
        one.close()
