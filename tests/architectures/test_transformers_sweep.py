"""Every class of transformers that is read: from a folder alone to the library's own outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="the extra 'text' is not installed")

import transformers_cases as cases

from lcaudit import architectures, checkpoints
from lcaudit.architectures._transformers.families import FAMILIES
from lcaudit.core.types import Network

COUNT, LONG = 3, 8


def opened(folder: Path) -> Network:
    return architectures.resolve(checkpoints.open_checkpoint(folder))


def tokens() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(3, cases.VOCABULARY, (COUNT, LONG), generator=draw)


@pytest.mark.parametrize("name", cases.TEXT)
def test_text(name: str, tmp_path: Path) -> None:
    own = cases.save(tmp_path, name)
    network = opened(tmp_path)
    assert network.record.confidence == "declared" and network.record.title.startswith(f"{name} (transformers")
    ids, mask = tokens(), torch.ones(COUNT, LONG, dtype=torch.long)
    fill = network.text.padding if network.text else own.config.pad_token_id
    if fill is not None:
        ids[1, 5:], mask[1, 5:] = fill, 0
    with torch.no_grad(), cases.quiet():
        given = network.module(ids)
        theirs = own(input_ids=ids, attention_mask=mask)
    if network.text and network.text.objective == "embedding":
        weights = mask.unsqueeze(-1).float()
        expected = (theirs.last_hidden_state * weights).sum(1) / weights.sum(1)
    else:
        expected = theirs.logits
    if expected.dim() == 3:
        given, expected = given[mask.bool()], expected[mask.bool()]
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-4, "outputs that are all alike show nothing"


@pytest.mark.parametrize("name", cases.PICTURES)
def test_pictures(name: str, tmp_path: Path) -> None:
    own = cases.save(tmp_path, name)
    network = opened(tmp_path)
    pictures = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), cases.quiet():
        given = network.module(pictures)
        theirs = own(pixel_values=pictures)
    expected = theirs.logits if hasattr(theirs, "logits") else theirs.last_hidden_state.mean(1)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    assert network.record.classes == (4 if hasattr(theirs, "logits") else 0)


def test_every_family_is_tried() -> None:
    tried = {getattr(__import__("transformers"), name).config_class.model_type for name in cases.ALL}
    # Camembert is XLM-RoBERTa under another name
    assert set(FAMILIES) - tried <= {"camembert"}
