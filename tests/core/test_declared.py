"""What ``lcaudit export`` writes is read back the same; whatever a stranger writes is read or named, never more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.core.declared import CROPS, Declared, read

finite = st.floats(-999, 999).map(float)


@given(
    arch=st.sampled_from(["", "resnet_cifar", "timm:vit_tiny_patch16_224", "torchvision:resnet18"]),
    variant=st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=9), st.integers(0, 10**6), st.booleans())),
    moments=st.lists(st.tuples(finite, st.floats(1e-5, 999)), max_size=4),
    size=st.lists(st.integers(1, 9999), max_size=4),
    crop=st.sampled_from(["", *CROPS]),
    digest=st.sampled_from(["", "0f" * 32]),
)
def test_what_is_written_is_read(arch, variant, moments, size, crop, digest) -> None:
    mean, std = (tuple(one[i] for one in moments) for i in (0, 1))
    said = Declared(arch, variant, mean, std, tuple(size), crop=crop, version="0.1.0", sha256=digest)
    assert read(said.texts()) == (said, ())


@given(st.dictionaries(st.text(max_size=12).map(lambda key: f"lcaudit.{key}"), st.text(max_size=30)))
def test_nothing_that_a_stranger_writes_goes_through_unseen(texts) -> None:
    said, doubts = read(texts)
    assert (said is None) == (not texts)
    believed = {} if said is None else said.texts()
    assert all(key in believed or any(key[8:20] for _ in doubts) for key in texts) or doubts


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("arch", "evil.py:factory"),
        ("arch", "/tmp/evil.py:factory"),
        ("arch", "timm:../../x"),
        ("arch", "hf:someone/code"),
        ("arch", "timm:hf_hub:someone/net"),
        ("variant", "{"),
        ("variant", '{"a": [1]}'),
        ("variant", "{" * 5000),
        ("input_size", "3,0,32"),
        ("input_size", "3,99999999999,1"),
        ("input_size", "-3"),
        ("crop", "anything"),
        ("interpolation", "exec"),
        ("sha256", "12"),
        ("version", "\x1b[31m"),
        ("code", "print(1)"),
    ],
)
def test_entries_that_cannot_be_are_named_and_not_believed(key: str, text: str) -> None:
    said, doubts = read({f"lcaudit.{key}": text})
    assert said == Declared() and len(doubts) == 1
    assert f"lcaudit.{key}" in doubts[0] and "\x1b" not in doubts[0]


@pytest.mark.parametrize(
    ("mean", "std"), [("0.5", ""), ("", "0.5"), ("0.5", "0"), ("nan", "1"), ("0.5,0.5", "1"), ("inf", "1"), ("a", "1")]
)
def test_half_a_normalisation_is_none(mean: str, std: str) -> None:
    texts = {key: value for key, value in (("lcaudit.mean", mean), ("lcaudit.std", std)) if value}
    said, doubts = read(texts)
    assert said is not None and (said.mean, said.std) == ((), ()) and doubts
    assert said.normalisation("x") is None


def test_another_range_of_values_is_not_guessed_at() -> None:
    said, doubts = read({"lcaudit.range": "0,255", "lcaudit.mean": "127.5", "lcaudit.std": "64"})
    assert said is not None and said.normalisation("x") is None and len(doubts) == 2


def test_other_metadata_says_nothing() -> None:
    assert read({"format": "pt", "lcaudit-recipe": "{}", "a.b": "c"}) == (None, ())
    assert math.isclose(read({"lcaudit.mean": "0.5", "lcaudit.std": "0.25"})[0].mean[0], 0.5)
