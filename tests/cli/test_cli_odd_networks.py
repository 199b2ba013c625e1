"""Networks and data that are strange but legal get a report: honest, whole, and inert whatever their names."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lcaudit.core.serial import parse_json
from lcaudit.reports._schema import schema

Run = Callable[..., object]


def strict(path: Path) -> dict:
    """A report.json: strict JSON that fits the published schema."""
    report = parse_json(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(report)
    return report


def changed(kit, folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> list[str]:
    """The kit's command line on a copy of its weights after ``change``."""
    weights = load_file(kit.folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "odd.safetensors")
    return ["check", str(folder / "odd.safetensors"), *kit.arguments[2:]]


def _nan(weights: dict[str, torch.Tensor]) -> None:
    weights["3.weight"][2, 5] = math.nan


def _infinite(weights: dict[str, torch.Tensor]) -> None:
    for tensor in weights.values():
        tensor.fill_(-math.inf)


@pytest.mark.parametrize(("change", "tensors"), [(_nan, ["3.weight"]), (_infinite, ["0.weight", "3.weight"])])
def test_weights_that_are_not_numbers_are_an_error_and_nothing_else_is_claimed(
    lcaudit: Run, kit, tmp_path: Path, change, tensors: list[str]
) -> None:
    ran = lcaudit(*changed(kit, tmp_path, change))
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "FAIL (fail-on: error)" and "LC101" in ran.out
    report = strict(Path("lcaudit-report/report.json"))
    assert [finding["rule"] for finding in report["findings"] if finding["severity"] == "error"] == ["LC101"]
    measured = report["measurements"]
    assert (measured["layers"], measured["batch_norms"], measured["fit"]) == ([], [], None)
    assert [one["name"] for one in measured["non_finite"]] == tensors
    statuses = {(check["rule"], check["status"]) for check in report["checks"]}
    assert not {rule for rule, status in statuses if status == "pass"}, "a check of what was not measured passed"
    assert report["gate"]["coverage"] == 0.0 and "no layer was measured" in report["gate"]["reasons"]
    assert lcaudit(*changed(kit, tmp_path, change), "--fail-on", "never").code == 3
    assert lcaudit(*changed(kit, tmp_path, change), "--ignore", "LC101").code == 3


def _huge(weights: dict[str, torch.Tensor]) -> None:
    weights["0.weight"].fill_(3e38)
    weights["3.weight"].fill_(3e38)


def _zero(weights: dict[str, torch.Tensor]) -> None:
    for tensor in weights.values():
        tensor.zero_()


def _tiny(weights: dict[str, torch.Tensor]) -> None:
    for tensor in weights.values():
        tensor.mul_(1e-30)


def _half(weights: dict[str, torch.Tensor]) -> None:
    weights.update({name: tensor.half() for name, tensor in weights.items()})


def _bfloat(weights: dict[str, torch.Tensor]) -> None:
    weights.update({name: tensor.bfloat16() for name, tensor in weights.items()})


@pytest.mark.parametrize("change", [_huge, _zero, _tiny, _half, _bfloat])
def test_any_finite_weights_get_a_report(lcaudit: Run, kit, tmp_path: Path, change) -> None:
    ran = lcaudit(*changed(kit, tmp_path, change))
    assert ran.code in (0, 1, 3), ran.err
    report = strict(Path("lcaudit-report/report.json"))
    assert report["gate"]["counts"]["crash"] == 0
    named = [layer["layer"]["name"] for layer in report["measurements"]["layers"]]
    named += [one["name"] for one in report["measurements"]["not_audited"]]
    assert {"0", "3"} <= set(named)


@pytest.mark.parametrize(
    ("images", "samples"),
    [
        (np.zeros((40, 8, 8), np.uint8), None),
        (np.full((40, 8, 8), 255, np.uint8), None),
        (np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8), 2),
        (np.repeat(np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8), 40, 0), None),
        (np.random.default_rng(0).normal(0, 1e20, (40, 8, 8)), None),
    ],
    ids=["black", "white", "two samples", "one image many times", "enormous"],
)
def test_any_finite_images_get_a_report(lcaudit: Run, kit, tmp_path: Path, images: np.ndarray, samples) -> None:
    np.savez(tmp_path / "odd.npz", images=images)
    more = ["--samples", samples] if samples else []
    ran = lcaudit(*kit.arguments[:-1], tmp_path / "odd.npz", *more)
    assert ran.code in (0, 1, 3), ran.err
    report = strict(Path("lcaudit-report/report.json"))
    assert report["gate"]["counts"]["crash"] == 0
    assert report["measurements"]["probe"]["labelled"] is False


@pytest.mark.skipif(os.name != "posix", reason="any byte in a file name")
def test_a_file_name_that_is_not_utf8(lcaudit: Run, kit, tmp_path: Path) -> None:
    model = tmp_path / "caf\udce9\x1b[31m\n::error::.safetensors"
    shutil.copy(kit.folder / "model.safetensors", model)
    ran = lcaudit("check", model, *kit.arguments[2:], "-o", tmp_path / "out\udcff", "--format", "json")
    assert ran.code == 0
    assert ran.err.isascii() and "out\\udcff/report.html" in ran.err
    assert parse_json(ran.out)["measurements"]["checkpoint"]["name"] == "caf\\udce9\x1b[31m\n::error::.safetensors"
    again = lcaudit("report", tmp_path / "out\udcff" / "report.json")
    assert again.code == 0
    assert all(line.isprintable() and not line.startswith("::") for line in again.out.splitlines())


# Names that a file brings, in a network that loads

NETWORK = """
import torch

NAMES = {names!r}


class Net(torch.nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.add_module(NAMES[0], torch.nn.Conv2d(1, 6, 3, stride=2, padding=1, bias=False))
        self.add_module(NAMES[1], torch.nn.BatchNorm2d(6))
        self.add_module(NAMES[2], torch.nn.Linear(96, 10))
        self.add_module(NAMES[3], torch.nn.PReLU())

    def forward(self, x):
        first, norm, head, act = (getattr(self, name) for name in NAMES)
        return head(act(norm(first(x))).flatten(1))


def make():
    return Net()


make.__name__ = {name!r}
globals()[{name!r}] = make
"""
INNOCENT = ("first", "second", "third", "fourth")
HOSTILE = {
    "markup": ("</script><img src=x onerror=alert(1)>", "<b onclick='x'>", "--><svg/onload=alert(1)>", "&lt;<i>"),
    "attribute": ('x" onmouseover="alert(1)', "y' autofocus='", "z` style=`x", "w=1 href=javascript:x"),
    "template": ("{{ 7*7 }}", "{% include 'x' %}", "{# #}<u>", "${x}"),
    "terminal": ("a\x1b[2J\x1b]0;owned\x07", "b\x9b31m", "c\r\x08d", "d\x7f\x00"),
    "log": ("a\n::error::owned", "##[error]b", "c\n##[group]", "d\r\n::add-mask::x"),
    "reordering": ("a\u202edcba", "b\u2066\u2069", "c\u200b\ufeff", "d\u2028\u2029"),
    "markdown": ("[a](http://x)", "![b](y)|`c`", "~~c~~<!-- -->", "](javascript:x)"),
    "Python": ('"]); import os #', "'); exec('1", "\\\\\"\\'", '"""'),
}


class Page(HTMLParser):
    """Every element with its attributes' names, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "xlink:href")]


def audited(lcaudit: Run, folder: Path, names: tuple[str, ...], *flags: str):
    """Audit the network with its parts called ``names``."""
    factory = names[0] if ":" not in names[0] else "make"  # the part after the last colon is the factory
    (folder / "net.py").write_text(NETWORK.format(names=names, name=factory), encoding="utf-8")
    found: dict[str, Callable[[], torch.nn.Module]] = {}
    exec((folder / "net.py").read_text(encoding="utf-8"), found)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(found[factory]().state_dict(), folder / "model.pt")
    arch = f"{folder / 'net.py'}:{factory}"
    return lcaudit("check", folder / "model.pt", "--arch", arch, "--data", "digits", "--samples", 300, *flags)


@pytest.mark.parametrize("kind", HOSTILE)
def test_names_from_a_file_make_no_element_and_command_no_terminal(lcaudit: Run, tmp_path: Path, kind: str) -> None:
    names = HOSTILE[kind]
    innocent = audited(lcaudit, tmp_path, INNOCENT, "-v", "-o", "innocent")
    hostile = audited(lcaudit, tmp_path, names, "-v", "-o", "hostile", "--color", "always")
    assert innocent.code == hostile.code < 2
    assert all(name in innocent.out for name in INNOCENT)

    pages = {one: Page(Path(one, "report.html").read_text(encoding="utf-8")) for one in ("innocent", "hostile")}
    assert pages["innocent"].shape == pages["hostile"].shape
    assert len(pages["innocent"].shape) > 300
    assert all(re.fullmatch(r"#[\w-]+|https://[\w./-]+", link) for link in pages["hostile"].links)
    text = Path("hostile/report.html").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.split("\n"))

    bare = re.sub(r"\x1b\[(1|0|[39][0-7])m", "", hostile.out)
    assert all(line.isprintable() for line in bare.split("\n"))
    assert "##[" not in bare and not any(line.lstrip().startswith("::") for line in bare.split("\n"))

    report = strict(Path("hostile/report.json"))
    assert [layer["layer"]["name"] for layer in report["measurements"]["layers"]] == [names[0], names[2]]
    raw = Path("hostile/report.json").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in raw.split("\n"))
    assert "</script" not in json.dumps(report).lower() or kind == "markup"
