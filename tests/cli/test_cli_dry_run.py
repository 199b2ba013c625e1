"""``--dry-run`` says beforehand what a run takes, and leaves nothing behind; ``--max-memory`` holds it to that."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lcaudit.capture import _stream, budget, fisher_of, measure, plan_run
from lcaudit.core import memory
from lcaudit.core.errors import UsageError
from tests.capture.test_work import Work, residual
from tests.cases import mlp, network, probe
from tests.wide.wide_cases import forced

CPU = torch.device("cpu")
MOST = 2**30


class Heads(nn.Module):
    """Two layers that read one tensor, and a head."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(30, 8), nn.Linear(30, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head((self.left(x) * self.right(x)).tanh())


def planned(model, inputs, most=MOST, **options):
    arguments = {"dtype": torch.float32, "batch_size": 20, "convention": "kfac"} | options
    return plan_run(
        network(model), probe(inputs), device=CPU, task="classification", ignore_index=-100, layers=(),
        fisher=fisher_of(None, 1, "kfac"), max_memory=most, **arguments,
    )  # fmt: skip


NETWORKS = {
    "vectors": (lambda: mlp(40, 30, 20, 5), lambda: torch.randn(130, 40)),
    "wide": (lambda: mlp(1500, 30, 1300, 3), lambda: torch.rand(90, 1500)),
    "images": (residual, lambda: torch.randn(60, 3, 16, 16)),
    "shared": (Heads, lambda: torch.randn(120, 30)),
}


@pytest.mark.parametrize("most", [MOST, 2**21, 1_700_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_memory_of_the_moments_is_predicted_to_the_byte(name, most):
    torch.manual_seed(0)
    build, draw = NETWORKS[name]
    model, inputs = build(), draw()
    model(inputs[:2])
    layers, stages = planned(model, inputs, most)
    moments = measure(
        network(model), probe(inputs), device=CPU, dtype=torch.float32, batch_size=20, seed=0, max_memory=most
    )
    by_name = {one.layer.name: one for one in moments.layers}
    for layer in layers:
        one, taken = by_name[layer.name], [moment.nbytes for moment in layer.moments]
        assert taken == [0 if layer.moments[0].form == "shared" else one.inputs.second.nbytes, one.gradient.nbytes]
        assert layer.why == one.form
    assert {stage.name: stage.nbytes for stage in stages}["moments"] == sum(layer.nbytes for layer in layers) <= most
    if name == "shared":
        assert [layer.moments[0].form for layer in layers] == ["sums", "shared", "sums"]


def counted(model, inputs, monkeypatch):
    monkeypatch.setattr(_stream.Run, "sample_grams", lambda *arguments: {})
    with Work() as work:
        measure(network(model), probe(inputs), device=CPU, dtype=torch.float32, batch_size=20, seed=0)
    return work.operations


@pytest.mark.parametrize("widths", [(40, 30, 20, 5), (600, 20, 7)])
def test_operations_of_linear_layers_are_predicted_exactly(widths, monkeypatch):
    torch.manual_seed(1)
    model, inputs = mlp(*widths), torch.randn(130, widths[0])
    _, stages = planned(model, inputs)
    passes, moments = (next(stage for stage in stages if stage.name == name) for name in ("passes", "moments"))
    assert passes.operations + moments.operations == counted(model, inputs, monkeypatch)


def test_operations_of_convolutions_are_predicted_nearly(monkeypatch):
    torch.manual_seed(2)
    model, inputs = residual(), torch.randn(100, 3, 16, 16)
    model(inputs[:2])
    _, stages = planned(model, inputs)
    passes, moments = (next(stage for stage in stages if stage.name == name) for name in ("passes", "moments"))
    monkeypatch.setattr(_stream.Run, "_sums", lambda self, most: {})
    monkeypatch.setattr(
        _stream.Run, "_see", lambda self, use, output: self.graph.begin(output) if torch.is_grad_enabled() else output
    )
    only_passes = counted(model, inputs, monkeypatch)
    assert passes.operations == only_passes
    monkeypatch.undo()
    whole = counted(model, inputs, monkeypatch)
    assert passes.operations + moments.operations == pytest.approx(whole, rel=0.25)


def test_nothing_is_written(lcaudit, kit):
    ran = lcaudit(*kit.arguments, "--dry-run", "--export", "json=run.json")
    assert ran.code == 0, ran.err
    assert "Nothing was measured, nothing written." in ran.out and "sums of 10" in ran.out
    assert not list(Path.cwd().iterdir())


def test_a_format_of_a_preset_is_no_obstacle(lcaudit, kit):
    ran = lcaudit(*kit.arguments, "--dry-run", "--preset", "ci")
    assert ran.code == 0 and "Nothing was measured" in ran.out, ran.err


def test_a_gate_cannot_be_turned_into_a_dry_run_from_elsewhere(lcaudit, kit, monkeypatch):
    monkeypatch.setenv("LCAUDIT_DRY_RUN", "1")
    assert "Nothing was measured" not in lcaudit(*kit.wrong).out
    monkeypatch.delenv("LCAUDIT_DRY_RUN")
    Path("lcaudit.toml").write_text("dry-run = true\n", encoding="utf-8")
    assert lcaudit(*kit.wrong, "--config", "lcaudit.toml").code != 0


def test_the_plan_as_json(lcaudit, kit):
    ran = lcaudit(
        *kit.wrong, "--dry-run", "--format", "json", "--max-memory", "100MB", "--fail-on", "warning", "--layers", "3",
        "--samples", "auto",
    )  # fmt: skip
    plan = json.loads(ran.out)
    assert ran.code == 0 and plan["max_memory"] == 100_000_000 and plan["samples"] == 300
    assert {stage["name"] for stage in plan["stages"]} == {"passes", "moments", "single gradients", "eigenvalues"}
    assert [layer["refused"] for layer in plan["layers"]] == ["not asked for by --layers", ""]
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dry-run", "--format", "html"), "--dry-run with --format html, expected text or json"),
        (("--dry-run", "--max-memory", "1KB"), "the moments of this network take at least"),
        (("--max-memory", "1KB"), "the moments of this network take at least"),
        (("--max-memory", "much"), "much is no amount of memory"),
    ],
)
def test_what_cannot_be_is_one_line(lcaudit, kit, options, says):
    ran = lcaudit(*kit.arguments, *options)
    assert ran.code == 2 and says in ran.err and not ran.out
    assert "Traceback" not in ran.err and not list(Path.cwd().iterdir())


def test_a_form_that_is_not_the_usual_one_is_in_every_report(lcaudit, kit):
    ran = lcaudit(*kit.arguments, "--max-memory", "200kB", "-v", "-o", "out")
    assert ran.code == 0, ran.err
    report = json.loads(Path("out/report.json").read_text(encoding="utf-8"))
    forms = [layer["form"] for layer in report["measurements"]["layers"] if layer["form"]]
    assert forms and report["measurements"]["settings"]["max_memory"] == 200_000
    assert "Kept as" in Path("out/report.html").read_text(encoding="utf-8")
    assert "4 groups of samples in place of 10, where --max-memory allows 195 KiB" in " ".join(ran.out.split())


def test_a_sketched_layer_is_told_from_one_with_too_few_samples(lcaudit, kit, monkeypatch):
    monkeypatch.setattr(budget, "SPAN", 8)
    with forced("sketch", 8):
        ran = lcaudit(*kit.arguments, "-v", "-o", "out", "--fail-on", "warning")
    report = json.loads(Path("out/report.json").read_text(encoding="utf-8"))
    judged = [one for one in report["checks"] if one["rule"] in ("LC301", "LC302") and one["layer"]]
    assert judged and all(one["status"] in ("undecided", "skip") for one in judged)
    assert any("known within bounds only" in one["reason"] for one in judged)
    assert not [one for one in report["findings"] if one["rule"] == "LC902"], "samples are not what is missing"
    assert "known within bounds only" in " ".join(ran.out.split())
    assert "with bounds in the place of the interval" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8GB", 8 * 10**9), ("500 MiB", 500 * 2**20), ("2g", 2**31), ("1024", 1024), ("1.5kb", 1500), ("1e9", 10**9)],
)
def test_amounts_of_memory(text, amount):
    assert memory.parse(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 GB please", "0", "1e99TB", "nan", "٣GB"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(UsageError, match="no amount of memory"):
        memory.parse(text)


def test_the_default_is_a_share_of_what_is_free_that_small_changes_do_not_move():
    assert memory.allowance(None) == memory.UNKNOWN
    for free in (10**9, 5 * 10**9, 64 * 2**30):
        amount = memory.allowance(free)
        assert free / 4 < amount <= free / 2 and amount.bit_count() == 1
    assert memory.allowance(20 * 10**9) == memory.allowance(21 * 10**9)
    assert memory.free() is None or memory.free() > 2**20
