"""Token ids from the command line to the report: never scaled, padding left out, labels for each token."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from lcaudit.core.serial import parse_json

NETWORK = """
import torch


def make():
    return torch.nn.Sequential(torch.nn.Embedding(20, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4))


make.input_shape = (9,)
make.num_classes = 4
"""
COUNT, LONG, VOCABULARY = 120, 9, 20


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], torch.nn.Module]:
    """A folder with a network and its weights; ids, mask, and labels that it is right about; the network."""
    folder = tmp_path_factory.mktemp("tagger")
    (folder / "network.py").write_text(NETWORK)
    found: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(NETWORK, found)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = found["make"]()
    save_file(network.state_dict(), folder / "model.safetensors")
    rng = np.random.default_rng(0)
    real = np.arange(LONG) < rng.integers(2, LONG + 1, COUNT)[:, None]
    ids = np.where(real, rng.integers(1, VOCABULARY, (COUNT, LONG)), 0)
    with torch.no_grad():
        labels = network(torch.from_numpy(ids)).argmax(-1).numpy()
    return folder, {"input_ids": ids, "attention_mask": real.astype(np.int64), "labels": labels}, network


def arguments(folder: Path, data: Path, *more: str) -> tuple[object, ...]:
    return ("check", folder / "model.safetensors", "--arch", f"{folder / 'network.py'}:make", "--data", data, *more)


def report() -> dict:
    return parse_json(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))["measurements"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("task", ["auto", "classification"])
def test_tokens_with_padding_and_a_label_for_each(lcaudit, tagger, tmp_path: Path, suffix: str, task: str) -> None:
    folder, arrays, network = tagger
    real = arrays["attention_mask"].astype(bool)
    labels = np.where(real, arrays["labels"], -1)  # what stands at padding does not matter
    labels[0, 0] = -7
    path = tmp_path / f"a{suffix}"
    arrays = arrays | {"labels": labels}
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_arrays(arrays, path)
    ran = lcaudit(*arguments(folder, path, "--task", task, "--ignore-index", "-7"))
    assert ran.code in (0, 1), ran.err
    assert "token ids, as they are" in ran.out
    measured = report()
    assert measured["fit"]["error"]["value"] == 0.0
    probe = measured["probe"]
    assert probe["shape"] == [LONG] and probe["normalisation"]["source"] == "token ids, as they are"
    words = "; ".join(probe["preprocessing"])
    assert f"{1 - real.mean():.1%} of the positions are padding" in words and "divided" not in words
    head = next(one for one in measured["layers"] if one["layer"]["name"] == "2")
    with torch.no_grad():
        rows = network[:2](torch.from_numpy(arrays["input_ids"]))[torch.from_numpy(real)].double()
    expected = float(torch.linalg.eigvalsh(rows.T @ rows / len(rows))[-1])
    found = head["input"]["largest"]["value"]
    assert found == pytest.approx(expected, rel=0.02)  # corrected for sampling


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_integers_for_an_embedding_are_tokens_whatever_their_name(lcaudit, tagger, tmp_path: Path, dtype) -> None:
    folder, arrays, _ = tagger
    np.savez(tmp_path / "a.npz", x=arrays["input_ids"].astype(dtype), y=arrays["labels"])
    ran = lcaudit(*arguments(folder, tmp_path / "a.npz"))
    assert ran.code in (0, 1), ran.err
    assert report()["fit"]["error"]["value"] == 0.0
    assert any("integers for a network with an embedding" in step for step in report()["probe"]["preprocessing"])


def test_exact_takes_tokens(lcaudit, tagger, tmp_path: Path) -> None:
    folder, arrays, _ = tagger
    pooled = (
        "\n\ndef pool():\n    class Mean(torch.nn.Module):\n        def forward(self, x):\n            return x.mean(1)"
    )
    pooled += "\n\n    return torch.nn.Sequential(*make(), Mean())\n"
    (folder / "pooled.py").write_text(NETWORK + pooled)
    np.savez(tmp_path / "a.npz", tokens=arrays["input_ids"])
    given = [f"{folder / 'pooled.py'}:pool" if str(one).endswith(":make") else one for one in
             arguments(folder, tmp_path / "a.npz", "--exact", "ggn", "--exact-layer", "2")]  # fmt: skip
    ran = lcaudit(*given)
    assert ran.code in (0, 1), ran.err
    assert report()["exact"]


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        ({"input_ids": lambda ids: ids + 15}, (), "largest token id 34, the vocabulary is 0 to 19 (embedding 0)"),
        ({"input_ids": lambda ids: ids - 1}, (), "smallest token id -1, the vocabulary is 0 to 19"),
        ({"input_ids": lambda ids: ids / 2}, (), "token ids are no integers"),
        ({"input_ids": lambda a: a[:, :7], "attention_mask": lambda a: a[:, :7]}, (), "7 tokens, the network takes"),
        ({"attention_mask": lambda mask: mask[:, :5]}, (), "attention_mask has shape (120, 5)"),
        ({"attention_mask": lambda mask: mask * 2}, (), "other values than 0 and 1"),
        ({"attention_mask": lambda mask: mask * (np.arange(COUNT) != 4)[:, None]}, (), "sample 4 has no real token"),
        ({}, ("--mean", "0.5", "--std", "0.5"), "no meaning for token ids"),
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_used(lcaudit, tagger, tmp_path: Path, change, more, says: str) -> None:
    folder, arrays, _ = tagger
    np.savez(tmp_path / "a.npz", **arrays | {name: edit(arrays[name]) for name, edit in change.items()})
    ran = lcaudit(*arguments(folder, tmp_path / "a.npz", *more))
    assert ran.code == 2 and says in ran.err, ran.err


def test_an_id_beyond_one_of_several_embeddings_is_named(lcaudit, tagger, tmp_path: Path) -> None:
    """Which embedding reads the ids is only seen when the network runs."""
    folder, arrays, _ = tagger
    extra = "\n\ndef two():\n    network = make()\n    network.places = torch.nn.Embedding(99, 4)\n    "
    extra += "network.forward = lambda x: network[2](network[1](network[0](x)))\n    return network\n"
    (folder / "two.py").write_text(NETWORK + extra)
    found: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(NETWORK + extra, found)
    save_file(found["two"]().state_dict(), tmp_path / "two.safetensors")
    np.savez(tmp_path / "a.npz", input_ids=arrays["input_ids"] + 15)
    ran = lcaudit(
        "check", tmp_path / "two.safetensors", "--arch", f"{folder / 'two.py'}:two", "--data", tmp_path / "a.npz"
    )
    assert ran.code == 2
    assert re.search(r"the largest token id here is 3\d, of the embeddings 0 has 20, places has 99", ran.err)


def test_bytes_that_an_embedding_reads_are_asked_for_under_another_name(lcaudit, tagger, tmp_path: Path) -> None:
    """Bytes may be pixels, so that their name must say what they are."""
    folder, arrays, _ = tagger
    ids = arrays["input_ids"].astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=ids, y=arrays["labels"])
    ran = lcaudit(*arguments(folder, tmp_path / "a.npz"))
    assert ran.code == 2 and "save them as int64 under the name input_ids" in ran.err
    np.savez(tmp_path / "b.npz", input_ids=ids, y=arrays["labels"])
    assert lcaudit(*arguments(folder, tmp_path / "b.npz")).code in (0, 1)
