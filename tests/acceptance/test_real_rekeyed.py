"""Copies of a published network under other names: recognised as what they are, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from real_material import NETWORKS, TEST
from safetensors.torch import save_file

from lcaudit import architectures, capture, checkpoints, probes
from lcaudit.core.errors import MalformedInput, UnknownArchitecture
from lcaudit.core.types import Network
from lcaudit.exporting import export
from tests.cases import needs_shared

pytestmark = needs_shared
State = dict[str, torch.Tensor]


def plain() -> State:
    stored = torch.load(NETWORKS[0].path, weights_only=True, map_location="cpu")["state_dict"]
    return {key.removeprefix("module."): value.clone() for key, value in stored.items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def saved(value: Any, folder: Path) -> Network:
    path = folder / "copy.pt"
    torch.save(value, path)
    (network,) = architectures.candidates(checkpoints.open_checkpoint(path))
    return network


WRAPPED: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda state: {"state_dict": prefixed("module.", state), "epoch": 3},
    "compiled": lambda state: prefixed("_orig_mod.module.", state),
    "Lightning": lambda state: {
        "state_dict": prefixed("model.", state),
        "pytorch-lightning_version": "2.5.0",
        "global_step": 7,
        "optimizer_states": [],
    },
    "Lightning with metrics": lambda state: {
        "state_dict": prefixed("model.", state)
        | {"train_acc.total": torch.zeros(()), "criterion.weight": torch.ones(10)},
    },
    "Lightning with an average": lambda state: {
        "state_dict": prefixed("model.", state) | prefixed("ema_model.module.", {k: v / 2 for k, v in state.items()}),
    },
    "Fabric": lambda state: prefixed("_forward_module.model.", state),
    "averaged": lambda state: {"model_ema": state},
    "named net": lambda state: {"net": state, "acc": 91.7},
    **{
        before: (lambda state, before=before: prefixed(before, state))
        for before in ("backbone.", "encoder.", "student.", "resnet.", "net.backbone.", "model.backbone.net.")
    },
    "counters": lambda state: (
        state
        | {
            key.replace("running_mean", "num_batches_tracked"): torch.tensor(9)
            for key in state
            if "running_mean" in key
        }
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_copies_are_the_same_network(name: str, tmp_path: Path) -> None:
    state = plain()
    network = saved(WRAPPED[name](state), tmp_path)
    assert network.record.title == "ResNet-20 (CIFAR, option A shortcuts, width 16)"
    assert network.record.confidence == "identified"
    assert all(torch.equal(network.module.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize("head", ["fc", "classifier", "head"])
def test_another_head_name_leaves_the_normalisation_to_the_probe(head: str, tmp_path: Path) -> None:
    state = {key.replace("linear.", f"{head}."): value for key, value in plain().items()}
    save_file(state, tmp_path / "copy.safetensors")
    networks = architectures.candidates(checkpoints.open_checkpoint(tmp_path / "copy.safetensors"))
    assert [one.record.title for one in networks] == ["ResNet-20 (CIFAR, option A shortcuts, width 16)"]
    assert networks[0].record.confidence == "assumed", "no known code base writes these names"
    probe = probes.open_probe(
        str(TEST), networks[0], root=None, split=None, samples=300, seed=0, mean=None, std=None
    )  # fmt: skip
    assert probe.record.confidence == "assumed" and probe.record.normalisation.mean[0] == 0.4914
    _, probe, found = capture.identify(
        networks, probe, probes.preprocessings(probe, networks), device=torch.device("cpu"), dtype=torch.float32,
        batch_size=50, seed=0,
    )  # fmt: skip
    assert found is not None and found.decision == "chosen by probe"
    assert probe.record.normalisation.mean == (0.485, 0.456, 0.406)


def test_a_wider_and_a_shallower_copy_are_named_as_what_they_are(tmp_path: Path) -> None:
    def doubled(key: str, value: torch.Tensor) -> torch.Tensor:
        if value.dim() == 4:
            return value.repeat(2, 1 if key == "conv1.weight" else 2, 1, 1)
        if key.startswith("linear"):
            return value.repeat(1, 2) if value.dim() == 2 else value
        return value.repeat(2)

    wide = saved({key: doubled(key, value) for key, value in plain().items()}, tmp_path)
    assert wide.record.title == "ResNet-20 (CIFAR, option A shortcuts, width 32)"
    shallow = saved({key: value for key, value in plain().items() if not key.startswith("layer1.2")}, tmp_path)
    assert shallow.record.title == "ResNet-18 (CIFAR, option A shortcuts, width 16)"
    assert shallow.record.variant["blocks"] == "2-3-3"


def missing(state: State) -> State:
    return {key: value for key, value in state.items() if key != "layer2.1.bn1.running_var"}


def misshapen(state: State) -> State:
    return state | {"layer2.1.conv1.weight": state["layer2.1.conv1.weight"][:, :-1].contiguous()}


def extra(state: State) -> State:
    return state | {"layer2.1.conv3.weight": torch.zeros(3)}


def retyped(state: State) -> State:
    return state | {"conv1.weight": state["conv1.weight"].to(torch.int32)}


@pytest.mark.parametrize("corrupt", [missing, misshapen, extra, retyped])
def test_corrupted_copies_are_refused(corrupt: Callable[[State], State], tmp_path: Path) -> None:
    with pytest.raises((UnknownArchitecture, MalformedInput)) as caught:
        saved(corrupt(plain()), tmp_path)
    assert "layer2.1" in caught.value.message or "conv1.weight" in caught.value.message


def test_a_normalisation_that_only_names_suggest_is_not_exported_where_the_probe_does_not_bear_it_out(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    strange = {key: torch.randn_like(value) / 20 if value.dim() == 4 else value for key, value in plain().items()}
    written = {}
    for name, state in (("true", plain()), ("strange", strange)):
        torch.save(state, tmp_path / f"{name}.pt")
        written[name] = export(tmp_path / f"{name}.pt", str(TEST), samples=300)
    assert written["true"].declared.mean == (0.485, 0.456, 0.406)
    assert written["strange"].declared.mean == () == written["strange"].declared.std
    assert any("not confirmed" in note for note in written["strange"].notes)
