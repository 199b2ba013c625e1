"""A program that torch.export saved is audited as the module that it was exported from, and runs nothing else."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lcaudit
from lcaudit import architectures, checkpoints
from lcaudit.core.errors import AuditError, LimitExceeded, UnknownArchitecture
from lcaudit.core.serial import plain

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, while it exports
NETWORKS = '''
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.after = after

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if x.shape != out.shape:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.after - x.shape[1]))
        return F.relu_(out + x)


class ResNet(nn.Module):
    """ResNet-20 for pictures of 8 × 8 pixels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        widths = [8] * 3 + [12] * 3 + [16] * 3
        self.layers = nn.ModuleList(
            Block(before, after, 1 + (before != after)) for before, after in zip([8, *widths], widths)
        )
        self.linear = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in self.layers:
            x = layer(x)
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class Transformer(nn.Module):
    """Two encoder layers over the rows of a picture, with a class token; sizes asked for wherever one can."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 12)
        self.cls = nn.Parameter(torch.randn(1, 1, 12))
        self.positions = nn.Parameter(torch.randn(1, 9, 12))
        self.qkv = nn.ModuleList(nn.Linear(12, 36) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(12, 12) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(5))
        self.up = nn.ModuleList(nn.Linear(12, 24) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(24, 12) for _ in range(2))
        self.head = nn.Linear(12, 10)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        b = x.shape[0]
        x = self.embed(x.reshape(b, 8, 8))
        x = torch.cat([self.cls.expand(b, -1, -1), x], 1) + self.positions
        for i in range(2):
            q, k, v = self.qkv[i](self.norms[2 * i](x)).reshape(b, 9, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
            a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 9, 12)
            x = x + self.drop(self.out[i](a))
            x = x + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](x))))
        return self.head(self.norms[4](x)[:, 0])


class Attention(nn.Module):
    """torch's own layers, which lay tokens out before samples."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.layer(x.squeeze(1)).mean(1))


class Tokens(nn.Module):
    """Reads token ids."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, ids):
        return self.head(torch.tanh(self.mix(self.words(ids))).mean(1))


def seeded(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.3, 0.3)
                part.running_var.uniform_(0.5, 1.5)
    return network.eval()


def resnet():
    return seeded(ResNet)


def transformer():
    return seeded(Transformer)


def attention():
    return seeded(Attention)


def tokens():
    return seeded(Tokens)


resnet.input_shape = transformer.input_shape = (1, 8, 8)
tokens.input_shape = (6,)
resnet.num_classes = transformer.num_classes = 10
'''
FOUND: dict[str, Any] = {}
exec(compile(NETWORKS, "networks.py", "exec"), FOUND)
ANY = ({0: torch.export.Dim("batch")},)


def exported(network: nn.Module, inputs: torch.Tensor, path: Path, dynamic: Any = None, lower: bool = False) -> Path:
    program = torch.export.export(network, (inputs,), dynamic_shapes=dynamic)
    torch.export.save(program.run_decompositions() if lower else program, path)
    return path


def opened(path: Path) -> Any:
    return architectures.resolve(checkpoints.open_checkpoint(path))


def edited(path: Path, change: Callable[[Any], None]) -> Path:
    """The same program with a changed graph."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                graph = json.loads(data)
                change(graph["graph_module"]["graph"])
                data = json.dumps(graph).encode()
            new.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    return path


def compare(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            compare(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            compare(*pair, f"{where}[{place}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-12), where
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=rng.integers(0, 10, 40))
    np.savez(folder / "ids.npz", input_ids=rng.integers(0, 30, (40, 6)), labels=rng.integers(0, 5, 40))
    (folder / "networks.py").write_text(NETWORKS)
    return folder


@pytest.fixture(scope="module")
def eager(data: Path) -> Callable[[str], Any]:
    """The measurements of the module itself, once for each network."""
    known: dict[str, Any] = {}

    def measured(name: str, dtype: str) -> Any:
        if (name, dtype) not in known:
            torch.save(FOUND[name]().state_dict(), data / f"{name}.pt")
            arch = f"{data / 'networks.py'}:{name}"
            known[name, dtype] = audited(data / f"{name}.pt", data, name, arch=arch, dtype=dtype)
        return known[name, dtype]

    return measured


def audited(path: Path, data: Path, name: str, **options: Any) -> Any:
    if name != "tokens":
        options |= {"mean": (0.4,), "std": (0.3,)}
    return lcaudit.audit(path, data / ("ids.npz" if name == "tokens" else "images.npz"), **options).measurements


@pytest.mark.parametrize("name", ["resnet", "transformer", "tokens"])
@pytest.mark.parametrize("how", ["any batch", "one sample", "four samples", "lowered"])
def test_the_same_figures_as_the_module_itself(name: str, how: str, eager: Any, data: Path, tmp_path: Path) -> None:
    network = FOUND[name]()
    size = {"any batch": 3, "one sample": 1, "four samples": 4, "lowered": 3}[how]
    inputs = torch.randint(0, 30, (size, 6)) if name == "tokens" else torch.randn(size, 1, 8, 8)
    dynamic = ANY if how in ("any batch", "lowered") else None
    path = exported(network, inputs, tmp_path / "net.pt2", dynamic, lower=how == "lowered")
    # lowered attention is computed in other steps: in float32 its rounding is another
    dtype = "float64" if how == "lowered" else "float32"
    found, wanted = pair = audited(path, data, name, dtype=dtype), eager(name, dtype)
    assert found.network.confidence == "declared" and found.network.family == "exported_program"
    assert found.network.parameters == wanted.network.parameters
    for part in ("fit", "batch_norms", "not_audited"):
        one, other = ([plain(each) for each in getattr(of, part)] if part != "fit" else plain(of.fit) for of in pair)
        for each in (*one, *other) if part == "not_audited" else ():
            del each["kind"]  # classes of modules leave no trace in a graph
        if part == "not_audited" and how == "lowered":  # biases are added by themselves, and named as such
            one = [each for each in one if "bias is used by 'add'" not in each["reason"]]
        compare(one, other, part)
    mine, theirs = ({one.layer.name: plain(one) for one in of.layers} for of in (found, wanted))
    assert mine.keys() == theirs.keys()
    if how == "lowered":  # sequences are flattened before they meet a weight: single samples cannot be told apart
        for one in (*mine.values(), *theirs.values()):
            for key in [key for key in one if key not in ("input", "gradient", "layer")]:
                one.pop(key)
            one["layer"] = one["layer"]["name"]
    compare(mine, theirs)


@pytest.mark.parametrize("name", ["resnet", "transformer", "attention"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_of_every_size_give_the_modules_outputs(name: str, size: int, tmp_path: Path) -> None:
    network = FOUND[name]()
    found = opened(exported(network, torch.randn(size, 1, 8, 8), tmp_path / "net.pt2"))
    for module in (found.module, copy.deepcopy(found.module)):
        for samples in (1, 2, 4, 5, 8, 9):
            inputs = torch.randn(samples, 1, 8, 8)
            with torch.no_grad():
                assert torch.allclose(module(inputs), network(inputs), atol=1e-5)


class Mixed(nn.Module):
    """What a sample gives depends on the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x - x.mean(0))


class Fixed(nn.Module):
    """Its own code holds the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.reshape(2, 8).t().reshape(4, 4))


class Active(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.dropout(x, 0.5, training=True))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.fc(x), x


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x + torch.rand_like(x))


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Mixed(), "exported for batches of exactly 4, and"),
        (Fixed(), "exported for batches of exactly 4, and"),
        (Active(), "training mode: a dropout"),
        (Two(), "gives 2 outputs"),
        (Random(), "aten.rand_like.default"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train(), "training mode|changes its own"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(network: nn.Module, says: str, tmp_path: Path) -> None:
    path = exported(network, torch.randn(4, 4), tmp_path / "net.pt2")
    with pytest.raises(UnknownArchitecture, match=says) as caught:
        opened(path)
    assert caught.value.message.isprintable() and caught.value.hint


TARGETS = {
    "torch.ops.aten.from_file.default": UnknownArchitecture,
    "torch.ops.aten.as_strided.default": UnknownArchitecture,
    "torch.ops.aten.set_.source_Storage": UnknownArchitecture,
    "torch.ops.aten._unsafe_index.Tensor": UnknownArchitecture,
    "torch.ops.aten.relu.out": UnknownArchitecture,
    "torch.ops.aten.nothing_of_the_kind.default": UnknownArchitecture,
    "torch.ops.aten.relu.nothing": UnknownArchitecture,
    "torch.ops.mine.evil.default": UnknownArchitecture,
    "torch.ops.aten.relu.default.__class__": UnknownArchitecture,
    "os.system": UnknownArchitecture,
    "builtins.eval": UnknownArchitecture,
    "_operator.attrgetter": UnknownArchitecture,
    "torch.load": UnknownArchitecture,
    "\x1b[31m": UnknownArchitecture,
}


@pytest.mark.parametrize("target", TARGETS)
def test_only_listed_operators_are_looked_up(target: str, tmp_path: Path) -> None:
    path = exported(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4), tmp_path / "net.pt2", ANY)
    edited(path, lambda graph: graph["nodes"][-1].update(target=target))
    with pytest.raises(TARGETS[target]) as caught:
        opened(path)
    assert caught.value.message.isprintable() and "its graph calls" in caught.value.message


def _node(target: str, output: str, *args: Any) -> dict[str, Any]:
    inputs = [{"name": str(place), "arg": arg, "kind": 1} for place, arg in enumerate(args)]
    return {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": output}}], "metadata": {}}


@pytest.mark.parametrize(
    ("node", "error", "says"),
    [
        (_node("torch.ops.aten.zeros.default", "z", {"as_ints": [2**40]}), LimitExceeded, "too much memory"),
        (_node("torch.ops.aten.arange.default", "z", {"as_int": 2**40}), LimitExceeded, "too much memory"),
        (_node("torch.ops.aten.zero_.default", "z", {"as_tensor": {"name": "p_0_weight"}}), UnknownArchitecture,
         "changes the program's own weights"),
        (_node("torch.ops.aten.relu.default", "z", {"as_tensor": {"name": "later"}}), AuditError, "too early"),
        (_node("torch.ops.aten.relu.default", "z", {"as_string": "x"}), UnknownArchitecture, "failed on an input"),
        (_node("_operator.mul", "z", {"as_int": 2**40}, {"as_int": 2**40}), LimitExceeded, "size beyond"),
        (_node("_operator.mul", "z", {"as_string": "x" * 999}, {"as_int": 2**40}), AuditError, "no number"),
    ],
)  # fmt: skip
def test_what_a_graph_does_is_bounded(node: Mapping[str, Any], error: type, says: str, tmp_path: Path) -> None:
    path = exported(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4), tmp_path / "net.pt2", ANY)
    edited(path, lambda graph: graph["nodes"].insert(0, node))
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 4), np.float32), y=np.zeros(20, np.int64))
    before = {key: value.clone() for key, value in opened(path).module.state_dict().items()}
    with pytest.raises(error, match=says):
        lcaudit.audit(path, tmp_path / "x.npz")
    assert all(torch.equal(value, before[key]) for key, value in opened(path).module.state_dict().items())


def test_nothing_of_torchs_own_loader_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(FOUND["resnet"](), torch.randn(2, 1, 8, 8), tmp_path / "net.pt2", ANY)

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("loaded by torch")

    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(torch.export, "load", never)
    assert opened(path).record.classes == 10


def test_names_that_are_methods_hide_none(tmp_path: Path) -> None:
    network = nn.Sequential()
    network._modules["forward_"] = nn.Linear(4, 4)
    path = exported(network, torch.randn(2, 4), tmp_path / "net.pt2", ANY)
    data = path.read_bytes()
    assert data.count(b"forward_.weight") >= 1
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name).replace(b"forward_.", b"forward.") for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)
    found = opened(path)
    inputs = torch.randn(3, 4)
    assert torch.allclose(found.module(inputs), network(inputs))


def test_identify_says_what_it_is_and_fix_refuses(
    lcaudit_command: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    path = exported(FOUND["resnet"](), torch.randn(2, 1, 8, 8), tmp_path / "net.pt2", ANY)
    code, out, _ = lcaudit_command("identify", path)
    assert code == 0 and "exported program" in out and "20 layers" in out and "any × 1 × 8 × 8" in out
    code, _, err = lcaudit_command("fix", path, "--data", data / "images.npz", "-o", tmp_path / "x.safetensors")
    assert code == 2 and "an exported program has none" in err


@pytest.fixture
def lcaudit_command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    from lcaudit.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return (code, *capfd.readouterr())

    return run
