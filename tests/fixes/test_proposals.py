"""Which fixes are proposed for which findings, and what they promise."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from lcaudit import fixes, rules
from lcaudit.core import plugins, specimen
from lcaudit.core.measurements import Measurements
from lcaudit.core.outcomes import Fix, Price
from lcaudit.fixes._base import Remedy

REMEDIES: tuple[Remedy, ...] = plugins.load_all("lcaudit.fixes", "FIX")


def proposed(code: str, measurements: Measurements | None = None) -> tuple[Fix, ...]:
    rule = rules.find(code)
    measurements = measurements or rule.fires()
    (finding,) = rules.judge(measurements, (rule,))[1]
    return fixes.propose(finding, measurements)


def head(**changes) -> Measurements:
    return specimen.measurements(layers=(specimen.layer("head", is_head=True, gain=10, **changes),))


@pytest.mark.parametrize("name", plugins.names("lcaudit.fixes"))
def test_file_name_is_fix_id_and_rules_exist(name: str) -> None:
    remedy = plugins.load("lcaudit.fixes", name, "FIX")
    assert remedy.id == name.replace("_", "-") and remedy.mends
    assert all(rules.find(code).code == code for code in remedy.mends)
    assert plugins.document("lcaudit.fixes", name)


@pytest.mark.parametrize("code", sorted({code for remedy in REMEDIES for code in remedy.mends}))
def test_every_fix_is_complete(code: str) -> None:
    found = proposed(code, with_norms(rules.find(code).fires()))
    assert {fix.id for fix in found} == {remedy.id for remedy in REMEDIES if code in remedy.mends}
    for fix in found:
        assert fix.title and not fix.title.endswith(".") and fix.how.endswith(".") and fix.cost
        assert not any(effect.basis == "measured" for effect in fix.effects), "nothing was measured again yet"
        assert (fix.price is None) == (fix.id == "match-preprocessing"), "what changes the network has a price"
        if fix.price and "retraining" in fix.cost:
            assert fix.price.retraining == ("no retraining" not in fix.cost)


@pytest.mark.parametrize("code", ["LC101", "LC304", "LC902", "LC903"])
def test_no_fix_is_invented(code: str) -> None:
    assert proposed(code) == ()


def test_head_fixes_are_safe_and_ranked_by_gain() -> None:
    first, second = proposed("LC301")
    assert (first.id, second.id) == ("batch-norm-before", "centre-input")
    assert first.applicability == second.applicability == "safe"
    effect = first.effects[0]
    assert (effect.layer, effect.metric, effect.basis) == ("head", "κ_80 of Σ_x", "computed")
    assert effect.gain.value == pytest.approx(10) and effect.before.value == pytest.approx(2960)
    assert effect.after.value == pytest.approx(296)


def with_norms(measurements: Measurements, layer_norm: float = 9.0, rms_norm: float = 2.0) -> Measurements:
    """With what was measured behind normalisations of single samples."""
    gains = {"layer_norm": layer_norm, "rms_norm": rms_norm}
    layers = tuple(
        replace(
            one,
            layer=replace(one.layer, channels=64, elements=128),
            what_if=one.what_if
            | {
                key: replace(one.what_if["batch_norm"], change=key, gain=specimen.quantity(gain, unit="×"))
                for key, gain in gains.items()
            },
        )
        for one in measurements.layers
    )
    return replace(measurements, layers=layers)


def test_what_needs_training_again_comes_last_however_much_it_gains() -> None:
    found = proposed("LC301", with_norms(head(), layer_norm=200, rms_norm=100))
    ids = ["batch-norm-before", "centre-input", "layer-norm-before", "rms-norm-before"]
    assert [fix.id for fix in found] == ids
    assert [fix.applicability for fix in found] == ["safe", "safe", "display", "display"]
    assert [fix.price for fix in found] == [
        Price(128, 256, False), Price(0, 128, False), Price(128, 1024, True), Price(64, 512, True)
    ]  # fmt: skip


def test_advice_that_gains_next_to_nothing_is_left_out() -> None:
    found = proposed("LC301", with_norms(head(), layer_norm=9, rms_norm=1.2))
    assert [fix.id for fix in found] == ["batch-norm-before", "centre-input", "layer-norm-before"]


def test_of_equal_gains_the_cheaper_comes_first() -> None:
    measurements = with_norms(head())
    for centring, first in ((9.5, "centre-input"), (7.0, "batch-norm-before")):
        (layer,) = measurements.layers
        what_if = {**layer.what_if, "centring": replace(layer.what_if["centring"], gain=specimen.quantity(centring))}
        found = proposed("LC301", replace(measurements, layers=(replace(layer, what_if=what_if),)))
        assert found[0].id == first


def test_gain_at_the_median_has_the_wider_interval() -> None:
    effect = next(effect for effect in proposed("LC301", head())[0].effects if "50" in effect.metric)
    assert effect.gain.value == pytest.approx(effect.before.value / effect.after.value)
    assert effect.gain.low == pytest.approx(effect.before.low / effect.after.high)
    assert effect.gain.high == pytest.approx(effect.before.high / effect.after.low)


def test_centring_first_where_it_gains_more() -> None:
    measurements = head()
    (layer,) = measurements.layers
    what_if = {**layer.what_if, "centring": replace(layer.what_if["centring"], gain=specimen.quantity(30))}
    measurements = replace(measurements, layers=(replace(layer, what_if=what_if),))
    assert [fix.id for fix in proposed("LC301", measurements)] == ["centre-input", "batch-norm-before"]


def changed(layer, centring: float, batch_norm: float):
    gains = {"centring": centring, "batch_norm": batch_norm}
    what_if = {key: replace(one, gain=specimen.quantity(gains[key])) for key, one in layer.what_if.items()}
    return replace(layer, what_if=what_if)


def test_what_makes_it_worse_is_not_proposed() -> None:
    measurements = head()
    measurements = replace(measurements, layers=(changed(measurements.layers[0], 0.466, 8),))
    assert [fix.id for fix in proposed("LC301", measurements)] == ["batch-norm-before"]


def test_layers_that_it_makes_worse_are_left_out() -> None:
    measurements = inner("1×1", "1×1")
    first, second = measurements.layers
    measurements = replace(measurements, layers=(changed(first, 0.5, 20), changed(second, 8, 20)))
    layers = {fix.id: fix.layers for fix in proposed("LC302", measurements)}
    assert layers == {"batch-norm-before": ("block.0", "block.1"), "centre-input": ("block.1",)}


def inner(*geometries: str) -> Measurements:
    return specimen.measurements(
        layers=tuple(
            specimen.layer(f"block.{i}", "conv2d", gain=20, reads="sum of branches", geometry=geometry, depth=i)
            for i, geometry in enumerate(geometries)
        )
    )


def test_zero_padding_is_said_and_the_fix_is_safe() -> None:
    for geometries, sentence in (
        (("1×1", "3×3, padding 1"), "1 of 2 layers pad with zeros (block.1): the zeros are put there before"),
        (("3×3, padding 1",), "This layer pads with zeros: the zeros are put there before"),
    ):
        fixes_of = proposed("LC302", inner(*geometries))
        assert {fix.applicability for fix in fixes_of} == {"safe"}
        assert all(sentence in fix.how and "no retraining" in fix.cost for fix in fixes_of)
    assert all("zeros" not in fix.how for fix in proposed("LC302", inner("1×1", "3×3")))


HOSTILE = ('x"]); import os; os.system("id") #', "a\n::error::", "a b", "a..b", "a" * 300, "été", "\x1b[2J", "", "a.")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_not_module_paths_never_enter_code(name: str) -> None:
    measurements = specimen.measurements(layers=(specimen.layer(name, is_head=True, gain=10),))
    for fix in proposed("LC301", measurements):
        assert fix.code == "" and fix.how.isprintable() and fix.title.isprintable()


def test_code_parses_and_holds_the_names() -> None:
    measurements = inner(*["3×3"] * 20)
    (fix, _) = proposed("LC302", measurements)
    call = ast.parse(fix.code).body[-1].value
    assert ast.literal_eval(call.args[1]) == [f"block.{i}" for i in range(20)]


def test_tokens_get_advice_without_code() -> None:
    (fix, centring) = proposed("LC301", head(positions=16))
    assert fix.code == "" and "positions" in fix.how and centring.code


def test_hostile_preprocessing_text_is_escaped() -> None:
    base = rules.find("LC901").fires()
    probe = replace(base.probe, dataset="x\x1b[2J", split="\n", source="‮")
    probe = replace(probe, normalisation=replace(probe.normalisation, source="a\n::error::b"))
    (fix,) = proposed("LC901", replace(base, probe=probe))
    assert fix.how.isprintable() and fix.applicability == "display"
    assert "mean (0.5, 0.5, 0.5)" in fix.how and "x" not in fix.code.split("--data")[1].split()[0]


def test_dead_weights_are_counted() -> None:
    (fix,) = proposed("LC303")
    assert fix.how.startswith("2900 weights in 2 layers"), "270 × 10 and 20 × 10 outputs"


def test_recalibration_warns_against_hiding_a_mistake() -> None:
    fix = next(fix for fix in proposed("LC401") if fix.id == "recalibrate-batch-norm")
    assert fix.applicability == "unsafe" and "hide the mistake" in fix.how
    assert fix.layers == ("bn1", "layer1.0.bn1", "layer1.0.bn2")


def test_a_shared_weight_gets_no_change_folded_into_it():
    shared = specimen.layer("head", is_head=True, gain=12.0, geometry="shared with embed")
    measured = specimen.measurements(layers=(shared,))
    _, findings = rules.judge(measured, [rules.find("LC301")])
    assert findings and all(
        fix.id not in ("batch-norm-before", "centre-input") for fix in fixes.propose(findings[0], measured)
    )
