"""Text from the command line to the report, with a network of the user's own that says how it reads text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lcaudit.core.serial import parse_json
from tests.text_cases import WORDS, Reader, save_tokenizer, texts

pytest.importorskip("tokenizers")
NETWORK = """
from tests.text_cases import Reader


def make():
    return Reader("{objective}")


make.input_shape = (0,)
make.text = {text}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of a causal reader with its tokenizer beside it, and text."""
    place = tmp_path / "model"
    place.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(Reader("causal").state_dict(), place / "model.safetensors")
    save_tokenizer(place / "tokenizer.json", special=False)
    (tmp_path / "probe.txt").write_text("\n".join(texts(400)))
    return place


def arguments(folder: Path, text: object, *more: object, objective: str = "causal") -> tuple[object, ...]:
    network = folder / "network.py"
    network.write_text(NETWORK.format(objective=objective, text=text))
    return ("check", folder / "model.safetensors", "--arch", f"{network}:make", "--data",
            folder.parent / "probe.txt", *more)  # fmt: skip


def test_a_causal_network_of_the_users_own(lcaudit, folder: Path) -> None:
    said = {"objective": "causal", "longest": 12, "padding": 0}
    ran = lcaudit(*arguments(folder, said))
    assert ran.code in (0, 1), ran.err
    assert "next-token error" in ran.out and "nat" in ran.out and "a token, perplexity" in ran.out
    assert "another tokenizer" in ran.out or ran.code == 0
    report = parse_json(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))["measurements"]
    assert report["fit"]["prediction"] == "next token" and report["probe"]["shape"] == [12]
    assert report["settings"]["task_evidence"] == "each output scores the next token"
    assert any("tokenised with tokenizer.json" in word for word in report["probe"]["preprocessing"])
    assert {layer["layer"]["name"] for layer in report["layers"]} >= {"tokens", "mix", "head"}
    page = Path("lcaudit-report/report.html").read_text(encoding="utf-8")
    assert "next-token error" in page and "perplexity" in page
    assert "perplexity" in lcaudit("report", "lcaudit-report/report.json").out
    short = lcaudit(*arguments(folder, said, "--max-tokens", "6", "--dry-run"))
    assert short.code == 0, short.err


def test_the_tokenizer_may_lie_elsewhere_or_nowhere(lcaudit, folder: Path, tmp_path: Path) -> None:
    said = {"objective": "causal", "longest": 12, "padding": 0}
    elsewhere = tmp_path / "words.json"
    (folder / "tokenizer.json").rename(elsewhere)
    ran = lcaudit(*arguments(folder, said))
    assert ran.code == 2 and "there is no tokenizer.json beside the weights" in ran.err and "--tokenizer" in ran.err
    assert lcaudit(*arguments(folder, said, "--tokenizer", elsewhere, "--samples", "50")).code in (0, 1)
    assert lcaudit(*arguments(folder, said | {"tokenizer": "../words.json"}, "--samples", "50")).code in (0, 1)
    ran = lcaudit(*arguments(folder, said, "--tokenizer", tmp_path / "absent.json"))
    assert ran.code == 2 and "absent.json" in ran.err


def test_without_the_library_one_line_names_the_extra(lcaudit, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "tokenizers" else find(name, *a))
    ran = lcaudit(*arguments(folder, {"objective": "causal", "longest": 12}))
    assert ran.code == 2 and "pip install 'lcaudit[text]'" in ran.err


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"longest": 12}, "objective"),
        ({"objective": "causal"}, "longest"),
        ({"objective": "next", "longest": 12}, "objective"),
        ({"objective": "causal", "longest": 1}, "longest"),
        ({"objective": "causal", "longest": 12, "padding": -1}, "padding"),
        ({"objective": "causal", "longest": 12, "padding": True}, "padding"),
        ({"objective": "causal", "longest": 12, "tokenizer": 3}, "tokenizer"),
        ({"objective": "causal", "longest": 12, "pad": 0}, "pad"),
    ],
)
def test_what_a_network_says_of_its_text_is_checked(lcaudit, folder: Path, said: dict, wrong: str) -> None:
    ran = lcaudit(*arguments(folder, said))
    assert ran.code == 2 and f"text in network.py: {wrong} is missing, unknown" in ran.err and "'objective'" in ran.err


def test_the_vocabulary_of_another_tokenizer_is_refused(lcaudit, folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text().replace(f'"far": {len(WORDS) - 1}', f'"far": {len(WORDS) + 80}')
    (folder / "tokenizer.json").write_text(text)
    ran = lcaudit(*arguments(folder, {"objective": "causal", "longest": 12}))
    assert ran.code == 2 and f"largest token id {len(WORDS) + 80}, the vocabulary is 0 to {len(WORDS) - 1}" in ran.err
