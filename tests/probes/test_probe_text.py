"""Texts as probe: lines, JSON lines and tables; what the tokenizer is given, what it may cost, what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from probe_cases import network as pictures
from probe_cases import opened

from lcaudit.core.errors import (
    AuditError,
    LimitExceeded,
    MalformedInput,
    ProbeUnavailable,
    UsageError,
)
from lcaudit.probes import _tokenizer, jsonl
from tests.text_cases import LONGEST, PADDING, WORDS, reader, save_tokenizer, texts

pytest.importorskip("tokenizers")
INDEX = {word: index for index, word in enumerate(WORDS)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def ids(text: str, special: bool = True) -> list[int]:
    """Literally what the tokenizer does, and where texts are cut."""
    plain = [INDEX.get(word, INDEX["[UNK]"]) for word in text.split()]
    return [INDEX["[CLS]"], *plain[: LONGEST - 2], INDEX["[SEP]"]] if special else plain


def written(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes(end.join(lines).encode())
    return path


def check_rows(probe, lines: list[str]) -> None:
    """Every sample is its line, cut, and filled up at the right."""
    given, real = probe.batch(0, len(probe.keys)).numpy(), probe.mask(0, len(probe.keys)).numpy()
    assert sorted(probe.keys.tolist()) == list(range(len(lines)))
    for row, places, key in zip(given, real, probe.keys, strict=True):
        want = ids(lines[key])
        assert row[places].tolist() == want and (row[~places] == PADDING).all()
        assert places[: len(want)].all()
    assert given.shape[1] == max(len(ids(line)) for line in lines)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("objective", ["sequence", "embedding"])
def test_lines_of_a_text_file(tmp_path: Path, tokenizer: Path, end: str, objective: str) -> None:
    lines = texts(20)
    path = written(tmp_path / "test.txt", ["", *lines[:7], "  ", *lines[7:], ""], end)
    probe = opened(path, reader(objective, tokenizer))
    check_rows(probe, lines)
    words = "; ".join(probe.record.preprocessing)
    long = sum(len(line.split()) > LONGEST - 2 for line in lines)
    assert f"{long} of 20 texts cut to the first {LONGEST} tokens (the longest that the network reads)" in words
    assert "2 empty lines, no samples" in words and "% of the positions are padding" in words and "SHA-256" in words
    assert "takes no notice" in words and probe.record.split == "test" and probe.labels is None
    short = opened(path, reader(objective, tokenizer), max_tokens=5)
    assert short.batch(0, 20).shape[1] == 5 and "(--max-tokens)" in "; ".join(short.record.preprocessing)


def test_a_text_file_is_one_running_text_to_a_network_that_reads_on(tmp_path: Path, tokenizer: Path) -> None:
    lines = texts(60)
    probe = opened(written(tmp_path / "a.txt", lines), reader("causal", tokenizer))
    stream = [index for line in lines for index in ids(line, special=False)]
    inner = LONGEST - 2
    blocks = [stream[start : start + inner] for start in range(0, len(stream) - inner + 1, inner)]
    assert len(probe.keys) == len(blocks) == probe.record.available and probe.mask is None
    for row, key in zip(probe.batch(0, len(blocks)).tolist(), probe.keys, strict=True):
        assert row == [INDEX["[CLS]"], *blocks[key], INDEX["[SEP]"]]
    assert f"the last {len(stream) % inner} tokens left out" in "; ".join(probe.record.preprocessing)


def test_without_special_tokens_blocks_are_text_alone(tmp_path: Path) -> None:
    lines = texts(30)
    network = reader("causal", save_tokenizer(tmp_path / "tokenizer.json", special=False), padding=None)
    probe = opened(written(tmp_path / "a.txt", lines), network)
    stream = [index for line in lines for index in ids(line, special=False)]
    for row, key in zip(probe.batch(0, len(probe.keys)).tolist(), probe.keys, strict=True):
        assert row == stream[LONGEST * key : LONGEST * (key + 1)]


def test_special_tokens_are_never_hidden(tmp_path: Path, tokenizer: Path) -> None:
    lines = texts(200)
    probe = opened(written(tmp_path / "a.txt", lines), reader("masked", tokenizer))
    hidden = probe.labels[probe.labels != -100]
    assert len(hidden) >= 200 and not np.isin(hidden, [INDEX[word] for word in WORDS[:4]]).any()
    assert "special ones never" in "; ".join(probe.record.preprocessing)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_texts_and_labels_of_tables(tmp_path: Path, tokenizer: Path, kind: str) -> None:
    lines, labels = texts(16), [number % 4 for number in range(16)]
    if kind == "jsonl":
        rows = [json.dumps({"id": f"{n}", "text": line, "label": n % 4}) for n, line in enumerate(lines)]
        path = written(tmp_path / "train.jsonl", rows)
    else:
        parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
        path = tmp_path / "train.parquet"
        parquet.write_table(pyarrow.table({"id": list(map(str, range(16))), "text": lines, "label": labels}), path)
    probe = opened(path, reader("sequence", tokenizer))
    check_rows(probe, lines)
    assert probe.labels.tolist() == [labels[key] for key in probe.keys]
    assert probe.record.split == "train" and probe.record.labelled
    assert any("text from" in word and "labels from label" in word for word in probe.record.preprocessing)
    causal = opened(path, reader("causal", tokenizer))
    assert causal.labels.shape == causal.batch(0, 16).shape
    assert "labels not used: the network gives none for a whole sample" in causal.record.preprocessing
    named = opened(path, reader("sequence", tokenizer), columns={"text": "id", "label": "label"})
    assert named.batch(0, 16).shape[1] == 3


def test_texts_with_nothing_in_them_are_left_out(tmp_path: Path) -> None:
    network = reader("causal", save_tokenizer(tmp_path / "tokenizer.json", special=False))
    rows = [json.dumps({"text": text}) for text in ("the cat sat", "dog", "", "a mat and one")]
    probe = opened(written(tmp_path / "a.jsonl", rows), network)
    assert sorted(probe.keys.tolist()) == [0, 3]
    assert "2 samples left out: nothing in it counts" in "; ".join(probe.record.preprocessing)


def test_a_padding_token_in_the_text_is_padding(tmp_path: Path, tokenizer: Path) -> None:
    """The network takes no notice of it wherever it stands, so nothing is counted there."""
    probe = opened(written(tmp_path / "a.txt", ["the [PAD] cat", "a dog"]), reader("sequence", tokenizer))
    row = probe.keys.tolist().index(0)
    assert probe.mask(0, 2)[row].tolist() == [True, True, False, True, True]


def test_texts_of_several_lengths_need_a_padding_token(tmp_path: Path, tokenizer: Path) -> None:
    network = reader("sequence", tokenizer, padding=None)
    with pytest.raises(ProbeUnavailable, match="texts of 3 to 4 tokens, and the network has no padding token"):
        opened(written(tmp_path / "a.txt", ["cat", "a dog"]), network)
    assert opened(written(tmp_path / "b.txt", ["the cat", "a dog"]), network).mask is None


def bad_text(name: str, content: bytes, kind: type[AuditError], says: str):
    return pytest.param(name, content, kind, says, id=f"{name}-{says[:20]}")


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        bad_text("a.txt", b"the cat\nca\xe9\n", MalformedInput, "line 2 is no UTF-8 (byte 0xe9)"),
        bad_text("a.txt", b"\n \n", ProbeUnavailable, "holds 0 usable samples"),
        bad_text("a.jsonl", b'{"text": "a"}\n{"text": 3}', MalformedInput, "line 2: text is int"),
        bad_text("a.jsonl", b'{"text": "a"}\n{"x": "b"}', MalformedInput, "line 2: no text"),
        bad_text("a.jsonl", b'{"text": "a"}\nnull', MalformedInput, "line 2 is no JSON object"),
        bad_text("a.jsonl", b'{"text": "a"\n}', MalformedInput, "line 1 is not valid JSON"),
        bad_text("a.jsonl", b'{"text": "a", "b": ' + b"[" * 99999, MalformedInput, "nested too deeply"),
        bad_text("a.jsonl", b'{"text": "a", "text": "b"}', MalformedInput, "a key appears twice"),
        bad_text("a.jsonl", b'{"a": "a", "b": "b"}', ProbeUnavailable, "has 2 fields of text: a, b"),
        bad_text("a.jsonl", b'{"n": 1}', ProbeUnavailable, "has 0 fields of text"),
        bad_text("a.jsonl", b'{"text": "a", "label": "good"}', ProbeUnavailable, "expected a class number"),
        bad_text("a.jsonl", b'{"text": "a", "label": 1e400}', ProbeUnavailable, "label is no class number"),
        bad_text("a.jsonl", b'{"text": "a", "label": 9}\n' * 3, ProbeUnavailable, "label 9 at index 0"),
    ],
)  # fmt: skip
def test_files_that_are_no_text(tmp_path: Path, tokenizer: Path, name: str, content: bytes, kind, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind) as caught:
        opened(tmp_path / name, reader("sequence", tokenizer))
    assert says in caught.value.message and caught.value.hint


def test_one_endless_line_of_json(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_LONGEST_LINE", 1000)
    path = written(tmp_path / "a.jsonl", [json.dumps({"text": "a " * 600})] * 3)
    with pytest.raises(LimitExceeded, match="line 1: longer than"):
        opened(path, reader("sequence", tokenizer))


def test_a_long_line_is_cut_before_it_is_tokenised(tmp_path: Path, tokenizer: Path) -> None:
    path = written(tmp_path / "a.txt", ["the cat " * 100_000, "a dog"])
    probe = opened(path, reader("sequence", tokenizer))
    assert probe.batch(0, 2).shape[1] == LONGEST
    assert "1 text cut to the first 500,000 characters" in "; ".join(probe.record.preprocessing)


@pytest.mark.parametrize(
    ("shape", "kind", "what"),
    [
        ((3, 8, 8), np.uint8, "pictures"),
        ((8, 8, 3), np.float32, "pictures"),
        ((12,), np.float32, "numbers that are no token ids"),
    ],
)
@pytest.mark.parametrize("objective", ["causal", "masked", "sequence"])
def test_pictures_for_a_network_that_reads_tokens(
    tmp_path: Path, tokenizer: Path, objective: str, shape: tuple[int, ...], kind: type, what: str
) -> None:
    np.savez(tmp_path / "x.npz", images=np.ones((5, *shape), kind), labels=np.arange(5) * 1000)
    says = rf"x\.npz holds {what}, and \S+ reads the tokens of a text"
    with pytest.raises(ProbeUnavailable, match=says) as caught:
        opened(tmp_path / "x.npz", reader(objective, tokenizer))
    assert ".txt or .jsonl" in caught.value.hint and "input_ids" in caught.value.hint


def test_what_is_said_where_text_cannot_be_read(tmp_path: Path, tokenizer: Path) -> None:
    path = written(tmp_path / "a.txt", texts(12))
    with pytest.raises(ProbeUnavailable, match=r"a\.txt holds text, and there is no tokenizer\.json beside"):
        opened(path, reader("sequence"))
    assert len(opened(path, reader("sequence"), tokenizer=tokenizer).keys) == 12
    with pytest.raises(ProbeUnavailable, match=r"a\.txt holds text, and tiny reads pictures of") as caught:
        opened(path, pictures())
    assert "cifar10" in caught.value.hint
    with pytest.raises(UsageError, match="at most 12 tokens"):
        opened(path, reader("sequence", tokenizer), max_tokens=13)
    with pytest.raises(UsageError, match="--mean and --std have no meaning"):
        opened(path, reader("sequence", tokenizer), mean=(0.5,), std=(0.5,))
    with pytest.raises(ProbeUnavailable, match="too few for 2 blocks of 10") as caught:
        opened(written(tmp_path / "b.txt", ["the cat sat on a mat"]), reader("causal", tokenizer))
    assert "--max-tokens 8" in caught.value.hint
    small = reader("sequence", tokenizer)
    small.module.tokens = type(small.module.tokens)(9, 6)
    with pytest.raises(ProbeUnavailable, match=r"largest token id 16, the vocabulary is 0 to 8 \(embedding tokens\)"):
        opened(path, small)
    np.savez(tmp_path / "a.npz", input_ids=np.full((4, 3), 5))
    with pytest.raises(UsageError, match="these are token ids"):
        opened(tmp_path / "a.npz", reader("sequence"), tokenizer=tokenizer)


def broken(tokenizer: Path, **change: object) -> bytes:
    return json.dumps(json.loads(tokenizer.read_text()) | change).encode()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    path = written(tmp_path / "a.txt", texts(12))
    with pytest.raises(MalformedInput, match=r"tokenizer.json: no tokenizer that can be used \(.+\)") as caught:
        opened(path, reader("sequence", tmp_path / "tokenizer.json"))
    assert caught.value.message.isprintable()


def test_a_regular_expression_that_gives_up(tmp_path: Path, tokenizer: Path) -> None:
    """The library's own limit ends the whole process that meets it: not this one."""
    evil = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed", "invert": False}
    (tmp_path / "tokenizer.json").write_bytes(broken(tokenizer, pre_tokenizer=evil))
    path = written(tmp_path / "a.txt", ["a" * 60 + "b", "a" * 61])
    with pytest.raises(MalformedInput, match=r"tokenizer\.json: no tokenizer that can be used \(PanicException"):
        opened(path, reader("sequence", tmp_path / "tokenizer.json"))


def test_a_tokenizer_that_does_not_end(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokenizer, "_SECONDS", 0)  # any takes longer than that
    monkeypatch.setattr(_tokenizer, "_PER_BYTE", 0)
    with pytest.raises(LimitExceeded, match="tokenising takes more than 0 seconds"):
        opened(written(tmp_path / "a.txt", texts(12)), reader("sequence", tokenizer))


def test_a_replacement_that_fills_the_memory(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokenizer, "_MEMORY", 2**30)
    swell = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
    evil = {"type": "Sequence", "normalizers": [swell] * 5}
    (tmp_path / "tokenizer.json").write_bytes(broken(tokenizer, normalizer=evil))
    path = written(tmp_path / "a.txt", texts(12))
    with pytest.raises(AuditError, match=r"tokenizer\.json: "):
        opened(path, reader("sequence", tmp_path / "tokenizer.json"))


def test_padding_and_truncation_in_the_file_are_its_own_business(tmp_path: Path, tokenizer: Path) -> None:
    """A tokenizer saved with both would fill up and cut at its own lengths."""
    padding = {"strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 7,
               "pad_type_id": 0, "pad_token": "on"}  # fmt: skip
    truncation = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_bytes(broken(tokenizer, padding=padding, truncation=truncation))
    lines = texts(12)
    check_rows(opened(written(tmp_path / "a.txt", lines), reader("sequence", tmp_path / "tokenizer.json")), lines)


def test_hostile_names_reach_no_message_as_they_are(tmp_path: Path, tokenizer: Path) -> None:
    path = written(tmp_path / "a.jsonl", [json.dumps({"te\x1b[31mxt": "a", "b": "c"})])
    with pytest.raises(ProbeUnavailable) as caught:
        opened(path, reader("sequence", tokenizer))
    assert "\x1b" not in caught.value.message + caught.value.hint


def test_the_same_text_gives_the_same_record(tmp_path: Path, tokenizer: Path) -> None:
    path = written(tmp_path / "a.txt", texts(12))
    one, other = (opened(path, reader("masked", tokenizer)) for _ in range(2))
    assert one.record == other.record and np.array_equal(one.labels, other.labels)
    assert replace(one.record, seed=1) != one.record
