"""Numbers show what their interval supports, and nothing that is not a number passes for one."""

from __future__ import annotations

import math

import pytest

from lcaudit.core import figures as numbers
from lcaudit.core.quantity import VERDICT_LEVEL, Quantity, exact, wilson
from lcaudit.reports._svg import Scale, fitted


@pytest.mark.parametrize(
    ("value", "plain", "scientific"),
    [
        (2963, "2960", "2.96e3"),
        (0.0831, "0.0831", "8.31e-2"),
        (99_999, "1.00e5", "1.00e5"),
        (9.999, "10.0", "1.00e1"),
        (12_345, "12 300", "1.23e4"),
        (-3.2, "-3.20", "-3.20e0"),
        (0, "0", "0"),
        (1.5e-9, "1.50e-9", "1.50e-9"),
        (math.nan, "undefined", "undefined"),
        (-math.inf, "-infinite", "-infinite"),
    ],
)
def test_three_digits(value, plain, scientific):
    assert numbers.number(value) == plain
    assert numbers.scientific(value) == scientific


@pytest.mark.parametrize(
    ("quantity", "value", "interval"),
    [
        (Quantity(2963, "1", 2700, 3200), "2960", "2700 – 3200"),
        (Quantity(2963.4, "1", 2100, 4100), "3000", "2100 – 4100"),
        (Quantity(10.42, "×", 9.11, 11.93), "10.4×", "9.1 – 11.9"),
        (wilson(70, 846, "share"), "8.3 %", "6.6 – 10.3"),
        (Quantity(9.7e5, "1", 8.1e5, 1.16e6), "9.7e5", "8.1e5 – 11.6e5"),
        (Quantity(1e6, "1", 10, 1e9), "1.00e6", "1.00e1 – 1.00e9"),
        (Quantity(0.3, "nat", 0.25, 0.35), "0.300 nat", "0.250 – 0.350"),
        (Quantity(5, "nat", method="one draw"), "5.00 nat", ""),
        (Quantity(5, "nat", 4, math.inf, method="one draw"), "5.00 nat", ""),
        (Quantity(math.nan, "1", 1, 2), "undefined", ""),
        (exact(12_345, "entries"), "12 345 entries", ""),
    ],
)
def test_value_and_ends_share_their_last_place(quantity, value, interval):
    shown = numbers.figure(quantity)
    assert (shown.value, shown.interval) == (value, interval)


def test_an_unreliable_figure_says_so():
    assert numbers.figure(Quantity(3, n=200, reliable=False)).note == "not reliable at n = 200"


def test_figures_in_sentences():
    gain = Quantity(37.21, "×", 36.6, 37.9, method="grouped jackknife", n=846)
    assert (numbers.interval(gain), numbers.spoken(gain)) == ("95 % interval 36.6 – 37.9", "37.2× (36.6 – 37.9)")
    assert numbers.interval(exact(3)) == "exact" and numbers.spoken(exact(3)) == "3"
    assert numbers.interval(Quantity(3, method="one draw")) == "no interval"
    assert numbers.span([gain, Quantity(10.7, "×", method="one draw")]) == "10.7 to 37.2×"
    assert numbers.span([exact(0.1, "share"), exact(0.25, "share")]) == "10 to 25 %"
    assert (numbers.span([gain]), numbers.span([])) == ("37.2×", "")
    assert numbers.figure(exact(0.00510213, "share")).value == "0.51 %"


def test_the_interval_of_a_verdict_names_its_own_level():
    wide = numbers.judged_interval(Quantity(10.0, "×", 9.0, 11.0, method="grouped jackknife", n=846))
    assert wide.startswith(f"{numbers.plain(100 * VERDICT_LEVEL)} % interval ")
    assert numbers.judged_interval(exact(3)) == "exact"


def test_limits_are_shown_in_full():
    shown = [numbers.limit(10, "×"), numbers.limit(0.05, "share"), numbers.limit(1e6, "1"), numbers.limit(0.3, "nat")]
    assert shown == ["10×", "5 %", "1e6", "0.3 nat"]


@pytest.mark.parametrize("span", [(1, 1.01), (0.2, 30), (1e-9, 1e12), (3, 3), (1e-300, 1e299)])
@pytest.mark.parametrize("log", [True, False])
def test_an_axis_has_some_ticks_in_order(span, log):
    scale = fitted(span, 0, 100, log)
    assert scale is not None
    places = [scale.at(value) for value, _ in scale.ticks()]
    assert 1 <= len(places) <= 9
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_a_scale_keeps_what_lies_outside_at_its_ends():
    scale = Scale(1, 100, 200, 0)
    assert [scale.at(value) for value in (0, 1, 10, 100, math.inf)] == [200, 200, 100, 0, 0]


def test_no_axis_for_figures_that_have_no_place_on_it():
    assert fitted([math.nan, math.inf, 0, -1], 0, 1) is None
    assert fitted([], 0, 1, log=False) is None


def test_the_judged_interval_of_what_cannot_be_negative_ends_at_nought():
    shift = Quantity(0.25, "1", 0.05, 0.45, method="grouped jackknife", n=50, degrees=9)
    assert shift.at(0.999)[0] < 0, "moved in proportion"
    assert numbers.judged_interval(shift).split("interval ")[1].startswith("0")
    signed = Quantity(0.25, "1", -0.05, 0.55, method="grouped jackknife", n=50, degrees=9)
    assert "interval -" in numbers.judged_interval(signed)
