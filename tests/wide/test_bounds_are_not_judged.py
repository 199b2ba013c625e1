"""What is known within bounds only is undecided in every rule that looks at it, and shown as what it is."""

from dataclasses import replace

import pytest

from lcaudit.core import figures, specimen
from lcaudit.core.outcomes import Fail, Pass, Undecided
from lcaudit.core.quantity import Quantity
from lcaudit.rules import ill_conditioned_head, rank_collapse, too_few_samples
from lcaudit.spectra.bounds import between


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (50.0, 80.0), (30.0, float("inf"))])
def test_a_gain_between_bounds(low, high):
    layer = specimen.layer("head", is_head=True, gain=40)
    assert isinstance(ill_conditioned_head.RULE.check(specimen.measurements(layers=(layer,)))[0], Fail)
    bounded = {
        name: replace(change, gain=between(low, high, "a sketch", 1000, unit="×"))
        for name, change in layer.what_if.items()
    }
    outcome = ill_conditioned_head.RULE.check(specimen.measurements(layers=(replace(layer, what_if=bounded),)))[0]
    assert isinstance(outcome, Undecided) and "within bounds only" in outcome.reason


@pytest.mark.parametrize(("most", "kind"), [(None, Fail), (20, Undecided)])
def test_a_rank_between_bounds(most, kind):
    layer = specimen.layer("head", is_head=True, rank=4)
    layer = replace(layer, centred=replace(layer.centred, rank_at_most=most))
    outcome = rank_collapse.RULE.check(specimen.measurements(layers=(layer,)))[0]
    assert isinstance(outcome, kind)
    if most:
        assert "4–20/64" in outcome.reason


def test_a_rank_whose_lower_bound_suffices_passes():
    layer = specimen.layer("head", is_head=True, rank=12)
    layer = replace(layer, centred=replace(layer.centred, rank_at_most=64))
    assert isinstance(rank_collapse.RULE.check(specimen.measurements(layers=(layer,)))[0], Pass)


def test_bounds_are_no_want_of_samples():
    layer = specimen.layer("wide", samples=1000)
    kappas = {p: between(3.0, float("inf"), "a sketch", 1000) for p in layer.input.condition_number}
    layer = replace(layer, input=replace(layer.input, condition_number=kappas))
    assert too_few_samples.samples_needed(layer) == layer.enough_samples


def test_how_bounds_are_shown():
    assert figures.figure(between(3.0, float("inf"), "a sketch", 9)) == figures.Figure("≥ 3.00", note="no upper bound")
    assert figures.figure(between(2.0, 8.0, "a sketch", 9)).interval == "2.0 – 8.0"
    assert not between(2.0, 8.0, "a sketch", 9).at(0.999) and between(2.0, 8.0, "a sketch", 9).bounds_only
    assert between(2.0, 2.0, "", 9).low is None, "one figure"
    assert not Quantity(1.0, low=0.5, high=2.0).bounds_only
