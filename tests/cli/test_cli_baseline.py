"""A repository that gates on its baseline, end to end: green, made worse, red, mended, green."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lcaudit import comparisons
from tests.cli.small_network import HEAD, NETWORK, made_worse, options, trained

FILE = Path("lcaudit-baseline.json")
REVIEWS = [
    word
    for form in ("sarif", "github", "gitlab", "junit", "concise", "markdown")
    for word in ("--export", f"{form}=run.{form}")
]


@dataclass(frozen=True, slots=True)
class Repository:
    """A working folder with a model, the one before it, and the options with which it is measured."""

    model: Path
    worse: Path
    options: tuple[str, ...]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with a network that fits the digits, and one that computes the same with a worse head."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "network.py").write_text(NETWORK)
    *_, state = trained(160)
    save_file(dict(state), folder / "model.safetensors")
    save_file(made_worse(state, 10), folder / "worse.safetensors")
    return folder


@pytest.fixture
def repository(weights, lcaudit) -> Repository:
    for path in weights.iterdir():
        shutil.copy(path, path.name)
    return Repository(Path("model.safetensors"), Path("worse.safetensors"), options(Path()))


def gate(lcaudit: Callable, repository: Repository, *more: str):
    return lcaudit("check", repository.model, *repository.options, "--baseline", FILE, "--no-output", *more)


def pointed_at(baseline: Path) -> None:
    """Every format for reviews tells the worse figure, and where it can, shows its line in the baseline."""
    lines = baseline.read_text().splitlines()
    place = 1 + next(number for number, line in enumerate(lines) if f'"{HEAD}"' in line)
    results = json.loads(Path("run.sarif").read_text())["runs"][0]["results"]
    worse = [one for one in results if one["ruleId"] == "baseline"]
    assert worse and all(one["level"] == "error" for one in worse)
    where = worse[0]["locations"][0]["physicalLocation"]
    assert where == {"artifactLocation": {"uri": baseline.name}, "region": {"startLine": place}}
    entry = next(one for one in json.loads(Path("run.gitlab").read_text()) if one["check_name"].startswith("baseline"))
    assert entry["location"] == {"path": baseline.name, "lines": {"begin": place}}
    assert (
        f"::error file={baseline.name},line={place},title=baseline worse-than-baseline"
        in Path("run.github").read_text()
    )
    assert f": {HEAD}".replace(": ", ":") in Path("run.concise").read_text()
    assert 'classname="lcaudit.worse-than-baseline"' in Path("run.junit").read_text()
    assert "`baseline` worse\\-than\\-baseline" in Path("run.markdown").read_text().replace("-than-", "\\-than\\-")


def test_green_made_worse_red_mended_green(lcaudit, repository):
    made = lcaudit("baseline", "create", repository.model, *repository.options)
    assert made.code == 0 and made.out.startswith("lcaudit-baseline.json: ")
    good, before = repository.model.read_bytes(), FILE.read_bytes()
    green = gate(lcaudit, repository)
    assert green.code == 0 and "0 worse, 0 improved" in green.out

    repository.model.write_bytes(repository.worse.read_bytes())
    red = gate(lcaudit, repository, "--export", "html=page.html", "--export", "json=run.json", *REVIEWS)
    assert red.code == 1
    pointed_at(FILE)
    last = red.out.splitlines()[-1]
    assert last.startswith("FAIL") and f"worse than the baseline: {HEAD}" in red.out
    page = Path("page.html").read_text()
    assert 'id="baseline"' in page and "Against the baseline" in page
    found = json.loads(Path("run.json").read_text())
    assert found["gate"]["verdict"] == "fail" and found["baseline"]["kind"] == "baseline"
    assert {one["layer"] for one in found["baseline"]["changes"] if one["state"] == "worse"} == {HEAD}
    assert lcaudit("report", "run.json").code == 1, "rendered again it says the same"

    kept = lcaudit("baseline", "update", repository.model, *repository.options)
    assert kept.code == 1 and FILE.read_bytes() == before, "a ratchet does not follow what is worse"

    repository.model.write_bytes(good)
    assert gate(lcaudit, repository).code == 0 and FILE.read_bytes() == before


def test_green_made_worse_red_mended_by_fix_green(lcaudit, repository):
    """From files alone, the head being wrapped by the fix: its figures are held against those of its old name."""
    assert lcaudit("baseline", "create", repository.model, *repository.options).code == 0
    before = FILE.read_bytes()
    assert gate(lcaudit, repository).code == 0
    repository.model.write_bytes(repository.worse.read_bytes())
    red = gate(lcaudit, repository)
    assert red.code == 1 and f"worse than the baseline: {HEAD}" in red.out

    fixed = Path("fixed.safetensors")
    made = lcaudit("fix", repository.model, *repository.options, "--select", "LC301", "-o", fixed)
    assert made.code == 0 and f"gone: LC301:{HEAD}" in made.out
    assert f"{HEAD}.1.weight" in load_file(fixed), "the layer has another name now"
    held = ("check", fixed, *repository.options, "--baseline", FILE, "--no-output")
    green = lcaudit(*held, "--export", "json=run.json")
    assert green.code == 0 and "not measured" not in green.out and "prune" not in green.out, green.out
    found = json.loads(Path("run.json").read_text())
    changes = {one["layer"]: one["state"] for one in found["baseline"]["changes"] if one["metric"] == "input.kappa_80"}
    assert set(changes) == {"0", "3", HEAD} and changes[HEAD] in ("unchanged", "improved")
    assert lcaudit("baseline", "prune", fixed, *repository.options).out.endswith("nothing to drop\n")
    assert FILE.read_bytes() == before
    moved = lcaudit("baseline", "update", "run.json")
    assert moved.code == 0 and {one.layer for one in comparisons.read(FILE.read_text()).entries} == set(changes)

    diff = lcaudit("diff", repository.model, fixed, *repository.options)
    assert diff.code == 0 and "only in" not in diff.out and "improved" in diff.out
    assert lcaudit("track", repository.model, fixed, *repository.options, "-o", "line").code == 0
    points = [json.loads(line) for line in next(Path("line").glob("*.jsonl")).read_text().splitlines()]
    assert [{one["layer"] for one in point["entries"]} for point in points] == [set(changes)] * 2


def test_a_worse_value_is_accepted_with_a_reason_and_an_improvement_without(lcaudit, repository):
    assert lcaudit("baseline", "create", repository.worse, *repository.options).code == 0
    worse = FILE.read_text()
    update = ("baseline", "update", repository.model, *repository.options)
    moved = lcaudit(*update)
    assert moved.code == 0 and "moved" in moved.out and "improved" in moved.out
    assert FILE.read_text() != worse and lcaudit(*update).out.endswith("nothing better was shown\n")
    back = ("baseline", "update", repository.worse, *repository.options, "--accept-worse", HEAD)
    assert lcaudit(*back).code == 2
    accepted = lcaudit(*back, "--reason", "smaller features")
    assert accepted.code == 0
    entries = comparisons.read(FILE.read_text()).entries
    assert {one.accepted for one in entries if one.layer == HEAD} >= {"smaller features"}


def test_another_measurement_is_refused_with_the_command_that_refreshes(lcaudit, repository):
    assert lcaudit("baseline", "create", repository.model, *repository.options).code == 0
    refused = gate(lcaudit, repository, "--samples", "290")
    assert refused.code == 2 and "the number of samples (400, now 290)" in refused.err
    hint = refused.err.splitlines()[-1]
    assert "`lcaudit baseline create model.safetensors --data " in hint and "--samples 290" in hint
    assert hint.rstrip("`").endswith("--force --file lcaudit-baseline.json")
    assert lcaudit(*shlex.split(hint.partition("`lcaudit ")[2].rstrip("`"))).code == 0
    assert gate(lcaudit, repository, "--samples", "290").code == 0


def test_a_report_serves_in_place_of_a_measurement(lcaudit, repository):
    lcaudit("check", repository.model, *repository.options, "-o", "run")
    created = lcaudit("baseline", "create", "run/report.json")
    assert created.code == 0 and "measuring" not in created.err
    assert lcaudit("baseline", "update", "run/report.json").code == 0
    pruned = lcaudit("baseline", "prune", "run/report.json")
    assert (pruned.code, pruned.out) == (0, "lcaudit-baseline.json: nothing to drop\n")


def test_create_replaces_nothing_unasked(lcaudit, repository):
    lcaudit("check", repository.model, *repository.options, "-o", "run")
    FILE.write_text("mine")
    refused = lcaudit("baseline", "create", "run/report.json")
    assert refused.code == 2 and "there already" in refused.err and FILE.read_text() == "mine"
    assert lcaudit("baseline", "create", "run/report.json", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "m.pt", "--data", "digits", "--baseline", "absent.json"], "absent.json: No such file"),
        (["check", "m.pt", "--data", "digits", "--baseline", "bad.json"], "bad.json: not a baseline"),
        (["baseline", "update", "run.json", "--file", "bad.json"], "not a baseline"),
        (["baseline", "create", "m.pt"], "--data is missing"),
        (["baseline", "create", "absent.json"], "absent.json: No such file"),
        (["baseline", "create", "bad.json"], "bad.json: "),
    ],
)
def test_what_cannot_be_read_is_one_line(lcaudit, arguments, said):
    Path("bad.json").write_text('{"schema": "else"}')
    ran = lcaudit(*arguments)
    assert ran.code == 2 and said in ran.err and "Traceback" not in ran.err and ran.out == ""


def test_reviews_point_at_the_layer_s_line_in_the_baseline(lcaudit, repository):
    assert lcaudit("baseline", "create", repository.model, *repository.options).code == 0
    gate(lcaudit, repository, "--export", "json=run.json")
    found = json.loads(Path("run.json").read_text())["anchors"]
    lines = FILE.read_text().splitlines()
    assert found[HEAD]["file"] == FILE.name
    assert f'"layer": "{HEAD}"' in lines[found[HEAD]["line"] - 1]
