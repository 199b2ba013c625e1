"""Every wrong, damaged or hostile input gives one line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import malformed_inputs
import pytest
from malformed_inputs import CASES, SENTINEL, Case

KIND = re.compile(r"lcaudit: error\[([a-z-]+)\]")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, devices and any byte in a file name")


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line_and_nothing_else(lcaudit: Callable, tmp_path: Path, case: Case) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    arguments = case.build(folder)
    if "--data" not in arguments:
        arguments += ["--data", "digits", "--samples", "60"]
    before = entries(tmp_path)
    ran = lcaudit("check", *arguments)
    lines = ran.err.split("\n")
    assert (ran.code, ran.out) == (2, "")
    assert lines.pop() == ""
    assert lines[0].startswith(f"lcaudit: error[{case.kind or KIND.match(lines[0])[1]}]: "), ran.err
    assert case.says in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  hint: "))
    assert all(line.isprintable() and len(line) < 1100 for line in lines)
    assert "Traceback" not in ran.err and "weights_only" not in ran.err
    assert entries(tmp_path) == before, "something was written"
    assert not Path(SENTINEL).exists()


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


def test_the_payload_would_run_under_an_unsafe_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinel's absence means something: Python's own unpickler does run the payload."""
    import pickle

    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(malformed_inputs.Payload()))
    assert Path(SENTINEL).exists()
