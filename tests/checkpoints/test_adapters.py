"""LoRA adapters over a base: merged as they act when they are left apart, or refused with what stands in the way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lcaudit
from lcaudit import checkpoints
from lcaudit.core.errors import AuditError, MalformedInput, UsageError
from lcaudit.core.types import Checkpoint

RANK, WIDTH, HIDDEN = 2, 6, 5
CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": RANK, "lora_alpha": 6, "bias": "none", "target_modules": ["0", "2"], "use_dora": False,
    "base_model_name_or_path": "somebody/base", "fan_in_fan_out": False, "use_rslora": False, "rank_pattern": {},
    "init_lora_weights": True, "lora_dropout": 0.1, "peft_version": "0.21.2", "loftq_config": {}, "revision": None,
}  # fmt: skip


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def written(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """An adapter as peft writes it; entries of ``config`` that are ``...`` are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"base_model.model.{key}": one.contiguous() for key, one in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    said = {key: value for key, value in {**CONFIG, **config}.items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 3))


def factors(inputs: int = WIDTH, outputs: int = HIDDEN) -> dict[str, torch.Tensor]:
    return {"0.lora_A.weight": random(RANK, inputs), "0.lora_B.weight": random(outputs, RANK)}


@pytest.fixture
def base(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    made = network()
    (tmp_path / "base").mkdir()
    save_file(made.state_dict(), tmp_path / "base" / "model.safetensors")
    return tmp_path / "base", made


def merged(folder: Path, base: Path | None) -> Checkpoint:
    return checkpoints.with_base(checkpoints.open_checkpoint(folder), base)


@pytest.mark.parametrize("root", [False, True])
def test_the_sum_acts_as_the_two_apart(tmp_path: Path, base: tuple[Path, torch.nn.Module], root: bool) -> None:
    """The literal form: the input through W, and through A and then B, scaled, beside it."""
    folder, own = base
    low = factors()
    opened = merged(written(tmp_path / "a", low, use_rslora=root), folder)
    found = network()
    found.load_state_dict(dict(opened.tensors))
    x = random(7, WIDTH)
    scale = 6 / (math.sqrt(RANK) if root else RANK)
    with torch.no_grad():
        beside = own[0](x) + scale * torch.stack([low["0.lora_B.weight"] @ (low["0.lora_A.weight"] @ row) for row in x])
        expected = own[2](own[1](beside))
        torch.testing.assert_close(found(x), expected)
        assert (expected - own(x)).abs().max() > 0.1
    assert f"merged 1 low-rank change of rank 2, scaled by {scale:g}, into base" in opened.record.unwrapped
    assert [file.name for file in opened.record.files] == ["adapter_model.safetensors", "model.safetensors"]
    assert opened.record.name == "a"


def test_inputs_first_as_in_gpt2_and_embeddings(tmp_path: Path) -> None:
    stored = {"h.0.c_attn.weight": random(4, 9), "wte.weight": random(11, 4), "h.0.c_attn.bias": random(9)}
    (tmp_path / "base").mkdir()
    save_file(stored, tmp_path / "base" / "model.safetensors")
    low = {
        "transformer.h.0.c_attn.lora_A.weight": random(RANK, 4),
        "transformer.h.0.c_attn.lora_B.weight": random(9, RANK),
        "transformer.wte.lora_embedding_A": random(RANK, 11),
        "transformer.wte.lora_embedding_B": random(4, RANK),
    }
    found = merged(written(tmp_path / "a", low, fan_in_fan_out=True), tmp_path / "base").tensors
    first, second, third, fourth = low.values()
    torch.testing.assert_close(found["h.0.c_attn.weight"], stored["h.0.c_attn.weight"] + 3 * (second @ first).T)
    torch.testing.assert_close(found["wte.weight"], stored["wte.weight"] + 3 * (fourth @ third).T)
    assert torch.equal(found["h.0.c_attn.bias"], stored["h.0.c_attn.bias"])


def test_tensors_that_were_trained_whole(tmp_path: Path, base: tuple[Path, torch.nn.Module]) -> None:
    whole = {"2.weight": random(3, HIDDEN), "2.bias": random(3), "0.base_layer.weight": random(HIDDEN, WIDTH)}
    low = factors()
    found = merged(written(tmp_path / "a", low | whole), base[0])
    assert torch.equal(found.tensors["2.bias"], whole["2.bias"])
    change = 3 * low["0.lora_B.weight"] @ low["0.lora_A.weight"]
    torch.testing.assert_close(found.tensors["0.weight"], whole["0.base_layer.weight"] + change)
    assert any(words.startswith("took 3 tensors from the adapter whole") for words in found.record.unwrapped)


def test_half_precision_is_widened_before_it_is_added(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    save_file({"0.weight": random(HIDDEN, WIDTH).bfloat16()}, tmp_path / "base" / "model.safetensors")
    assert merged(written(tmp_path / "a", factors()), tmp_path / "base").tensors["0.weight"].dtype == torch.float32


def test_an_audit_of_an_adapter(tmp_path: Path, base: tuple[Path, torch.nn.Module]) -> None:
    np.savez(tmp_path / "probe.npz", x=np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32))
    folder = written(tmp_path / "a", factors())
    (tmp_path / "network.py").write_text(
        f"import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear({WIDTH}, {HIDDEN}), "
        f"torch.nn.Tanh(), torch.nn.Linear({HIDDEN}, 3))\n"
    )
    arch = f"{tmp_path / 'network.py'}:make"
    report = lcaudit.audit(folder, tmp_path / "probe.npz", base=base[0], arch=arch)
    assert any("merged 1 low-rank change" in words for words in report.measurements.checkpoint.unwrapped)
    plain = lcaudit.audit(base[0], tmp_path / "probe.npz", arch=arch)
    assert report.measurements.checkpoint.sha256 != plain.measurements.checkpoint.sha256
    assert report.measurements.layers[1].input.largest != plain.measurements.layers[1].input.largest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora = True, which lcaudit does not merge"),
        ({"bias": "all"}, "bias = all"),
        ({"rank_pattern": {"0": 4}}, "rank_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa"),
        ({"init_lora_weights": [1]}, "init_lora_weights"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"something_new\x1b": 1}, r"something_new\x1b = 1"),
        ({"peft_type": "IA3"}, "of the kind IA3, expected LORA"),
        ({"r": 0}, "r = 0"),
        ({"r": 3}, "no pair of rank 3"),
        ({"r": True}, "r = True"),
        ({"lora_alpha": "6"}, "lora_alpha = 6"),
        ({"lora_alpha": ...}, "lora_alpha = None"),
        ({"fan_in_fan_out": True}, "is 6×5, the base's weight 5×6"),
        ({"fan_in_fan_out": "yes"}, "fan_in_fan_out"),
        ({"use_rslora": 1}, "lora_alpha"),
    ],
)  # fmt: skip
def test_what_would_be_another_sum(
    tmp_path: Path, base: tuple[Path, torch.nn.Module], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MalformedInput) as caught:
        merged(written(tmp_path / "a", factors(), **change), base[0])
    assert message in caught.value.message.encode("unicode_escape").decode() or message in caught.value.message
    assert "merge" in caught.value.hint or "--base" in caught.value.hint


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"0.lora_A.weight": (RANK, WIDTH)}, "no pair of rank 2"),
        ({"9.lora_A.weight": (RANK, WIDTH), "9.lora_B.weight": (HIDDEN, RANK)}, "9, which has no place in the base"),
        ({"0.lora_A.weight": (RANK, 1 << 20), "0.lora_B.weight": (1 << 20, RANK)}, "is 1048576×1048576, the base's"),
        ({"0.lora_magnitude_vector": (HIDDEN,)}, "is no matrix of a plain LoRA adapter"),
        ({"0.lora_A.weight": (RANK, WIDTH, 1, 1), "0.lora_B.weight": (HIDDEN, RANK, 1, 1)}, "no pair"),
        ({"2.weight": (3, HIDDEN)}, "holds no low-rank matrices"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(
    tmp_path: Path, base: tuple[Path, torch.nn.Module], tensors: dict[str, tuple[int, ...]], message: str
) -> None:
    folder = written(tmp_path / "a", {key: torch.ones(shape) for key, shape in tensors.items()})
    with pytest.raises(MalformedInput) as caught:
        merged(folder, base[0])
    assert message in caught.value.message and caught.value.hint


def test_without_a_base_nothing_is_downloaded_for_a_folder(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", factors())
    with pytest.raises(UsageError) as caught:
        merged(folder, None)
    assert caught.value.message == "a is an adapter of somebody/base, and not a network's weights"
    assert caught.value.hint.endswith("or --base hf:somebody/base to download it")
    written(folder, factors(), base_model_name_or_path="/etc/passwd\x1b[2J")
    with pytest.raises(UsageError) as caught:
        merged(folder, None)
    assert r"/etc/passwd\x1b[2J" in caught.value.message and "hf:" not in caught.value.hint


def test_a_base_of_what_is_no_adapter(base: tuple[Path, torch.nn.Module]) -> None:
    with pytest.raises(UsageError, match="is no LoRA adapter"):
        merged(base[0], base[0])


def test_an_adapter_without_its_configuration(tmp_path: Path, base: tuple[Path, torch.nn.Module]) -> None:
    folder = written(tmp_path / "a", factors())
    (folder / "adapter_config.json").unlink()
    with pytest.raises(AuditError, match="not beside them"):
        merged(folder, base[0])


@pytest.mark.filterwarnings("ignore")
def test_merged_as_peft_merges(tmp_path: Path) -> None:
    """The library that writes adapters, where it is installed."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    transformers = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=16, vocab_size=20)
    own = transformers.GPT2LMHeadModel(config)
    own.save_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    adapted = peft.get_peft_model(own, lora)
    adapted.save_pretrained(tmp_path / "a")
    found = merged(tmp_path / "a", tmp_path / "base").tensors["transformer.h.0.attn.c_attn.weight"]
    theirs = adapted.merge_and_unload().state_dict()["transformer.h.0.attn.c_attn.weight"]
    torch.testing.assert_close(found, theirs)
