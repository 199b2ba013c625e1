"""Every hostile or odd file gives its error, in one printable line, and runs nothing."""

from __future__ import annotations

from pathlib import Path

import corpus_pickles
import corpus_programs
import corpus_safetensors
import corpus_strangers
import pytest
from corpus_parts import SENTINEL, Case

from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AuditError

CASES = (*corpus_safetensors.CASES, *corpus_pickles.CASES, *corpus_programs.CASES, *corpus_strangers.CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_in_one_line(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = case.build(tmp_path)
    with pytest.raises(AuditError) as caught:
        open_checkpoint(path)
    error = caught.value
    assert type(error) is case.error, error.message
    assert case.says in error.message
    assert error.message.isprintable() and len(error.message) < 500
    assert error.hint and error.hint.isprintable()
    assert "weights_only" not in error.message + error.hint
    assert not (tmp_path / SENTINEL).exists()


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_payloads_would_run_under_an_unsafe_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinel test can fail: Python's own unpickler does execute such a payload."""
    import pickle

    from corpus_parts import call, pickled, text

    monkeypatch.chdir(tmp_path)
    pickle.loads(pickled(call("io.open", text(SENTINEL), text("w")))).close()
    assert (tmp_path / SENTINEL).exists()


@pytest.mark.parametrize(
    "name",
    ["</script><script>alert(1)", "\x1b]8;;http://x\x07", "a\n::error::b", "\u202egnp", "[a](http://x) {0}", "\ud800"],
)
def test_hostile_names_are_kept_as_they_are_and_shown_escaped(name: str, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "model.pt"
    torch.save({name: torch.ones(2), "extra" + name: 3}, path)
    opened = open_checkpoint(path)
    assert list(opened.tensors) == [name]
    assert opened.record.unwrapped and all(step.isprintable() for step in opened.record.unwrapped)


def test_hostile_file_names_are_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n::error::\udcff.pt"
    path.write_bytes(b"hello")
    with pytest.raises(AuditError) as caught:
        open_checkpoint(path)
    assert caught.value.message.isprintable()
