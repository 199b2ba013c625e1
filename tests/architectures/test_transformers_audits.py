"""Whole audits of networks of transformers from their folders; which layers are measured, and which not and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra 'text' is not installed")

import transformers_cases as cases

import lcaudit

NOT_REACHED = "its output does not reach the loss"
ONE_FOR_ALL = "its rows do not grow with the batch, so that gradients of single samples cannot be told apart"
#: Linear layers that are not measured, by the beginning or end of their names, and why.
LEFT: dict[str, tuple[str, str]] = {
    "pooler.dense": (NOT_REACHED, "the base network's own pooling is not used"),
    "query_proj": (ONE_FOR_ALL, "DeBERTa applies it to relative positions too"),
    "key_proj": (ONE_FOR_ALL, "likewise"),
    "continuous_position_bias_mlp.0": (ONE_FOR_ALL, "Swin 2 computes its positions"),
    "continuous_position_bias_mlp.2": (ONE_FOR_ALL, "likewise"),
}


@pytest.mark.parametrize("name", cases.ALL)
def test_every_matrix_is_measured_or_named(name: str, tmp_path: Path) -> None:
    own = cases.save(tmp_path / "network", name)
    if name.endswith("ForMaskedLM"):  # tokens are hidden, so that there is something to tell
        known = {"mask_token": "[MASK]", "added_tokens_decoder": {"2": {"content": "[MASK]"}}}
        (tmp_path / "network" / "tokenizer_config.json").write_text(json.dumps(known))
    draw = np.random.default_rng(0)
    more = {}
    if name in cases.TEXT:
        np.savez(tmp_path / "probe.npz", input_ids=draw.integers(3, cases.VOCABULARY, (20, 8)))
    else:
        np.savez(tmp_path / "probe.npz", images=draw.random((20, 32, 32, 3), dtype=np.float32))
        more = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    task = "regression" if name.endswith("Model") and "LMHead" not in name else "auto"
    report = lcaudit.audit(tmp_path / "network", tmp_path / "probe.npz", task=task, **more)
    found = report.measurements
    assert found.network.confidence == "declared" and found.settings.task == task.replace("auto", "classification")
    measured = {one.layer.name for one in found.layers}
    reasons = {one.name: one.reason for one in found.not_audited}
    matrices = {key for key, part in own.named_modules() if isinstance(part, torch.nn.Linear)}
    matrices |= {key for key, part in own.named_modules() if type(part).__name__ == "Conv1D"}
    assert len(matrices) >= 1 and matrices & measured
    for key in matrices - measured:
        (why,) = [why for end, (why, _) in LEFT.items() if key.endswith(end)]
        assert why in reasons[key], reasons


def test_conv1d_of_gpt2_has_the_moments_of_its_own_inputs(tmp_path: Path) -> None:
    """transformers' ``Conv1D`` stores a matrix as inputs × outputs and applies it with ``addmm``."""
    own = cases.save(tmp_path / "network", "GPT2ForSequenceClassification")
    ids = np.random.default_rng(1).integers(3, cases.VOCABULARY, (60, 8))
    np.savez(tmp_path / "probe.npz", input_ids=ids)
    found = lcaudit.audit(tmp_path / "network", tmp_path / "probe.npz").measurements
    layer = next(one for one in found.layers if one.layer.name == "transformer.h.1.mlp.c_fc")
    assert (layer.layer.inputs, layer.layer.outputs, layer.layer.parameters) == (32, 128, 32 * 128 + 128)
    rows: list[torch.Tensor] = []
    own.transformer.h[1].mlp.c_fc.register_forward_pre_hook(lambda module, args: rows.append(args[0].reshape(-1, 32)))
    with torch.no_grad(), cases.quiet():
        own(input_ids=torch.from_numpy(ids))
    (x,) = (one.double() for one in rows)
    expected = float(torch.linalg.eigvalsh(x.T @ x / len(x))[-1])
    assert layer.input.largest.value == pytest.approx(expected, rel=0.02)  # corrected for sampling
