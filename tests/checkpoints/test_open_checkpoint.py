"""Round trips: every container, nesting and prefix gives the same tensors, and says what was undone."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lcaudit
from lcaudit.checkpoints import _pickle_beside, open_checkpoint
from lcaudit.checkpoints._torch_load import load_checked
from lcaudit.core import plugins
from lcaudit.core.errors import MalformedInput, UnsafeCheckpoint
from lcaudit.core.measurements import NonFinite, RecordedAccuracy
from lcaudit.core.text import display_name

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "checkpoints"


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(3, 2))


def _state() -> dict[str, torch.Tensor]:
    return dict(_network().state_dict())


def _same(left: Any, right: Any) -> bool:
    return list(left) == list(right) and all(
        left[key].dtype == right[key].dtype and torch.equal(left[key], right[key]) for key in left
    )


def _save(path: Path, value: object, container: str) -> Path:
    if container == "safetensors":
        save_file(value, path)
    elif container == "safetensors-sharded":
        path.mkdir()
        weight_map = {key: f"part-{number % 2}.safetensors" for number, key in enumerate(value)}
        for name in set(weight_map.values()):
            save_file({key: tensor for key, tensor in value.items() if weight_map[key] == name}, path / name)
        index = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
        (path / "model.safetensors.index.json").write_text(index)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=container == "torch-zip")
    return path


@pytest.mark.parametrize("container", ["safetensors", "safetensors-sharded", "torch-zip", "torch-legacy"])
def test_every_container_gives_the_same_tensors_in_order_of_key(container: str, tmp_path: Path) -> None:
    path = _save(tmp_path / "weights.xyz", _state(), container)
    opened = open_checkpoint(path)
    assert _same(opened.tensors, dict(sorted(_state().items())))
    assert opened.record.container == container
    assert opened.record.name == "weights.xyz"
    assert opened.record.unwrapped == () and opened.record.recorded is None and opened.non_finite == ()
    for file in opened.record.files:
        data = (path / file.name if path.is_dir() else path).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    lines = sorted(f"{file.sha256}  {file.name}\n" for file in opened.record.files)
    several = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert opened.record.sha256 == (several if len(lines) > 1 else opened.record.files[0].sha256)
    for tensor in opened.tensors.values():
        assert type(tensor) is torch.Tensor and tensor.is_contiguous() and not tensor.requires_grad


@pytest.mark.parametrize("container", ["safetensors", "torch-zip"])
def test_a_folder_with_one_checkpoint(container: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("# model")
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "pipe")
    _save(tmp_path / "weights", _state(), container)
    assert _same(open_checkpoint(tmp_path).tensors, dict(sorted(_state().items())))


def test_of_one_model_in_two_formats_safetensors_is_read(tmp_path: Path) -> None:
    _save(tmp_path / "model.safetensors", _state(), "safetensors")
    _save(tmp_path / "pytorch_model.bin", _state(), "torch-zip")
    assert [file.name for file in open_checkpoint(tmp_path).record.files] == ["model.safetensors"]


def test_an_index_named_directly(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", _state(), "safetensors-sharded")
    opened = open_checkpoint(folder / "model.safetensors.index.json")
    assert len(opened.record.files) == 3 and opened.record.name == "model.safetensors.index.json"


def test_the_hub_cache_layout_and_named_links_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    _save(blobs / "0123", _state(), "safetensors")
    (snapshot / "model.safetensors").symlink_to(blobs / "0123")
    (tmp_path / "latest").symlink_to(blobs / "0123")
    assert open_checkpoint(snapshot).record.files[0].name == "model.safetensors"
    assert open_checkpoint(tmp_path / "latest").record.name == "latest"


def test_a_real_training_checkpoint(tmp_path: Path) -> None:
    network = _network()
    optimizer = torch.optim.Adam(network.parameters())
    network[2](torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    value = {
        "epoch": 7,
        "arch": "tiny",
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "best_acc": torch.tensor(91.5),
        "rng_state": torch.get_rng_state(),
        "milestones": Counter({30: 1}),
        "seen": {1, 2},
        "blob": b"\x00\xff",
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([3]),
        "nothing": None,
        "losses": [1.5, 2.5],
        "lr": (0.1, True, 2**40, -3),
    }
    assert isinstance(scheduler.state_dict()["milestones"], Counter)
    for container in ("torch-zip", "torch-legacy"):
        opened = open_checkpoint(_save(tmp_path / container, value, container))
        assert _same(opened.tensors, dict(sorted(network.state_dict().items())))
        assert opened.record.unwrapped == ("took the weights under 'state_dict'",)
        assert opened.record.recorded == RecordedAccuracy("best_acc", 0.915)


def _prefixed(prefix: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    return {prefix + key: value for key, value in (state or _state()).items()}


NESTINGS: dict[str, tuple[Any, tuple[str, ...]]] = {
    **{
        key: ({key: _state(), "epoch": 3}, (f"took the weights under '{key}'",))
        for key in ("state_dict", "model_state_dict", "model", "net", "network", "module")
    },
    **{
        f"only {key}": ({key: _state()}, (f"took the running average under '{key}', the only weights in the file",))
        for key in ("ema", "state_dict_ema", "model_ema")
    },
    "plain beside average": (
        {"model_ema": {"w": torch.ones(1)}, "model": _state()},
        ("took the weights under 'model'; the running average under model_ema was left out",),
    ),
    "twice": (
        {"model": {"state_dict": _state()}},
        ("took the weights under 'model'", "took the weights under 'state_dict'"),
    ),
    "own name": ({"resnet": _state(), "epoch": 3}, ("took the weights under 'resnet', the only ones in the file",)),
    "name that is text": ({"model": "resnet18", "state_dict": _state()}, ("took the weights under 'state_dict'",)),
    "DataParallel": (_prefixed("module."), ("removed the prefix 'module.' of DataParallel or a like wrapper",)),
    "both wrappers": (
        _prefixed("module._orig_mod.model."),
        (
            "removed the prefix 'module.' of DataParallel or a like wrapper",
            "removed the prefix '_orig_mod.' of torch.compile",
            "removed the prefix 'model.' of a training class",
        ),
    ),
    "other order": (
        _prefixed("_orig_mod.module."),
        (
            "removed the prefix '_orig_mod.' of torch.compile",
            "removed the prefix 'module.' of DataParallel or a like wrapper",
        ),
    ),
    "averaged model": (
        {"n_averaged": torch.tensor(3), **_prefixed("module.")},
        (
            "left out 1 counter 'n_averaged' that AveragedModel added",
            "removed the prefix 'module.' of DataParallel or a like wrapper",
        ),
    ),
    "Fabric": (
        _prefixed("_forward_module.model."),
        (
            "removed the prefix '_forward_module.' of Fabric or DeepSpeed",
            "removed the prefix 'model.' of a training class",
        ),
    ),
    "losses and metrics beside it": (
        {**_prefixed("model."), "train_acc.total": torch.zeros(()), "loss_fn.weight": torch.ones(2)},
        (
            "left out 2 tensors of losses or metrics beside 'model': train_acc, loss_fn",
            "removed the prefix 'model.' of a training class",
        ),
    ),
    "metrics within a wrapper": (
        {**_prefixed("module.model."), "module.val_top1_accuracy.correct": torch.zeros(2, 3)},
        (
            "removed the prefix 'module.' of DataParallel or a like wrapper",
            "left out 1 tensor of losses or metrics beside 'model': val_top1_accuracy",
            "removed the prefix 'model.' of a training class",
        ),
    ),
    "an average beside it": (
        {**_prefixed("model."), **_prefixed("ema_model.module."), "ema_model.n_averaged": torch.tensor(2)},
        (
            "left out 1 counter 'n_averaged' that AveragedModel added",
            f"left out {len(_state())} tensors of a running average of the network beside 'model': ema_model",
            "removed the prefix 'model.' of a training class",
        ),
    ),
    "thop": (
        {**_state(), "total_ops": torch.zeros(1), "0.total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
        (
            "left out 2 counters 'total_ops' that thop added",
            "left out 1 counter 'total_params' that thop added",
        ),
    ),
    "extra state": ({**_state(), "epoch": 3}, ("left out 1 entry that is no tensor: epoch",)),
    "OrderedDict with metadata": (_network().state_dict(), ()),
    "parameters": (dict(_network().state_dict(keep_vars=True)), ()),
}


@pytest.mark.parametrize("name", NESTINGS)
def test_nesting_and_prefixes_are_undone_and_said(name: str, tmp_path: Path) -> None:
    value, steps = NESTINGS[name]
    opened = open_checkpoint(_save(tmp_path / "model.pt", value, "torch-zip"))
    assert _same(opened.tensors, dict(sorted(_state().items())))
    assert opened.record.unwrapped == steps


def test_a_prefix_that_some_keys_lack_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    opened = open_checkpoint(_save(tmp_path / "model.pt", state, "torch-zip"))
    assert list(opened.tensors) == ["b", "module.a"] and opened.record.unwrapped == ()
    alone = open_checkpoint(_save(tmp_path / "alone.pt", {"module.": torch.ones(1)}, "torch-zip"))
    assert list(alone.tensors) == ["module."]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"body.a": 3, "head.a": 3, "metric.a": 3}, id="two parts of a network"),
        pytest.param({"a": 3, "criterion.a": 3}, id="parameters of its own"),
        pytest.param({"model.a": 3, "ema.a": 4}, id="an average of another shape"),
        pytest.param({"model.a": 3, "model.b": 3, "ema.a": 3}, id="an average of a part"),
        pytest.param({"body.a": 3, "lossless.a": 3}, id="a name that only begins so"),
        pytest.param({"loss.a": 3, "metric.a": 3}, id="nothing else"),
    ],
)
def test_what_may_be_a_part_of_the_network_stays(state: dict[str, int], tmp_path: Path) -> None:
    stored = {key: torch.ones(size) for key, size in state.items()}
    opened = open_checkpoint(_save(tmp_path / "model.pt", stored, "torch-zip"))
    assert sorted(opened.tensors) == sorted(state) and opened.record.unwrapped == ()


def test_num_batches_tracked_is_kept(tmp_path: Path) -> None:
    assert "1.num_batches_tracked" in open_checkpoint(_save(tmp_path / "m", _state(), "torch-zip")).tensors


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"model": _state(), "net": _state()}, "several sets of weights: model, net"),
        ({"generator": _state(), "critic": _state()}, "several sets of weights: generator, critic"),
        ({"ema": _state(), "model_ema": _state()}, "several running averages: ema, model_ema"),
        ({"a.weight_orig": torch.ones(1), "a.weight_mask": torch.ones(1)}, "pruned weight"),
        ({"a.weight_orig": torch.ones(1), "a.weight_u": torch.ones(1)}, "spectrally normalised"),
        ({"a.weight_g": torch.ones(1), "a.weight_v": torch.ones(1)}, "direction and length"),
        ({"a.parametrizations.weight.original0": torch.ones(1)}, "parametrized weight"),
        ({"parametrizations.weight.original": torch.ones(1)}, "parametrized weight"),
        ({"total_ops": torch.ones(1)}, "holds no tensors"),
    ],
)
def test_what_cannot_be_undone_is_refused(value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match=re.escape(says)):
        open_checkpoint(_save(tmp_path / "model.pt", value, "torch-zip"))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"best_prec1": 91.75}, RecordedAccuracy("best_prec1", 0.9175)),
        ({"acc": 0.5}, RecordedAccuracy("acc", 0.5)),
        ({"top1": 1}, RecordedAccuracy("top1", 1.0)),
        ({"acc": 12.0, "best_acc1": torch.tensor([50.0])}, RecordedAccuracy("best_acc1", 0.5)),
        ({"best_acc": float("nan"), "val_acc": 25}, RecordedAccuracy("val_acc", 0.25)),
        ({"best_acc": True}, None),
        ({"best_acc": 1.4}, None),
        ({"best_acc": 250.0}, None),
        ({"best_acc": -3}, None),
        ({"best_acc": 0.0}, None),
        ({"best_acc": [91.0]}, None),
        ({"best_acc": 2**200}, None),
    ],
)
def test_recorded_accuracy(entries: dict[str, Any], expected: RecordedAccuracy | None, tmp_path: Path) -> None:
    value = {"state_dict": _state(), **entries}
    assert open_checkpoint(_save(tmp_path / "model.pt", value, "torch-zip")).record.recorded == expected


def test_safetensors_metadata_carries_accuracy_and_tied_names(tmp_path: Path) -> None:
    metadata = {"format": "pt", "best_prec1": "91.75", "head.weight": "2.weight", "note": "x"}
    save_file(_state(), tmp_path / "model.safetensors", metadata)
    opened = open_checkpoint(tmp_path / "model.safetensors")
    assert opened.record.recorded == RecordedAccuracy("best_prec1", 0.9175)
    assert torch.equal(opened.tensors["head.weight"], opened.tensors["2.weight"])
    assert opened.record.unwrapped == ("restored 1 tied name from the metadata: head.weight",)


DTYPES = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")


@pytest.mark.parametrize("container", ["safetensors", "torch-zip"])
def test_non_finite_entries_are_counted_in_every_dtype(container: str, tmp_path: Path) -> None:
    values = torch.tensor([1.0, float("nan"), 2.0, float("nan")])
    state = {name: values.to(getattr(torch, name)) for name in DTYPES} | {"good": torch.ones(3), "empty": torch.ones(0)}
    state |= {"infinite": torch.tensor([float("-inf"), 1.0]), "int64": torch.ones(2, dtype=torch.int64)}
    state |= {"uint16": torch.ones(2, dtype=torch.uint16), "bool": torch.ones(2, dtype=torch.bool)}
    opened = open_checkpoint(_save(tmp_path / "model", state, container))
    expected = dict.fromkeys(DTYPES, 2) | {"infinite": 1}
    assert {entry.name: entry.entries for entry in opened.non_finite} == expected
    assert opened.non_finite[0] == NonFinite("bfloat16", 2, 4)
    assert {key: tensor.dtype for key, tensor in opened.tensors.items()} == {k: v.dtype for k, v in state.items()}


def test_views_and_tied_weights(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    state = {"a": base.view(3, 4).t(), "b": base[3:5], "c": torch.nn.Parameter(base)}
    opened = open_checkpoint(_save(tmp_path / "model.pt", state, "torch-zip"))
    assert _same(opened.tensors, {key: value.detach() for key, value in state.items()})
    assert opened.tensors["a"].is_contiguous()


def test_views_that_would_multiply_memory_are_refused(tmp_path: Path) -> None:
    base = torch.zeros(100, 100)
    state = {f"{number}": base.t() for number in range(100)}
    with pytest.raises(MalformedInput, match="amount to more than the file"):
        open_checkpoint(_save(tmp_path / "model.pt", state, "torch-zip"))


def test_an_ordered_dict_as_python_2_wrote_it(tmp_path: Path) -> None:
    from corpus_parts import archive, call, pickled, storage, tensor

    pair = b"](U\x01w" + tensor(storage()) + b"e"
    data = archive(pickled(call("collections.OrderedDict", b"](" + pair + b"e")), {"data/0": b"\0\0\x80\x3f"})
    (tmp_path / "model.pt").write_bytes(data)
    assert open_checkpoint(tmp_path / "model.pt").tensors["w"].tolist() == [1.0]


def test_torch_refusing_what_the_dry_run_accepts_is_still_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("text\nwith advice on weights_only=False")

    path = _save(tmp_path / "model.pt", _state(), "torch-zip")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MalformedInput) as caught:
        open_checkpoint(path)
    assert "RuntimeError" in caught.value.message and "weights_only" not in caught.value.message


@pytest.mark.parametrize("container", ["torch-zip", "torch-legacy"])
def test_what_training_scripts_keep_beside_weights(container: str, tmp_path: Path) -> None:
    args = argparse.Namespace(lr=0.1, out=Path("a/b"), inner=argparse.Namespace(depth=[1, 2]), data={"a": (1, None)})
    beside = {
        "args": args,
        "best_acc": np.float64(91.25),
        "others": [
            np.float32(1),
            np.int64(2),
            np.bool_(True),
            np.str_("x"),
            np.datetime64("2020-01-01"),
            np.float16(1),
        ],
        "dtype": np.dtype("float32"),
    }
    opened = open_checkpoint(_save(tmp_path / "a.pt", {**beside, "state_dict": _state()}, container))
    assert _same(opened.tensors, dict(sorted(_state().items())))
    assert opened.record.recorded == RecordedAccuracy("best_acc", 0.9125)
    old = (tmp_path / "a.pt").read_bytes()
    if container == "torch-legacy":  # as NumPy 1 wrote it
        (tmp_path / "b.pt").write_bytes(old.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert open_checkpoint(tmp_path / "b.pt").record.recorded == RecordedAccuracy("best_acc", 0.9125)


def test_of_what_is_kept_beside_weights_nothing_is_built(tmp_path: Path) -> None:
    """argparse, pathlib and NumPy are not asked to make anything: only numbers come through."""
    kept = [argparse.Namespace(lr=0.1), Path("a"), np.float64(-2.5), np.int16(-7), np.bool_(True), np.str_("x")]
    kept += [np.array([1, 2], ">i4")[1]]
    torch.save(kept, tmp_path / "a.pt")
    found = load_checked("a.pt", (tmp_path / "a.pt").read_bytes())
    assert isinstance(found, list)
    namespace, place, *numbers = found
    assert type(namespace) is _pickle_beside.Namespace and not vars(namespace) and place is None
    assert numbers == [-2.5, -7, True, None, 2] and all(type(one).__module__ == "builtins" for one in numbers)
    assert not set(_pickle_beside.STAND_INS) & set(torch.serialization.get_safe_globals())  # only while reading


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_is_named_and_its_recipe_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compressed members break the rules of torch.save's archives, which is no damage."""
    monkeypatch.chdir(tmp_path)
    network = _network().eval()
    torch.jit.save(torch.jit.script(network), "model.pt")
    with pytest.raises(UnsafeCheckpoint, match="a TorchScript archive") as caught:
        open_checkpoint(Path("model.pt"))
    recipe = caught.value.hint.partition(": ")[2].replace("FILE", "'model.pt'")
    assert display_name(caught.value.hint, 500) == caught.value.hint
    exec(f"import torch, safetensors.torch\n{recipe}")
    assert _same(open_checkpoint(Path("weights.safetensors")).tensors, dict(sorted(_state().items())))


@pytest.mark.parametrize("kind", ["pt2", "torch.save"])
def test_what_was_cut_off_is_to_be_downloaded_again(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    if kind == "pt2":
        torch.export.save(torch.export.export(torch.nn.Linear(30, 20), (torch.zeros(2, 30),)), path)
    else:
        torch.save(_state(), path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(MalformedInput, match="truncated") as caught:
        open_checkpoint(path)
    assert caught.value.hint == "download the file again, or save it again"


def test_torch_unpickles_at_one_place_only() -> None:
    root = Path(lcaudit.__file__).parent
    sources = {path: path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    calls = [path.name for path, source in sources.items() for _ in re.findall(r"\btorch\.load\(", source)]
    assert calls == ["_torch_load.py"]
    site = next(source for path, source in sources.items() if path.name == "_torch_load.py")
    assert re.search(r'torch\.load\([^#\n]*map_location="cpu", weights_only=True', site)
    # allowed are our own stand-ins alone, and the words of a recipe
    forbidden = r"weights_only\s*=\s*False|add_safe_globals|safe_globals\((?!STAND_INS\))|jit\.load\((?!FILE,)"
    forbidden += r"|import pickle\b|pickle\.loads?\("
    assert all(made.__module__ == _pickle_beside.__name__ for made, _ in _pickle_beside.STAND_INS)
    assert {name for _, name in _pickle_beside.STAND_INS} == {*_pickle_beside.CALLS, *_pickle_beside.MADE}
    assert [path.name for path, source in sources.items() if re.search(forbidden, source)] == []


def test_containers_as_a_set(tmp_path: Path) -> None:
    containers = plugins.load_all("lcaudit.checkpoints", "CONTAINER")
    assert sorted(container.name for container in containers) == [
        "safetensors",
        "safetensors-sharded",
        "torch-export",
        "torch-legacy",
        "torch-zip",
    ]
    for container in containers:
        if container.name == "torch-export":  # a zip file too, told apart by its members: test_exported_programs.py
            continue
        path = _save(tmp_path / container.name, _state(), container.name)
        file = path / "model.safetensors.index.json" if path.is_dir() else path
        claims = [other.name for other in containers if other.sniff(file.read_bytes()[:4096])]
        assert claims == [container.name]
    for name in plugins.names("lcaudit.checkpoints"):
        assert plugins.document("lcaudit.checkpoints", name)


@pytest.mark.parametrize(
    ("name", "tensors", "accuracy"),
    [
        ("resnet20-12fca82f.th", 97, 0.9178),
        ("resnet32-d509ac18.th", 157, 0.9278),
        ("resnet44-014dd654.th", 217, 0.9314),
    ],
)
def test_public_checkpoints(name: str, tensors: int, accuracy: float, tmp_path: Path) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    opened = open_checkpoint(SHARED / name)
    assert opened.record.container == "torch-legacy"
    # The publisher put the first eight digits of the hash into the name.
    assert opened.record.sha256.startswith(name[-11:-3])
    assert len(opened.tensors) == tensors and "conv1.weight" in opened.tensors
    assert opened.record.recorded is not None
    assert opened.record.recorded.value == pytest.approx(accuracy, abs=1e-6)
    assert len(opened.record.unwrapped) == 2 and opened.non_finite == ()
    copy = tmp_path / "copy.safetensors"
    save_file(dict(opened.tensors), copy, {"best_prec1": str(opened.record.recorded.value)})
    again = open_checkpoint(copy)
    assert _same(again.tensors, opened.tensors) and _same(dict(sorted(load_file(copy).items())), opened.tensors)
    assert again.record.recorded == opened.record.recorded


def test_an_environment_that_asks_for_unsafe_loading_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UnsafeCheckpoint, match="Module was pickled"):
        open_checkpoint(_save(tmp_path / "model.pt", {"model": _network()}, "torch-zip"))
    good = _save(tmp_path / "good.pt", OrderedDict(_state()), "torch-zip")
    assert _same(open_checkpoint(good).tensors, dict(sorted(_state().items())))
