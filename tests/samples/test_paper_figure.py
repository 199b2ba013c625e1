"""``docs/paper-figure.md`` is what today's code makes of the committed figures, and the pipeline still runs."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file

import lcaudit
from benchmarks import paper_figure, paper_networks
from benchmarks.paper_page import Figures, Spread, said
from benchmarks.paper_page import render as render_page


@pytest.fixture(scope="module")
def committed():
    return json.loads(paper_figure.RESULTS.read_text(encoding="utf-8"))


def test_the_page_and_its_plots_are_up_to_date(committed):
    for path, wanted in render_page(committed, paper_figure.PAGE).items():
        assert path.read_text(encoding="utf-8") == wanted, f"{path.name}: python -m benchmarks.paper_figure --render"


def test_the_figures_are_those_of_the_plan(committed):
    plan = json.loads(json.dumps(paper_figure.asdict(paper_figure.Plan())))
    assert committed["plan"] == plan
    assert len(committed["residual"]) == len(plan["depths"]) * 2 * len(plan["seeds"])
    for network in committed["residual"]:
        assert len(network["columns"]["name"]) == network["depth"]


def test_the_page_states_the_committed_figures(committed):
    f = Figures(committed)
    page = render_page(committed, paper_figure.PAGE)[paper_figure.PAGE]
    for depth in f.plan["depths"]:
        assert str(f.head(depth, False, "x_80")) in page
    assert "TODO" not in page and "nan" not in page.lower().split()


def test_the_whole_pipeline_runs_in_small(tmp_path):
    document = json.loads(paper_figure.dumps(paper_figure.run(paper_figure.TOY, lambda text: None)))
    assert [len(one["columns"]["name"]) for one in document["mlp"]["networks"]] == [3] * len(
        document["mlp"]["networks"]
    )
    assert [one["last_bn"] for one in document["residual"]] == [False, True]
    assert document["residual"][1]["columns"]["name"][-1] == "linear.1"
    made = render_page(document, tmp_path / "page.md")
    assert "| verdict |" in made.pop(tmp_path / "page.md")
    for text in made.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_a_settled_network_does_the_same_in_evaluation_as_in_training():
    images, _ = paper_figure.split("train")
    torch.manual_seed(0)
    network = paper_figure.settled(paper_networks.residual(8, True), images)
    with torch.no_grad():
        calm, busy = network(images), network.train()(images)
    assert (calm - busy).abs().max() < 1e-3 * busy.abs().max()


def test_named_and_recognised_networks_measure_alike(tmp_path):
    """The same weights by family and by ``--arch``: a plain network must not look different for its route."""
    torch.manual_seed(0)
    images, _ = paper_figure.split("train")
    network = paper_figure.settled(paper_networks.residual(8, False), images)
    save_file(network.state_dict(), tmp_path / "n.safetensors")
    (tmp_path / "net.py").write_text(
        "from benchmarks.paper_networks import residual\n\ndef make():\n    return residual(8, False)\n"
    )
    found = [
        lcaudit.audit(tmp_path / "n.safetensors", "digits", samples=200, arch=arch, device="cpu").measurements.layers
        for arch in (None, f"{tmp_path / 'net.py'}:make")
    ]
    for one, other in zip(*found, strict=True):
        assert one.layer.name == other.layer.name
        assert one.input.largest.value == pytest.approx(other.input.largest.value, rel=1e-6)


def test_words_follow_the_seeds():
    assert said([True, True]) == "reproduces" and said([False, False]) == "does not reproduce"
    assert said([True, False]) == "mixed: 1 of 2" and said([]) == "not measured"
    assert str(Spread((3.0, 1.0, 2.0))) == "2.00 (1.00 – 3.00)" and str(Spread((2.0,))) == "2.00"


def test_no_figure_is_made_of_what_is_not_a_number():
    assert paper_figure.rounded(math.nan) is None and paper_figure.rounded(math.inf) is None
    assert paper_figure.rounded(123456.0) == 123500.0
