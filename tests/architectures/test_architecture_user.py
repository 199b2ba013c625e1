"""``--arch file.py:factory``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from architecture_cases import checkpoint

from lcaudit.architectures import resolve
from lcaudit.core.errors import MalformedInput, UnknownArchitecture, UsageError

NETWORK = """
from torch import nn
import torch

def make():
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
"""
TIED = """
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))
"""


def write(folder: Path, text: str) -> str:
    (folder / "net.py").write_text(text, encoding="utf-8")
    return f"{folder / 'net.py'}:"


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Linear(6, 3))
    return dict(made.state_dict())


def test_the_factory_gives_the_network_and_the_report_says_so(tmp_path: Path) -> None:
    network = resolve(checkpoint(state()), write(tmp_path, NETWORK) + "make")
    x, weights = torch.randn(5, 4), state()
    hidden = torch.nn.functional.gelu(x @ weights["0.weight"].T + weights["0.bias"])
    torch.testing.assert_close(network.module(x), hidden @ weights["2.weight"].T + weights["2.bias"])
    record = network.record
    assert (record.family, record.confidence, record.classes, record.input_shape) == ("user", "declared", 3, ())
    assert any("ran the user's file net.py" in step.says for step in record.evidence)
    assert not network.module.training and not any(p.requires_grad for p in network.module.parameters())


WRAPPED = """
class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))

    def forward(self, x):
        return self.net(x)
"""


def test_a_name_before_all_keys_of_either_side_is_no_difference(tmp_path: Path) -> None:
    file_wraps = resolve(
        checkpoint({f"backbone.{key}": value for key, value in state().items()}), write(tmp_path, NETWORK) + "make"
    )
    network_wraps = resolve(checkpoint(state()), write(tmp_path, NETWORK + WRAPPED) + "Wrapped")
    for network, says in (
        (file_wraps, "removed backbone. from every key"),
        (network_wraps, "put net. before every key"),
    ):
        assert any(says in step.says for step in network.record.evidence), network.record.evidence
        stored = network.module.state_dict()
        assert all(torch.equal(stored[key], value) for key, value in zip(stored, state().values(), strict=True))


def test_a_name_before_some_keys_is_a_difference(tmp_path: Path) -> None:
    renamed = {("head." if key.startswith("2") else "") + key: value for key, value in state().items()}
    with pytest.raises(UnknownArchitecture, match=r"head\.2\.weight"):
        resolve(checkpoint(renamed), write(tmp_path, NETWORK) + "make")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WIDTH = 6\n", encoding="utf-8")
    path = list(sys.path)
    resolve(checkpoint(state()), write(tmp_path, NETWORK.replace("import torch\n", "import beside\n")) + "make")
    assert sys.path == path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["beside.py", "net.py"]
    del sys.modules["beside"]


@pytest.mark.parametrize(
    "line",
    [
        "make.input_shape = (1, 2, 2)",
        "old = make\ndef make():\n    m = old()\n    m.input_shape = [1, 2, 2]\n    return m",
    ],
)
def test_input_shape_may_stand_on_the_factory_or_the_module(tmp_path: Path, line: str) -> None:
    network = resolve(checkpoint(state()), write(tmp_path, f"{NETWORK}\n{line}\n") + "make")
    assert network.record.input_shape == (1, 2, 2)


def test_the_number_of_classes_may_be_stated(tmp_path: Path) -> None:
    network = resolve(checkpoint(state()), write(tmp_path, f"{NETWORK}\nmake.num_classes = 2\n") + "make")
    assert network.record.classes == 2


@pytest.mark.parametrize("shape", ["'3x4'", "(3, -1)", "(True,)", "3"])
def test_a_wrong_input_shape(tmp_path: Path, shape: str) -> None:
    with pytest.raises(UsageError, match="expected a tuple of integers"):
        resolve(checkpoint(state()), write(tmp_path, f"{NETWORK}\nmake.input_shape = {shape}\n") + "make")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make():\n    return 1 / 0\n", r"net\.py, line 2: ZeroDivisionError: division by zero"),
        ("x = 1\nimport nowhere_at_all\n", r"net\.py, line 2: ModuleNotFoundError: No module named"),
        ("x = (\n", r"net\.py, line 1: SyntaxError: '\(' was never closed"),
        ("raise SystemExit\n", r"net\.py, line 1: SystemExit$"),
        ("def make(width):\n    pass\n", r"net\.py: TypeError: make\(\) missing 1 required"),
        ("def make():\n    raise ValueError('a\\x1b[31m')\n", r"line 2: ValueError: a\\x1b\[31m$"),
        ("def make():\n    return 3\n", r"make\(\) in net\.py returned int, not nn\.Module"),
        ("make = 3\n", r"make is not a function or class"),
        ("import torch\nmake = torch.nn.Linear(2, 2)\n", r"make is not a function or class"),
        ("pass\n", r"make is not defined in net\.py"),
        ("\0", r"net\.py.*: (SyntaxError|ValueError): source code"),
    ],
)
def test_an_error_in_the_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        resolve(checkpoint(state()), write(tmp_path, text) + "make")
    error = raised.value
    assert error.hint and "\n" not in error.message
    assert error.__context__ is None or error.__suppress_context__


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent\.py: No such file"):
        resolve(checkpoint(state()), f"{tmp_path / 'absent.py'}:make")


def test_a_file_without_a_factory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a family nor file"):
        resolve(checkpoint(state()), write(tmp_path, NETWORK))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    weights = state()
    weights["3.weight"] = weights.pop("2.weight")
    with pytest.raises(UnknownArchitecture, match=r"make in net\.py: 1 tensor missing \(2\.weight\); 1 tensor with no"):
        resolve(checkpoint(weights), write(tmp_path, NETWORK) + "make")
    with pytest.raises(UnknownArchitecture, match=r"2\.bias is 4, expected 3"):
        resolve(checkpoint(state() | {"2.bias": torch.zeros(4)}), write(tmp_path, NETWORK) + "make")


def test_a_tied_weight_may_be_stored_once(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    network = resolve(checkpoint({"second.weight": weight}), write(tmp_path, TIED) + "Tied")
    torch.testing.assert_close(network.module(torch.eye(4)), (weight @ weight).T)
    assert network.module.first.weight is network.module.second.weight
    assert network.record.parameters == 16


def test_a_tied_weight_stored_twice_must_agree(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    tied = write(tmp_path, TIED) + "Tied"
    network = resolve(checkpoint({"first.weight": weight, "second.weight": weight.clone()}), tied)
    assert network.module.first.weight is network.module.second.weight
    with pytest.raises(MalformedInput, match=r"second\.weight and first\.weight are one tensor in the network"):
        resolve(checkpoint({"first.weight": weight, "second.weight": weight + 1}), tied)


def test_buffers_outside_the_state_follow_double_weights(tmp_path: Path) -> None:
    text = NETWORK.replace("    return nn", "    m = nn").rstrip() + (
        "\n    m.register_buffer('scale', torch.ones(1), persistent=False)\n    return m\n"
    )
    weights = {key: value.double() for key, value in state().items()}
    assert resolve(checkpoint(weights), write(tmp_path, text) + "make").module.scale.dtype == torch.float64


def test_a_module_that_keeps_more_than_tensors_is_one_line(tmp_path: Path) -> None:
    text = NETWORK + (
        "\nclass More(nn.Linear):\n"
        "    def get_extra_state(self):\n        return 1\n"
        "    def set_extra_state(self, state):\n        pass\n"
        "def more():\n    return More(4, 3)\n"
    )
    weights = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    with pytest.raises(UnknownArchitecture, match=r"do not fit more in net\.py: .*_extra_state"):
        resolve(checkpoint(weights), write(tmp_path, text) + "more")


def test_a_network_built_in_half_precision_does_not_round_the_weights(tmp_path: Path) -> None:
    text = NETWORK.rstrip() + ".half()\n"
    weights = state()
    network = resolve(checkpoint(weights), write(tmp_path, text) + "make")
    assert torch.equal(network.module[0].weight, weights["0.weight"])


def test_weights_of_another_network_are_told_with_its_name(tmp_path: Path) -> None:
    shapes = {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (3, 6), "2.bias": (3,)}
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    factory = write(tmp_path, "from torch import nn\n\ndef make():\n    return nn.Linear(4, 3)\n") + "make"
    with pytest.raises(UnknownArchitecture, match=r"do not fit make in net\.py") as caught:
        resolve(checkpoint(state), factory)
    assert caught.value.hint.startswith("leave --arch out: these are the tensors of sequential (")
    with pytest.raises(UnknownArchitecture, match=r"do not fit make in net\.py") as caught:
        resolve(checkpoint({"a": torch.zeros(3)}), factory)
    assert caught.value.hint.startswith("pass --arch file.py:factory")
