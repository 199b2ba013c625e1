"""``lcaudit export``, and what ``check`` and ``identify`` make of the file it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lcaudit import checkpoints
from lcaudit.core import files
from lcaudit.core.outcomes import Report
from lcaudit.core.serial import load, parse_json
from lcaudit.demo import WEIGHTS
from lcaudit.probes import digits
from tests.mend import mend_networks as networks

Run = Callable[..., object]


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()


def changed(path: Path, into: Path, **texts: str) -> Path:
    """A copy with other metadata; an empty text removes an entry."""
    told = metadata(path) | {f"lcaudit.{key}": text for key, text in texts.items()}
    save_file(load_file(path), into, metadata={key: text for key, text in told.items() if text})
    return into


def report(path: Path) -> Report:
    return load(Report, parse_json(path.read_bytes()))


@pytest.fixture
def exported(lcaudit: Run, tmp_path: Path) -> Path:
    out = tmp_path / "copy.safetensors"
    moments = ("--mean", digits.MEAN[0], "--std", digits.STD[0])
    ran = lcaudit("export", WEIGHTS, "-o", out, "--data", "digits", "--samples", "300", *moments)
    assert ran.code == 0, ran.err
    assert "\nconfirmed: " in f"\n{ran.err}"
    return out


def test_the_next_audit_needs_no_guess(lcaudit: Run, exported: Path, tmp_path: Path) -> None:
    told, original = metadata(exported), checkpoints.open_checkpoint(WEIGHTS)
    assert told["lcaudit.sha256"] == original.record.sha256 and told["lcaudit.range"] == "0,1"
    copy = checkpoints.open_checkpoint(exported)
    assert copy.tensors.keys() == original.tensors.keys()
    for key, value in copy.tensors.items():
        assert value.dtype == original.tensors[key].dtype and torch.equal(value, original.tensors[key])
    ran = lcaudit("identify", exported)
    assert ran.code == 0 and "declared" in ran.out and told["lcaudit.arch"] in ran.out
    # samples without a name: nothing but the file says how they are normalised
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8))
    for path, sure, mean in ((WEIGHTS, "identified", None), (exported, "declared", told["lcaudit.mean"])):
        lcaudit("check", path, "--data", tmp_path / "x.npz", "--export", f"json={tmp_path / 'r.json'}")
        found = report(tmp_path / "r.json").measurements
        assert found.network.confidence == sure
        if mean:
            assert found.probe.normalisation.mean == tuple(map(float, mean.split(",")))
            assert "metadata" in found.probe.normalisation.source


@pytest.mark.parametrize("arch", ["densenet_cifar", "timm:resnet18", "nothing_known", "x.py:make"])
def test_a_claim_that_the_weights_contradict_is_named_and_not_believed(
    lcaudit: Run, exported: Path, tmp_path: Path, arch: str
) -> None:
    liar = changed(exported, tmp_path / "liar.safetensors", arch=arch)
    lcaudit("check", liar, "--data", "digits", "--samples", "50", "--export", f"json={tmp_path / 'r.json'}")
    record = report(tmp_path / "r.json").measurements.network
    assert record.confidence != "declared"
    assert any(one.step == "contradicted" and "metadata" in one.says for one in record.evidence)
    ran = lcaudit("identify", liar)
    assert ran.code == 0 and "contradicted" in ran.out and "confidence     identified" in ran.out


def test_claims_about_the_input_are_held_against_the_network(lcaudit: Run, exported: Path, tmp_path: Path) -> None:
    liar = changed(exported, tmp_path / "liar.safetensors", input_size="5,8,8", variant='{"classes": 7}')
    lcaudit("check", liar, "--data", "digits", "--samples", "50", "--export", f"json={tmp_path / 'r.json'}")
    record = report(tmp_path / "r.json").measurements.network
    said = [one.says for one in record.evidence if one.step == "contradicted"]
    assert any("5 × 8 × 8" in one for one in said) and any("classes 7" in one for one in said)
    assert record.input_shape[0] != 5 and record.classes == 10


def test_a_wrong_normalisation_is_contradicted_by_the_probe(lcaudit: Run, exported: Path, tmp_path: Path) -> None:
    mean = metadata(exported)["lcaudit.mean"]
    liar = changed(exported, tmp_path / "liar.safetensors", mean="0.9", std="0.05")
    lcaudit("check", liar, "--data", "digits", "--samples", "300", "--export", f"json={tmp_path / 'r.json'}")
    found = report(tmp_path / "r.json").measurements
    assert found.identification is not None and found.identification.decision != "agrees"
    assert found.probe.normalisation.mean != (0.9,) or found.identification.decision in ("contradicted", "ambiguous")
    out = tmp_path / "again.safetensors"
    ran = lcaudit("export", exported, "-o", out, "--data", "digits", "--mean", "0.9", "--std", "0.05")
    assert ran.code == 2 and "contradicts" in ran.err and not out.exists()
    declared, best = ran.err.index("mean 0.9, std 0.05"), ran.err.index("the best (")
    assert declared < best  # what does not fit, before what does
    assert metadata(exported)["lcaudit.mean"] == mean


def test_a_normalisation_that_the_probe_cannot_tell_from_others_is_not_written(lcaudit: Run, tmp_path: Path) -> None:
    out = tmp_path / "copy.safetensors"
    ran = lcaudit("export", WEIGHTS, "-o", out, "--data", "digits", "--samples", "300")
    assert ran.code == 0 and "not confirmed:" in ran.err and "no normalisation written" in ran.err
    assert not {"lcaudit.mean", "lcaudit.std", "lcaudit.range"} & metadata(out).keys()


def test_nothing_unknown_is_written(lcaudit: Run, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain.safetensors"
    save_file(networks.uncentred_head().state_dict(), tmp_path / "model.safetensors")
    ran = lcaudit("export", tmp_path / "model.safetensors", "--arch", f"{networks.__file__}:mlp", "-o", out)
    assert ran.code == 0 and "no normalisation written" in ran.err and "pass --arch again" in ran.err
    assert not {"lcaudit.arch", "lcaudit.mean", "lcaudit.std"} & metadata(out).keys()
    assert str(Path(networks.__file__).name) not in str(metadata(out))


def test_the_configuration_says_how_the_input_is_prepared_here_too(
    lcaudit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lcaudit.toml").write_text(f'mean = "{digits.MEAN[0]}"\nstd = "0.25"\nfail-on = "info"\nsamples = "auto"\n')
    assert lcaudit("export", WEIGHTS, "-o", "copy.safetensors").code == 0
    assert metadata(Path("copy.safetensors"))["lcaudit.std"] == "0.25"
    assert lcaudit("export", WEIGHTS, "-o", "other.safetensors", "--std", "0.5").code == 0
    assert metadata(Path("other.safetensors"))["lcaudit.std"] == "0.5"


def test_a_file_is_never_overwritten_unasked(
    lcaudit: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported.read_bytes()
    for line, why in (
        (("export", exported, "-o", exported), "which is to be read"),
        (("export", WEIGHTS, "-o", exported), "exists"),
        (("export", WEIGHTS, "-o", tmp_path / "x.bin"), ".safetensors"),
        (("export", WEIGHTS, "-o", tmp_path / "y.safetensors", "--mean", "0.5"), "--std"),
    ):
        ran = lcaudit(*line)
        assert ran.code == 2 and why in ran.err, ran.err
    assert lcaudit("export", WEIGHTS, "-o", exported, "--overwrite").code == 0

    def full(path: Path, mode: str, text: object) -> None:
        raise OSError(28, "No space left on device")

    written = exported.read_bytes()
    assert written != before  # without data no normalisation is known
    monkeypatch.setattr(files, "_write", full)
    assert lcaudit("export", WEIGHTS, "-o", exported, "--overwrite", "--mean", "0.5", "--std", "0.5").code == 2
    assert exported.read_bytes() == written and [path.name for path in tmp_path.glob("*.part")] == []


def test_tied_weights_stay_tied(lcaudit: Run, tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "class Tied(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one = torch.nn.Linear(4, 4)\n"
        "        self.two = torch.nn.Linear(4, 4)\n"
        "        self.two.weight = self.one.weight\n"
        "    def forward(self, x):\n"
        "        return self.two(self.one(x))\n"
    )
    (tmp_path / "net.py").write_text(code)
    found: dict = {}
    exec(code, found)
    model = found["Tied"]()
    torch.save(model.state_dict(), tmp_path / "tied.pt")
    out = tmp_path / "tied.safetensors"
    assert lcaudit("export", tmp_path / "tied.pt", "--arch", f"{tmp_path / 'net.py'}:Tied", "-o", out).code == 0
    stored = load_file(out)
    assert len(stored) == 3 and metadata(out)["two.weight"] == "one.weight"
    again = checkpoints.open_checkpoint(out).tensors
    assert again["two.weight"].data_ptr() == again["one.weight"].data_ptr()
    assert torch.equal(again["one.weight"], model.one.weight)


def test_a_network_of_transformers_is_described_by_its_configuration(lcaudit: Run, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=20, max_position_embeddings=8, **sizes)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    copy = tmp_path / "copy.safetensors"
    ran = lcaudit("export", str(tmp_path / "bert"), "-o", str(copy))
    assert ran.code == 0 and "put that file beside the copy" in ran.err, ran.err
    assert "--mean" not in ran.err and "normalisation" not in ran.err  # it reads tokens
    ran = lcaudit("export", str(tmp_path / "bert"), "-o", str(copy), "--mean", "0.5", "--std", "0.5", "--overwrite")
    assert ran.code == 2 and "have no meaning for token ids" in ran.err
    (tmp_path / "config.json").write_bytes((tmp_path / "bert" / "config.json").read_bytes())
    assert "BertForSequenceClassification" in lcaudit("identify", str(copy)).out


def test_a_graph_is_audited_where_it_is(lcaudit: Run, tmp_path: Path) -> None:
    """No --arch was given, so none can be given again."""
    torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),)), tmp_path / "a.pt2")
    ran = lcaudit("export", str(tmp_path / "a.pt2"), "-o", str(tmp_path / "copy.safetensors"))
    assert ran.code == 0 and "audit MODEL, or the copy with --arch" in ran.err and "again" not in ran.err
