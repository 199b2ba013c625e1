"""Text from a file is shown on one line of printable characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.core.text import count, display_name, one_line

ANYTHING = st.text(st.characters())  # lone surrogates included
LIMITS = st.integers(9, 400)


@given(ANYTHING)
def test_what_is_shown_is_printable_and_one_line(text: str) -> None:
    shown = display_name(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(ANYTHING)
def test_showing_twice_shows_the_same(text: str) -> None:
    shown = display_name(text, 10_000)
    assert display_name(shown, 10_000) == shown


@given(ANYTHING, LIMITS)
def test_length_is_bounded_by_the_escapes_of_the_characters_kept(text: str, limit: int) -> None:
    shown = display_name(text, limit)
    assert len(shown) <= 10 * limit  # the longest escape, \Uxxxxxxxx, takes ten characters
    if shown == text or text.isprintable():
        assert len(shown) <= limit


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=200))
def test_printable_text_is_unchanged(text: str) -> None:
    assert display_name(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        ("слой/層/κ", "слой/層/κ"),
        ("a\nb", "a\\x0ab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("\ufeff", "\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u00a0b\u3000c", "a b c"),
        (17, "17"),
        (None, "None"),
    ],
)
def test_examples(text: object, shown: str) -> None:
    assert display_name(text) == shown


def test_every_character_of_unicode_is_shown_printable() -> None:
    for start in range(0, 0x110000, 4096):
        assert display_name("".join(map(chr, range(start, start + 4096))), 4096).isprintable(), f"from U+{start:04X}"


def test_a_long_text_keeps_both_ends() -> None:
    shown = display_name("begin" + "x" * 1_000_000 + "end", 40)
    assert shown.startswith("begin") and shown.endswith("end") and "…" in shown and len(shown) <= 40


def test_lists_and_counts() -> None:
    assert one_line(["a", "b"]) == "a, b"
    assert one_line([f"t{i}" for i in range(9)], 3) == "t0, t1, t2 and 6 more"
    assert one_line(["a\nb"]).isprintable()
    assert count(1, "layer") == "1 layer"
    assert count(0, "layer") == "0 layers"
    assert count(12_345, "sample") == "12 345 samples"
    assert count(2, "entry", "entries") == "2 entries"
