"""Dataclasses to strict JSON and back, from any value and from any file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.core import serial
from lcaudit.core.errors import MalformedInput
from lcaudit.core.quantity import Quantity

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
QUANTITIES = st.builds(
    Quantity,
    value=FLOATS,
    unit=st.text(max_size=5),
    low=st.none() | FLOATS,
    high=st.none() | FLOATS,
    level=st.floats(0, 1),
    method=st.text(max_size=20),
    n=st.integers(0, 10**6),
    plug_in=st.none() | FLOATS,
    reliable=st.booleans(),
)


@dataclass(frozen=True, slots=True)
class Everything:
    """One field of each kind that a report has."""

    text: str
    number: float
    whole: int
    flag: bool
    either: str | int | bool
    word: Literal["pass", "fail"]
    items: tuple[Quantity, ...]
    pair: tuple[int, float]
    table: Mapping[str, float]
    maybe: Quantity | None
    later: int = 7


EVERYTHING = st.builds(
    Everything,
    text=st.text(),
    number=FLOATS,
    whole=st.integers(),
    flag=st.booleans(),
    either=st.text() | st.integers() | st.booleans(),
    word=st.sampled_from(["pass", "fail"]),
    items=st.lists(QUANTITIES, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), FLOATS),
    table=st.dictionaries(st.text(), FLOATS, max_size=3),
    maybe=st.none() | QUANTITIES,
    later=st.integers(),
)
SCHEMA = serial.schema(Everything, "https://example.invalid/schema", "test")


def bits(value: object) -> object:
    """Floats as their bits, so that NaN equals NaN and −0 differs from 0."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return [bits(getattr(value, name)) for name in value.__dataclass_fields__]
    return (type(value), value)


@given(EVERYTHING)
def test_every_value_comes_back_bit_for_bit(value: Everything) -> None:
    text = serial.dumps(value)
    assert bits(serial.load(Everything, serial.parse_json(text))) == bits(value)
    assert text.endswith("\n")


@given(EVERYTHING)
def test_what_is_written_fits_the_schema(value: Everything) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(serial.dumps(value)))


@given(EVERYTHING)
def test_writing_again_what_was_read_gives_the_same_bytes(value: Everything) -> None:
    text = serial.dumps(value)
    assert serial.dumps(serial.load(Everything, serial.parse_json(text))) == text


def test_a_whole_number_in_a_float_field_is_written_as_it_is_read_back() -> None:
    text = serial.dumps(Quantity(1, low=0, high=True))
    assert '"value": 1.0' in text and '"low": 0.0' in text and '"n": 0' in text
    assert serial.dumps(serial.load(Quantity, serial.parse_json(text))) == text


@pytest.mark.parametrize(("number", "name"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_non_finite_numbers_are_named(number: float, name: str) -> None:
    assert serial.plain(number) == {"nonfinite": name}
    read = serial.load(Quantity, {"value": {"nonfinite": name}}).value
    assert bits(read) == bits(number)


def test_a_lone_surrogate_is_written_as_text() -> None:
    assert json.loads(serial.dumps({"a": "x\ud800y"})) == {"a": "x\\ud800y"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{}x", "not valid JSON"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ('{"a": 1, "a": 1}', "a key appears twice"),
        ('{"x": [{"a": 1, "b": 2, "a": 3}]}', "a key appears twice"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ("1" * 5000, "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        ("\ufeff{}", "not valid JSON"),
    ],
    ids=repr,
)
def test_what_is_not_strict_json_is_refused_in_one_line(text: str | bytes, says: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        serial.parse_json(text)
    assert says in caught.value.message
    assert "\n" not in caught.value.message and len(caught.value.message) < 300


def test_nesting_up_to_the_cap_is_read() -> None:
    assert serial.parse_json("[" * serial.MOST_DEPTH + "]" * serial.MOST_DEPTH)
    assert serial.parse_json(json.dumps({"a": "[" * 1000, "b": '\\"[' * 500}))


GOOD = serial.plain(Everything("", 0.0, 0, False, "", "pass", (), (1, 2.0), {}, None))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": 1}, "report.text holds a whole number, expected text"),
        ({"number": "1"}, "report.number holds '1', expected a number"),
        ({"number": True}, "report.number holds true or false"),
        ({"number": {"nonfinite": "huge"}}, "report.number holds an object"),
        ({"number": {}}, "report.number holds an object"),
        ({"number": {"nonfinite": []}}, "report.number holds an object"),
        ({"number": 10**400}, "report.number holds a number too large for float64"),
        ({"whole": 1.5}, "report.whole holds a number, expected a whole number"),
        ({"whole": True}, "report.whole holds true or false"),
        ({"flag": 1}, "report.flag holds a whole number, expected true or false"),
        ({"either": None}, "report.either"),
        ({"either": 1.5}, "report.either holds a number"),
        ({"word": "maybe"}, "report.word"),
        ({"word": []}, "report.word"),
        ({"word": {"a": 1}}, "report.word"),
        ({"items": {}}, "report.items holds an object"),
        ({"items": [None]}, "report.items[0]"),
        ({"items": [{"unit": "1"}]}, "report.items[0].value is missing"),
        ({"pair": [1]}, "report.pair holds a list"),
        ({"pair": [1, 2, 3]}, "report.pair holds a list"),
        ({"pair": ["a", 2]}, "report.pair[0]"),
        ({"table": []}, "report.table holds a list"),
        ({"table": {"k": "v"}}, "report.table.k"),
        ({"maybe": 3}, "report.maybe"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_does_not_fit_is_named_by_its_path(change: dict[str, object], says: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        serial.load(Everything, {**GOOD, **change})
    assert caught.value.message.startswith(says)


def test_a_missing_key_is_named_and_an_unknown_one_ignored() -> None:
    read = serial.load(Everything, {**GOOD, "from a later version": [1]})
    assert read.later == 7
    without = {key: value for key, value in GOOD.items() if key != "flag"}
    with pytest.raises(MalformedInput, match=r"report\.flag is missing"):
        serial.load(Everything, without)
    for other in (None, [], 3, "x"):
        with pytest.raises(MalformedInput, match="report holds"):
            serial.load(Everything, other)
