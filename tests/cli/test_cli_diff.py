"""``lcaudit diff``: two files on the same samples, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from lcaudit.core import serial
from lcaudit.core.comparison import Comparison
from tests.cli.small_network import HEAD, NETWORK, made_worse, options, trained


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A network that fits the digits, one with a head a little worse, and how both are measured."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "network.py").write_text(NETWORK)
    *_, state = trained(160)
    save_file(dict(state), folder / "base.safetensors")
    save_file(made_worse(state, 5), folder / "head.safetensors")
    return folder / "base.safetensors", folder / "head.safetensors", options(folder)


def test_a_network_against_itself(lcaudit, pair):
    base, _, how = pair
    ran = lcaudit("diff", base, base, *how)
    assert ran.code == 0 and "0 regressed, 0 improved" in ran.out
    assert ran.out.splitlines()[-1].startswith("WITHIN NOISE") or "WITHIN NOISE  No change was shown" in ran.out


def test_a_layer_made_a_little_worse(lcaudit, pair):
    base, head, how = pair
    exports = [word for form in ("html", "json", "markdown", "text") for word in ("--export", f"{form}=d.{form}")]
    ran = lcaudit("diff", base, head, *how, *exports)
    assert ran.code == 1 and "REGRESSED" in ran.out
    found = json.loads(Path("d.json").read_text())
    assert found["kind"] == "paired" and found["schema"] == "urn:lcaudit:comparison:1"
    worse = {one["layer"] for one in found["changes"] if one["state"] == "worse"}
    assert worse == {HEAD}
    (change,) = [one for one in found["changes"] if (one["layer"], one["metric"]) == (HEAD, "input.kappa_80")]
    assert change["ratio"]["method"].startswith("paired") and 1.1 < change["ratio"]["value"] < 10
    read = serial.load(Comparison, found)
    assert read.having("worse")
    assert Path("d.markdown").read_text().startswith("### Regressed: ")
    assert "<script" not in Path("d.html").read_text()
    assert lcaudit("diff", head, base, *how).code == 0
    assert lcaudit("diff", base, head, *how, "--exit-zero").code == 0


def test_what_cannot_be_written_is_printed(lcaudit, pair):
    base, head, how = pair
    ran = lcaudit("diff", base, head, *how, "-qq", "--export", "json=/dev/full")
    assert ran.code == 2 and "REGRESSED" in ran.out and "cannot write /dev/full" in ran.err


def test_pairs_see_what_a_baseline_does_not(lcaudit, pair):
    """The paired interval is narrower than the one from both intervals."""
    base, head, how = pair
    lcaudit("diff", base, head, *how, "--export", "json=d.json")
    lcaudit("baseline", "create", base, *how)
    lcaudit("check", head, *how, "--baseline", "lcaudit-baseline.json", "--no-output", "--export", "json=r.json")
    widths = []
    for found in (json.loads(Path("d.json").read_text()), json.loads(Path("r.json").read_text())["baseline"]):
        (one,) = [one for one in found["changes"] if (one["layer"], one["metric"]) == (HEAD, "input.kappa_80")]
        widths.append(one["ratio"]["high"] / one["ratio"]["low"])
    assert widths[0] < widths[1]


def test_reports_that_were_measured_differently_are_refused(lcaudit, pair):
    base, head, how = pair
    lcaudit("check", base, *how, "-o", "one")
    lcaudit("check", head, *how, "-o", "two")
    assert lcaudit("diff", "one/report.json", "two/report.json").code == 1
    lcaudit("check", head, *how, "-o", "two", "--seed", "1")
    refused = lcaudit("diff", "one/report.json", "two/report.json")
    assert refused.code == 2 and "the choice of samples" in refused.err
    assert lcaudit("diff", "one/report.json", "two/report.json", "--samples", "auto").code == 2


def test_wrong_usage(lcaudit):
    assert lcaudit("diff", "a.pt", "b.pt", "--data", "digits", "--export", "svg=x").code == 2
    assert lcaudit("diff", "a.pt", "b.pt").code == 2
