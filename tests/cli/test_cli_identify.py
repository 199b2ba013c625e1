"""``lcaudit identify``: what it says, how little it reads, and that no name from a file reaches the terminal raw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lcaudit.cli import main
from lcaudit.core.identity import Identity
from lcaudit.core.serial import load, parse_json
from tests.library_cases import alexnet, gigantic, sparse

ROOT = Path(__file__).resolve().parents[2]
#: The exit code, the megabytes that were needed at most, and whether torch was. Not from getrusage: a process
#: inherits the most that the one which started it had needed.
MEASURED = """
import json, sys
from pathlib import Path
from lcaudit.cli import main
code = main(["identify", sys.argv[1], "--format", "json"])
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(lines["VmHWM"].split()[0]) / 1024
print(json.dumps({"code": code, "megabytes": peak, "torch": "torch" in sys.modules}))
"""


def identified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Identity]:
    code = main(["identify", str(path), "--format", "json"])
    return code, load(Identity, parse_json(capsys.readouterr().out))


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files and kilobytes of memory are as Linux has them")
def test_a_file_of_many_gigabytes_is_told_from_its_header(tmp_path: Path) -> None:
    path = sparse(tmp_path / "model.safetensors", gigantic())
    assert path.stat().st_size > 10 * 2**30
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    written, _, measured = done.stdout.rstrip().rpartition("\n")
    said = json.loads(measured)
    assert said["code"] == 0 and not said["torch"]
    assert said["megabytes"] < 100
    identity = load(Identity, parse_json(written))
    assert (identity.network.arch, identity.network.confidence) == ("timm:vit_gigantic_patch14_224", "identified")
    assert (identity.numbers, identity.dtypes) == (1_844_440_680, {"F64": 584})


def test_shards_prefixes_and_folders_are_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {f"module.{key}": shape for key, shape in alexnet().items()}
    parts = {"a.safetensors": [key for key in shapes if "features" in key]}
    parts["b.safetensors"] = [key for key in shapes if "features" not in key]
    for name, keys in parts.items():
        sparse(tmp_path / name, {key: shapes[key] for key in keys}, "F32", 4)
    weight_map = {key: name for name, keys in parts.items() for key in keys}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    code, identity = identified(tmp_path, capsys)
    assert (code, identity.network.arch, identity.container) == (0, "torchvision:alexnet", "safetensors-sharded")
    assert identity.tensors == 16 and "module." in identity.unwrapped[0]


def test_a_configuration_beside_it_is_held_against_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sparse(tmp_path / "model.safetensors", alexnet(), "F32", 4)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    code, identity = identified(tmp_path / "model.safetensors", capsys)
    assert (code, identity.network.arch) == (0, "torchvision:alexnet")
    assert [evidence.step for evidence in identity.network.evidence] == ["contradicted", "fingerprint"]


@pytest.mark.parametrize("text", ["not json", "[1]", "{" * 5000, '{"architecture": NaN}'])
def test_a_damaged_configuration_counts_as_none(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    sparse(tmp_path / "model.safetensors", alexnet(), "F32", 4)
    (tmp_path / "config.json").write_text(text)
    code, identity = identified(tmp_path, capsys)
    assert (code, len(identity.network.evidence)) == (0, 1)


def test_what_nobody_knows_is_no_verdict_and_inert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sparse(tmp_path / "model.safetensors", {"a\x1b[31m.weight": (3,), "b\u202e": (2, 2)})
    assert main(["identify", str(path)]) == 2
    out = capsys.readouterr().out
    assert "no known network has these 2 tensors" in out
    assert "\x1b" not in out and "\u202e" not in out


def test_an_adapter_is_told_what_it_goes_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = "base_model.model.h.0.attn"
    sparse(tmp_path / "a.safetensors", {f"{where}.lora_A.weight": (4, 8), f"{where}.lora_B.weight": (8, 4)})
    assert main(["identify", str(tmp_path / "a.safetensors")]) == 2
    out = capsys.readouterr().out
    assert "a LoRA adapter" in out and "--base" in out.splitlines()[-1] and "factory" not in out


def test_torch_files_are_opened_as_for_an_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    torch.save({"state_dict": layers.state_dict()}, tmp_path / "model.pt")
    code, identity = identified(tmp_path / "model.pt", capsys)
    assert (code, identity.network.arch, identity.network.confidence) == (0, "sequential", "assumed")
    assert identity.container == "torch-zip" and identity.dtypes == {"float32": 4}


@pytest.mark.parametrize("damage", ["absent", "truncated", "empty"])
def test_failures_are_one_line(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    if damage != "absent":
        sparse(path, alexnet(), "F32", 4)
        with path.open("r+b") as stream:
            stream.truncate(1000 if damage == "truncated" else 0)
    assert main(["identify", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("lcaudit: error[")
