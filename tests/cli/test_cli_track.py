"""``lcaudit track``: ten checkpoints of a network trained here, stopped half-way, and gone on with."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.cli.small_network import NETWORK, options, trained

STEPS = (0, 1, 2, 5, 10, 20, 40, 80, 120, 160)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Ten checkpoints of a network trained on the digits."""
    folder = tmp_path_factory.mktemp("track")
    (folder / "network.py").write_text(NETWORK)
    (folder / "run").mkdir()
    for step, state in enumerate(trained(max(STEPS))):
        if step in STEPS:
            save_file(dict(state), folder / "run" / f"step-{step:04d}.safetensors")
    return folder


@pytest.fixture(scope="module")
def whole(run_folder) -> Path:
    """The history of a run that nothing stopped."""
    from lcaudit.cli import main

    folder = run_folder / "whole"
    assert main(["track", str(run_folder / "run"), *options(run_folder), "-o", str(folder), "-qq"]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_layer_at_every_step(run_folder, whole):
    lines = (whole / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(STEPS)
    entries = json.loads(lines[-1])["entries"]
    metrics = {entry["metric"] for entry in entries}
    assert {"input.kappa_80", "gradient.largest", "input.rank", "weight.norm", "gradient.norm"} <= metrics
    assert {entry["layer"] for entry in entries} == {"0", "3", "5"}
    (norm,) = [entry for entry in entries if (entry["layer"], entry["metric"]) == ("5", "weight.norm")]
    last = load_file(run_folder / "run" / "step-0160.safetensors")
    assert norm["value"] == pytest.approx(last["5.weight"].norm().item(), rel=1e-5)
    page = (whole / "timeline.html").read_text()
    assert page.count("<svg") > 10 and "<script" not in page and "Conditioning over training" in page
    document = json.loads((whole / "timeline.json").read_text())
    assert len(document["points"]) == len(STEPS)


def test_killed_half_way_and_started_again_gives_the_same_bytes(run_folder, whole, tmp_path):
    folder = tmp_path / "stopped"
    command = [
        sys.executable,
        "-m",
        "lcaudit",
        "track",
        str(run_folder / "run"),
        *options(run_folder),
        "-o",
        str(folder),
    ]
    process = subprocess.Popen([*command, "-qq"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    history = folder / "history.jsonl"
    while process.poll() is None and not (history.exists() and history.read_bytes().count(b"\n") >= 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = history.read_bytes()
    assert 4 <= done.count(b"\n") < len(STEPS), "it was not stopped half-way"
    # the worst moment: half of a line is on the disk
    history.write_bytes(done[: done.rfind(b"\n") + 1] + (whole / "history.jsonl").read_bytes().splitlines()[-1][:700])
    again = subprocess.run([*command], capture_output=True, check=True, text=True)
    assert again.stderr.count("measuring samples: 400 in all") == len(STEPS) - done.count(b"\n"), (
        "skips what is measured"
    )
    assert contents(folder) == contents(whole)


def test_what_is_measured_is_skipped_and_what_is_new_is_added(run_folder, whole, lcaudit):
    shutil.copytree(whole, "history")
    before = (Path("history") / "history.jsonl").read_bytes()
    again = lcaudit("track", run_folder / "run", *options(run_folder), "-o", "history")
    assert again.code == 0 and "measuring" not in again.err and contents(Path("history")) == contents(whole)
    shutil.copy(run_folder / "run" / "step-0160.safetensors", "step-0999.safetensors")
    copied = lcaudit("track", "step-0999.safetensors", *options(run_folder), "-o", "history")
    assert copied.code == 0 and "measuring" not in copied.err, "the same weights under another name"
    other = lcaudit("track", "step-0999.safetensors", *options(run_folder, 300), "-o", "history")
    assert other.code == 0 and "10 checkpoints of the history measured in another way" in other.out
    after = (Path("history") / "history.jsonl").read_bytes()
    assert after.startswith(before) and after.count(b"\n") == len(STEPS) + 1


def test_a_broken_file_is_named_and_the_others_are_measured(run_folder, lcaudit):
    Path("run").mkdir()
    shutil.copy(run_folder / "run" / "step-0000.safetensors", "run/1.safetensors")
    Path("run/2.safetensors").write_bytes(b"half of a fi")
    shutil.copy(run_folder / "run" / "step-0160.safetensors", "run/3.safetensors")
    ran = lcaudit("track", "run", *options(run_folder), "-o", "out")
    assert ran.code == 3 and "not measured: run/2.safetensors: " in ran.err
    assert len((Path("out") / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["track", "empty", "--data", "digits"], "no checkpoint in it"),
        (["track", "absent.pt", "--data", "digits"], "no such file"),
        (["track", "absent.pt", "--data", "digits", "--samples", "auto"], "--samples auto"),
        (["track", "--data", "digits"], "CHECKPOINTS"),
        (["track", "a.pt", "--data", "digits", "-o", "odd"], "line 1 of the history"),
    ],
)
def test_wrong_usage_is_one_line(lcaudit, arguments, said):
    Path("empty").mkdir()
    Path("odd").mkdir()
    Path("odd/history.jsonl").write_text('{"a": 1}\n')
    ran = lcaudit(*arguments)
    assert ran.code == 2 and said in ran.err and "Traceback" not in ran.err
