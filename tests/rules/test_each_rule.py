"""What each rule says at and around its borders."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lcaudit import rules
from lcaudit.core import specimen
from lcaudit.core.measurements import NonFinite, NotAudited, ProbeFit, RecordedAccuracy
from lcaudit.core.outcomes import Fail, Pass, Skip, Undecided
from lcaudit.core.quantity import Quantity, exact
from lcaudit.rules import _base


def outcomes(code: str, **changes):
    return list(rules.find(code).check(specimen.measurements(**changes)))


def only(code: str, **changes):
    (outcome,) = outcomes(code, **changes)
    return outcome


def of_layer(code: str, *arguments, **changes):
    return only(code, layers=(specimen.layer("x", *arguments, **changes),))


# --- LC301, LC302 ---------------------------------------------------------------------------------


def test_head_uses_centring_where_it_gains_more() -> None:
    layer = specimen.layer("head", is_head=True, gain=4)
    better = replace(layer.what_if["centring"], gain=specimen.quantity(8))
    outcome = only("LC301", layers=(replace(layer, what_if={**layer.what_if, "centring": better}),))
    assert isinstance(outcome, Fail) and outcome.measured.value == 8


def test_head_evidence_says_what_was_seen() -> None:
    (finding,) = rules.judge(rules.find("LC301").fires(), (rules.find("LC301"),))[1]
    text = " ".join(finding.evidence)
    assert "2960 → 296 after BatchNorm" in text and "43.0 %" in text and "test error did not move" in text


@pytest.mark.parametrize(("code", "wiring"), [("LC301", {"is_head": True}), ("LC302", {"reads": "sum of branches"})])
def test_gain_is_not_judged_from_too_few_samples(code: str, wiring: dict) -> None:
    outcome = of_layer(code, gain=100, samples=255, **wiring)
    assert isinstance(outcome, Undecided) and "256 samples" in outcome.reason
    assert isinstance(of_layer(code, gain=100, samples=256, **wiring), Fail)
    outcome = of_layer(code, gain=100, reliable=False, **wiring)
    assert isinstance(outcome, Undecided) and "256" in outcome.reason
    outcome = of_layer(code, gain=rules.find(code).limit.value, **wiring)
    assert isinstance(outcome, Undecided) and "interval" in outcome.reason
    layer = replace(specimen.layer("x", gain=100, **wiring), what_if={})
    assert isinstance(only(code, layers=(layer,)), Skip)


def test_every_linear_or_convolutional_layer_is_judged_by_exactly_one_rule() -> None:
    for kind in ("linear", "conv1d", "conv2d"):
        for is_head in (True, False):
            judged = [not isinstance(of_layer(code, kind, is_head=is_head), Skip) for code in ("LC301", "LC302")]
            assert sum(judged) == 1, (kind, is_head)


def test_layers_are_grouped_by_what_they_read() -> None:
    reads = ("sum of branches", "normalisation", "network input", "layer", "unknown", "sum of branches")
    layers = tuple(specimen.layer(f"l{i}", "conv2d", gain=20 + i, reads=what, depth=i) for i, what in enumerate(reads))
    _, findings = rules.judge(specimen.measurements(layers=layers), (rules.find("LC302"),))
    assert {finding.id: finding.layers for finding in findings} == {
        "LC302:uncentred-residual-stream": ("l0", "l5"),
        "LC302:uncentred-activations-after-normalisation": ("l1",),
        "LC302:uncentred-input": ("l2",),
        "LC302:uncentred-layer-inputs": ("l3", "l4"),
    }
    stream = next(finding for finding in findings if len(finding.layers) == 2 and "stream" in finding.id)
    assert "lowers κ_80 by 20.0 to 25.0×" in stream.title and "Most is gained at l5" in stream.message
    assert stream.measured.value == 25 and stream.metric == "gain: κ_80 of Σ_x now / after BatchNorm"


# --- LC303 ----------------------------------------------------------------------------------------


def test_dead_channels_are_counted_where_they_divide() -> None:
    fires = of_layer("LC303", "conv2d", dimension=576, zero=27)
    assert isinstance(fires, Fail) and "27 of 576 input entries (3 of 64 channels)" in fires.evidence[0]
    uneven = of_layer("LC303", "conv2d", dimension=576, zero=28)
    assert isinstance(uneven, Fail) and "channels" not in uneven.evidence[0]


def test_taps_that_only_meet_padding_are_not_called_dead() -> None:
    outcome = of_layer("LC303", "conv2d", dimension=576, zero=512, positions=1)
    assert isinstance(outcome, Undecided)
    assert isinstance(of_layer("LC303", "conv2d", dimension=576, zero=512, positions=1, geometry="3×3"), Fail)
    dilated = of_layer("LC303", "conv2d", dimension=576, zero=64, geometry="3×3, padding 18, dilation 18")
    assert isinstance(dilated, Undecided)


def test_a_few_dead_features_are_told_as_information_with_the_rule_of_three() -> None:
    layers = (
        specimen.layer("layer3.0.conv2", "conv2d", dimension=576, zero=27),
        specimen.layer("linear", zero=16, is_head=True, depth=1),
    )
    (finding,) = rules.judge(specimen.measurements(layers=layers), (rules.find("LC303"),))[1]
    assert finding.severity == "info" and finding.limit.value == 0 and finding.measured == exact(0.25, "share")
    assert "below 0.30 % of samples" in finding.message and "normal" in finding.message
    assert finding.layers == ("layer3.0.conv2", "linear") and "16 of 64 input entries" in finding.message


def test_more_than_a_quarter_dead_is_a_warning_of_its_own() -> None:
    layers = (specimen.layer("few", zero=16), specimen.layer("many", zero=17, depth=1))
    findings = rules.judge(specimen.measurements(layers=layers), (rules.find("LC303"),))[1]
    assert [(finding.severity, finding.layers, finding.limit.value) for finding in findings] == [
        ("warning", ("many",), 0.25),
        ("info", ("few",), 0.0),
    ]


# --- LC304 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "verdict"), [(8, Fail), (9, Pass), (10, Pass)])
def test_head_needs_one_direction_fewer_than_classes(rank: int, verdict: type) -> None:
    assert isinstance(of_layer("LC304", is_head=True, rank=rank), verdict)


def test_a_narrow_head_by_design_has_not_collapsed() -> None:
    assert isinstance(of_layer("LC304", is_head=True, dimension=4), Pass)
    assert isinstance(of_layer("LC304", is_head=True, rank=4, reads="layer", through=""), Skip)


@pytest.mark.parametrize(("rank", "verdict"), [(31, Fail), (32, Fail), (33, Pass)])
def test_inner_layer_needs_more_than_half_of_live_features(rank: int, verdict: type) -> None:
    outcome = of_layer("LC304", dimension=72, zero=8, rank=rank, reads="sum of branches")
    assert isinstance(outcome, verdict)


def test_rank_needs_samples_only_to_fail() -> None:
    assert isinstance(of_layer("LC304", is_head=True, rank=8, samples=255), Undecided)
    assert isinstance(of_layer("LC304", is_head=True, rank=9, samples=20), Pass)


def test_a_collapse_is_one_finding_told_from_where_it_begins() -> None:
    layers = tuple(
        specimen.layer(name, depth=depth, rank=rank, reads="sum of branches")
        for depth, (name, rank) in enumerate({"whole": 64, "first": 20, "second": 3, "third": 0}.items())
    )
    _, findings = rules.judge(specimen.measurements(layers=layers), rules.select(("LC304",), ()))
    assert [finding.layers for finding in findings] == [("first", "second", "third")]
    assert findings[0].title.startswith("The input of first has collapsed to 20 directions, and so have those of 2")


@pytest.mark.parametrize(
    "wiring",
    [
        {"reads": "network input"},
        {"reads": "unknown"},
        {"reads": "layer", "through": ""},
        {"reads": "normalisation", "through": "average pooling"},
    ],
)
def test_rank_is_not_judged_where_it_may_be_the_design(wiring: dict) -> None:
    assert isinstance(of_layer("LC304", rank=3, **wiring), Skip)


# --- LC401 ----------------------------------------------------------------------------------------


def test_replay_is_the_mean_over_layers() -> None:
    layers = (specimen.batch_norm("a", 0.1), specimen.batch_norm("b", 0.3, depth=1))
    combined = _base.replay(specimen.measurements(batch_norms=layers))
    assert combined is not None and combined.value == pytest.approx(0.4)
    assert (combined.low, combined.high) == pytest.approx((0.38, 0.42))


@pytest.mark.parametrize(("shift", "verdict"), [(0.2, Pass), (0.25, Undecided), (0.3, Fail), (math.nan, Undecided)])
def test_replay_verdicts(shift: float, verdict: type) -> None:
    assert isinstance(only("LC401", batch_norms=(specimen.batch_norm(shift=shift),)), verdict)


def test_replay_without_intervals_is_undecided() -> None:
    layer = specimen.batch_norm(shift=3)
    bare = replace(layer, mean_shift=replace(layer.mean_shift, low=None, high=None))
    assert isinstance(only("LC401", batch_norms=(layer, bare)), Undecided)


@pytest.mark.parametrize(
    ("first", "rest", "says"), [(1.0, 0.5, "preprocessing"), (0.1, 0.6, "stale"), (0.4, 0.5, "does not tell")]
)
def test_the_first_batch_norm_points_at_the_cause(first: float, rest: float, says: str) -> None:
    layers = (specimen.batch_norm("stem", first), *(specimen.batch_norm(f"b{i}", rest, depth=i) for i in range(1, 9)))
    outcome = only("LC401", batch_norms=layers)
    assert isinstance(outcome, Fail) and says in outcome.evidence[0] and len(outcome.evidence) == 7
    assert outcome.evidence[1] == "Normalisation of this run: data set default."


# --- LC901 ----------------------------------------------------------------------------------------


def fitted(wrong: int, of: int = 1000, recorded: float | None = None, **changes):
    base = specimen.measurements()
    record = None if recorded is None else RecordedAccuracy("best_prec1", recorded)
    return only("LC901", fit=specimen.fit(wrong, of, **changes), checkpoint=replace(base.checkpoint, recorded=record))


def test_far_from_recorded() -> None:
    assert isinstance(fitted(190, recorded=0.918), Fail)
    assert isinstance(fitted(60, recorded=0.918), Pass)
    assert isinstance(fitted(110, recorded=0.918), Undecided)
    assert isinstance(fitted(29, 100, recorded=0.918), Fail)
    assert isinstance(fitted(4, 20, recorded=0.918), Undecided)


def test_far_from_recorded_names_its_own_limit() -> None:
    rule = rules.find("LC901")
    (finding,) = rules.judge(rule.fires(), (rule,))[1]
    assert finding.id == "LC901:far-from-recorded" and finding.limit.value == pytest.approx(0.1075, abs=0.001)
    assert finding.title.endswith("error 19.0 % on this probe, the checkpoint records 8.2 %")
    assert finding.message.startswith("Read no other figure of this report before this is clear")
    assert (finding.metric, finding.limit.unit) == ("error on the probe", "share")


def test_a_loss_beyond_uniform_names_its_own_figure() -> None:
    measurements = specimen.measurements(fit=specimen.fit(300, loss=2.5))
    (finding,) = rules.judge(measurements, (rules.find("LC901"),))[1]
    assert (finding.metric, finding.limit.unit, finding.measured.unit) == ("loss on the probe", "nat", "nat")


def test_better_than_recorded_passes_with_a_note() -> None:
    base = specimen.measurements(fit=specimen.fit(4))
    base = replace(base, checkpoint=replace(base.checkpoint, recorded=RecordedAccuracy("best_prec1", 0.918)))
    (check,) = rules.judge(base, (rules.find("LC901"),))[0]
    assert check.status == "pass" and "trained on" in check.reason


@pytest.mark.parametrize("recorded", [math.nan, 91.8, -1.0, math.inf])
def test_a_recorded_figure_that_is_no_share_is_not_compared(recorded: float) -> None:
    assert isinstance(fitted(190, recorded=recorded), Pass)


@pytest.mark.parametrize(
    ("wrong", "of", "verdict"),
    [(900, 1000, Fail), (905, 1000, Fail), (5, 5, Undecided), (4, 5, Undecided), (30, 30, Fail), (800, 1000, Pass),
     (1, 2, Undecided), (0, 30, Pass)],
)  # fmt: skip
def test_near_chance(wrong: int, of: int, verdict: type) -> None:
    outcome = fitted(wrong, of)
    assert isinstance(outcome, verdict), outcome


def test_one_class_probes_are_not_compared_with_chance() -> None:
    fit = replace(specimen.fit(40), chance=0.04)
    assert isinstance(only("LC901", fit=fit), Pass)


def test_loss_beyond_uniform_fails_and_around_it_is_undecided() -> None:
    assert isinstance(fitted(300, loss=2.5), Fail)
    assert isinstance(fitted(300, loss=2.3), Undecided)
    assert isinstance(fitted(300, loss=math.nan), Undecided)


def test_batch_norms_are_called_as_witness() -> None:
    rule = rules.find("LC901")

    def message(*batch_norms) -> str:
        (finding,) = rules.judge(replace(rule.fires(), batch_norms=batch_norms), (rule,))[1]
        return finding.message

    assert "The batch norms agree: batch-norm statistics on the probe are off by 4.00 (3.98 – 4.02)" in message(
        specimen.batch_norm(shift=2)
    )
    assert "rule out a gross error" in message(specimen.batch_norm(shift=0.19)) and "They cannot see" in message(
        specimen.batch_norm(shift=0.19)
    )
    assert "do not settle it" in message(specimen.batch_norm(shift=0.25))
    assert "batch norms" not in message()


def test_no_run_and_no_labels_skip() -> None:
    entropy = Quantity(0.2, "nat", 0.1, 0.3, method="normal", n=9)
    assert isinstance(only("LC901", fit=None), Skip)
    assert isinstance(only("LC901", fit=ProbeFit(None, None, None, entropy)), Skip)


# --- LC902, LC903 ---------------------------------------------------------------------------------


def test_too_few_samples_names_the_number_that_would_do() -> None:
    layers = (specimen.layer("a", dimension=512), specimen.layer("b", dimension=600), specimen.layer("c"))
    (finding,) = rules.judge(specimen.measurements(layers=layers), (rules.find("LC902"),))[1]
    assert finding.layers == ("a", "b") and "2400 samples" in finding.title
    assert finding.measured.value == pytest.approx(2.4)


def test_unreliable_in_spite_of_enough_samples() -> None:
    outcome = of_layer("LC902", reliable=False)
    assert isinstance(outcome, Fail) and outcome.measured.value == 2


def test_too_small_a_data_set_is_said() -> None:
    base = specimen.measurements(layers=(specimen.layer("a", dimension=512),))
    base = replace(base, probe=replace(base.probe, available=1200))
    (finding,) = rules.judge(base, (rules.find("LC902"),))[1]
    assert "holds only 1200 samples" in finding.message


def test_what_is_named_nowhere_is_not_passed() -> None:
    outcome = only("LC903")
    assert isinstance(outcome, Undecided) and "902 parameters" in outcome.reason


def test_a_network_that_was_not_run_is_not_counted() -> None:
    assert isinstance(only("LC903", layers=(), non_finite=(NonFinite("w", 1, 2),)), Skip)
    assert isinstance(only("LC903", layers=()), Undecided)


def test_share_of_parameters_not_audited() -> None:
    outcome = only("LC903", not_audited=(NotAudited("bn", "BatchNorm2d", 100, "r"),))
    assert isinstance(outcome, Fail) and outcome.measured == exact(0.05, "share")


def test_a_probe_of_one_class_that_is_always_wrong_does_not_fit():
    fit = replace(specimen.fit(wrong=1000, of=1000, loss=1.0), chance=0.0)
    (outcome,) = rules.find("LC901").check(specimen.measurements(fit=fit))
    assert isinstance(outcome, Fail) and outcome.cause == "near-chance"


# --- what a finding about conditioning names ------------------------------------------------------


def _told(*gains: tuple[float, float], reads: str = "network input"):
    """LC302's one finding about layers with these gains of centring and of BatchNorm."""
    layers = []
    for i, (centring, batch_norm) in enumerate(gains):
        layer = specimen.layer(f"l{i}", "conv2d", gain=batch_norm, reads=reads, depth=i)
        what_if = {**layer.what_if, "centring": replace(layer.what_if["centring"], gain=specimen.quantity(centring))}
        layers.append(replace(layer, what_if=what_if))
    (finding,) = rules.judge(specimen.measurements(layers=tuple(layers)), (rules.find("LC302"),))[1]
    return finding


def test_title_and_figure_name_the_same_change() -> None:
    finding = _told((75.8, 75.7))
    assert "was not centred: centring lowers κ_80 by" in finding.title
    assert finding.metric.endswith("after centring")
    finding = _told((30, 75.7))
    assert ": BatchNorm lowers κ_80 by" in finding.title and finding.metric.endswith("after BatchNorm")


def test_layers_with_different_best_changes_are_told_so() -> None:
    finding = _told((75.8, 60), (20, 30))
    assert ": centring (BatchNorm where that gains more) lowers κ_80 by" in finding.title
    assert finding.metric.endswith("after centring")


def test_an_input_that_centring_makes_worse_is_not_called_uncentred() -> None:
    finding = _told((0.466, 20))
    assert finding.title.startswith("1 layer reads a network input whose scales differ: BatchNorm lowers κ_80 by")
    assert "centred" not in finding.title and finding.message.startswith("Taking the mean out does not help here")
    assert "was not centred" in _told((0.466, 20), (3, 20)).title


# --- a probe of one sample, many times ------------------------------------------------------------


def _one_sample(**changes):
    """Measurements whose moments do not depend on the choice of samples."""
    same = lambda q: replace(q, low=q.value * (1 - 1e-8), high=q.value * (1 + 1e-8))  # noqa: E731
    layers = []
    for one in (
        specimen.layer("conv1", "conv2d", reads="network input", dimension=27),
        specimen.layer("linear", is_head=True, rank=0, depth=1),
    ):
        spectrum = replace(one.input, largest=same(one.input.largest))
        layers.append(replace(one, input=spectrum, mean_energy=same(one.mean_energy)))
    return specimen.measurements(layers=tuple(layers), **changes)


@pytest.mark.parametrize("labelled", [True, False])
def test_samples_that_are_alike_are_blamed_and_the_network_is_not(labelled: bool) -> None:
    entropy = Quantity(0.2, "nat", 0.1, 0.3, method="normal", n=9)
    measured = _one_sample(fit=specimen.fit(900) if labelled else ProbeFit(None, None, None, entropy))
    checks, findings = rules.judge(measured, (rules.find("LC304"), rules.find("LC901")))
    assert [finding.id for finding in findings] == ["LC901:samples-alike"]
    assert findings[0].title.startswith("All samples are alike")
    (collapse,) = [check for check in checks if check.rule == "LC304"]
    assert collapse.status == "undecided" and "alike" in collapse.reason


def test_a_collapse_behind_an_input_that_varies_is_still_the_networks() -> None:
    measured = _one_sample()
    stem = specimen.layer("conv1", "conv2d", reads="network input", dimension=27)
    measured = replace(measured, layers=(stem, measured.layers[1]))
    _, findings = rules.judge(measured, (rules.find("LC304"), rules.find("LC901")))
    assert [finding.rule for finding in findings] == ["LC304"]


# --- the limit that is printed is the one that was compared ---------------------------------------


@pytest.mark.parametrize("wrong", [880, 899, 950])
def test_an_error_at_chance_lies_beyond_the_limit_that_is_printed(wrong: int) -> None:
    measured = specimen.measurements(fit=specimen.fit(wrong))
    (finding,) = rules.judge(measured, (rules.find("LC901"),))[1]
    assert finding.id == "LC901:near-chance"
    assert finding.measured.against(finding.limit.value) == "above"


@pytest.mark.parametrize("rule", rules.all_rules(), ids=lambda rule: rule.code)
def test_a_finding_lies_on_one_side_of_its_limit(rule) -> None:
    for finding in rules.judge(rule.fires(), (rule,))[1]:
        assert finding.measured.against(finding.limit.value) in ("above", "below")
