"""The committed file: what a git difference shows, what is refused, and how it may move."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit import comparisons
from lcaudit.comparisons.fingerprint import fingerprint
from lcaudit.core import specimen
from lcaudit.core.comparison import PARTS
from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.gate import gate, with_baseline
from lcaudit.core.settings import Settings
from tests.comparisons.comparison_cases import network, observed, quantity

HOSTILE = '</script>\n::error::"layer": "x", \x1b[31m\u202e'


def kappas(found) -> dict[str, float]:
    return {one.layer: one.value for one in found.entries if one.metric == "input.kappa_80"}


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_a_baseline_is_read_as_it_was_written(names):
    made = comparisons.create(network({name: quantity(100.0) for name in names}))
    text = comparisons.dump(made)
    assert text.isascii()
    found = comparisons.read(text)
    # what UTF-8 cannot hold is spelled out when it is written
    assert comparisons.dump(found) == text
    if all(name.isprintable() for name in names):
        assert found == made


def test_every_figure_has_one_line_and_a_change_of_one_changes_one():
    names = [HOSTILE, "x" * 5000, "a"]
    before = comparisons.dump(comparisons.create(network({name: quantity(100.0) for name in names})))
    changed = {name: quantity(900.0 if name == "a" else 100.0) for name in names}
    after = comparisons.dump(comparisons.create(network(changed)))
    assert sum('"metric"' in line for line in before.splitlines()) == 3 * 6
    different = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert len(different) == 1 and '"layer": "a"' in different[0]


def test_anchors_point_at_the_first_line_of_each_layer():
    names = ["conv1", HOSTILE, "head"]
    text = comparisons.dump(comparisons.create(network({name: quantity(100.0) for name in names})))
    found = comparisons.anchors(text)
    assert list(found) == names
    for name, line in found.items():
        entry = json.loads(text.splitlines()[line - 1].rstrip(","))
        assert entry["layer"] == name and entry["metric"] == "input.kappa_80"
    spread = json.dumps(json.loads(text), indent=4)  # another tool has laid it out
    for name, line in comparisons.anchors(spread).items():
        assert json.dumps(name) in spread.splitlines()[line - 1]
    assert comparisons.anchors("no JSON at all") == {}


@pytest.mark.parametrize("part", sorted(PARTS.keys() - {"batch_size", "seed", "indices", "layers"}))
def test_another_measurement_is_refused_with_its_reason(part):
    measured = network([quantity(100.0)])
    made = comparisons.create(measured)
    assert part in made.measurement
    changed = replace(made, measurement={**made.measurement, part: "something else"})
    with pytest.raises(comparisons.NotComparable) as refused:
        comparisons.against(measured, changed)
    assert PARTS[part] in refused.value.message and "baseline create" in refused.value.hint


def test_what_changes_figures_by_rounding_only_is_no_part_of_it():
    one = network([quantity(100.0)])
    other = replace(
        one,
        settings=replace(one.settings, seed=5, device="cuda", batch_size=7, task_evidence="else"),
        probe=replace(one.probe, seed=5, indices="else", source="copy.npz"),
        environment=replace(one.environment, torch="9.9"),
    )
    assert fingerprint(one) == fingerprint(other)
    (note,) = comparisons.against(other, comparisons.create(one)).notes
    assert "torch 2.13, now 9.9" in note


def test_batch_statistics_make_the_batch_size_a_part_of_it():
    theirs = replace(network([quantity(1.0)]), settings=Settings(0, 1000, 50, "float32", "cpu", convention="huang2020"))
    assert fingerprint(theirs)["batch_size"] == "50"


def test_update_moves_on_evidence_only():
    names = ("same", "better", "worse", "wobbly")
    made = comparisons.create(network(dict.fromkeys(names, quantity(100.0))))
    now = {"same": quantity(95.0), "better": quantity(50.0), "worse": quantity(200.0), "wobbly": quantity(60.0, 0.5)}
    moved, found, taken = comparisons.update(network({**now, "new": quantity(7.0)}), made)
    assert kappas(moved) == {"same": 100.0, "better": 50.0, "worse": 100.0, "wobbly": 100.0, "new": 7.0}
    assert {change.layer for change in taken} == {"better", "new"}
    assert [change.layer for change in found.having("worse")] == ["worse"]


def test_a_worse_value_is_taken_where_somebody_says_why():
    made = comparisons.create(network({"a": quantity(100.0), "b": quantity(100.0)}))
    measured = network({"a": quantity(300.0), "b": quantity(300.0)})
    with pytest.raises(UsageError, match="needs --reason"):
        comparisons.update(measured, made, ["a"])
    with pytest.raises(UsageError, match="no such layer is worse"):
        comparisons.update(measured, made, ["c*"], "why")
    moved, _, taken = comparisons.update(measured, made, ["a"], " a wider head ")
    assert kappas(moved) == {"a": 300.0, "b": 100.0} and len(taken) == 1
    (accepted,) = [one for one in moved.entries if one.accepted]
    assert (accepted.layer, accepted.metric, accepted.accepted) == ("a", "input.kappa_80", "a wider head")
    assert comparisons.against(measured, moved).having("worse")[0].layer == "b"


def test_nothing_moves_where_nothing_was_shown():
    made = comparisons.create(network([quantity(100.0)]))
    moved, _, taken = comparisons.update(network([quantity(97.0)]), made)
    assert moved is made and taken == ()


def test_an_unchanged_network_stays_green_after_fifty_updates():
    """Where a baseline follows the best value ever seen, noise alone turns it red: see the last line."""
    draw = np.random.default_rng(1)
    made = comparisons.create(network([observed(draw, 100.0, 0.05) for _ in range(20)]))
    best = {one.layer: one.value for one in made.entries if one.metric == "input.kappa_80"}
    red = naive = 0
    for _ in range(50):
        measured = network([observed(draw, 100.0, 0.05) for _ in range(20)])
        made, found, _ = comparisons.update(measured, made)
        red += bool(found.having("worse"))
        now = kappas(comparisons.create(measured))
        naive += any(now[name] > 1.2 * best[name] for name in now)
        best = {name: min(best[name], now[name]) for name in now}
    assert red <= 2 and naive >= 25


def test_prune_drops_what_is_gone_and_nothing_else():
    made = comparisons.create(network({"a": quantity(100.0), "old": quantity(100.0)}))
    pruned, gone = comparisons.prune(network({"a": quantity(50.0)}), made)
    assert gone == ("old",) and kappas(pruned) == {"a": 100.0}
    some = network({"a": quantity(50.0)})
    some = replace(some, settings=replace(some.settings, layers=("a",)))
    with pytest.raises(UsageError, match="--layers"):
        comparisons.prune(some, made)


def calm(measured):
    return gate((), (), measured, "error", 0.0)


@pytest.mark.parametrize(
    ("kappa", "verdict", "reason"),
    [(100.0, "pass", ""), (300.0, "fail", "1 figure worse than the baseline: a"), (30.0, "pass", "")],
)
def test_the_gate_fails_on_worse_only(kappa, verdict, reason):
    made = comparisons.create(network({"a": quantity(100.0)}))
    measured = network({"a": quantity(kappa)})
    found = with_baseline(calm(measured), comparisons.against(measured, made))
    assert found.verdict == verdict and ";".join(found.reasons) == reason
    assert found.exit_code == {"pass": 0, "fail": 1}[verdict]


def test_a_layer_that_was_not_measured_never_counts_as_passed():
    made = comparisons.create(network({"a": quantity(100.0), "b": quantity(100.0)}))
    measured = network({"a": quantity(100.0)})
    found = with_baseline(calm(measured), comparisons.against(measured, made))
    assert (found.verdict, found.exit_code) == ("incomplete", 3) and "not measured: b" in found.reasons[0]
    asked = replace(measured, settings=replace(measured.settings, layers=("a",)))
    assert with_baseline(calm(asked), comparisons.against(asked, made)).verdict == "pass"


def test_where_nothing_can_be_compared_nothing_is_passed():
    measured = specimen.measurements(layers=(specimen.layer("a", reliable=False),))
    shaky = replace(measured.layers[0].gradient, condition_number={})
    measured = replace(measured, layers=(replace(measured.layers[0], gradient=shaky),))
    found = comparisons.against(measured, comparisons.create(measured))
    assert found.comparisons == 0 and with_baseline(calm(measured), found).verdict == "incomplete"


def test_a_network_of_which_nothing_was_measured_makes_no_baseline():
    with pytest.raises(UsageError, match="nothing was measured"):
        comparisons.create(specimen.measurements(layers=()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"), ("{}", "not a baseline"), ("[]", "not a baseline"), ('{"schema": 1}', "not a baseline"),
        ('{"schema": "urn:lcaudit:baseline:1"}', "is missing"),
        ("[" * 100, "not valid JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_baseline_is_one_clear_error(text, said):
    with pytest.raises(MalformedInput, match=said) as refused:
        comparisons.read(text)
    assert "baseline create" in refused.value.hint and "\n" not in refused.value.message


def test_two_entries_of_one_figure_are_refused():
    made = comparisons.create(network([quantity(100.0)]))
    with pytest.raises(MalformedInput, match="two entries"):
        comparisons.read(comparisons.dump(replace(made, entries=(*made.entries, made.entries[0]))))


@pytest.mark.parametrize("broken", [{"low": -1.0}, {"low": 9.0, "high": 1.0}, {"degrees": 10**9}, {"level": 2.0}])
def test_numbers_that_are_no_interval_are_undecided_and_nothing_else(broken):
    measured = network([quantity(100.0)])
    made = comparisons.create(measured)
    made = replace(made, entries=tuple(replace(one, **broken) for one in made.entries))
    states = {change.state for change in comparisons.against(measured, made).changes}
    assert states <= {"undecided", "unchanged"}


def test_a_baseline_of_another_network_is_called_that():
    measured = network([quantity(100.0)])
    made = comparisons.create(measured)
    other = replace(
        made, subject=replace(made.subject, title="ResNet-20"), measurement={**made.measurement, "samples": "7"}
    )
    with pytest.raises(comparisons.NotComparable, match="it is of ResNet-20, and this is") as refused:
        comparisons.against(measured, other)
    assert "the number of samples" in refused.value.message
