"""Which network is chosen, what is refused, and what the user is told."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from architecture_cases import CASES, State, checkpoint, resnet_function, resnet_state

from lcaudit.architectures import _libraries, resolve
from lcaudit.core.errors import AmbiguousArchitecture, MalformedInput, UnknownArchitecture, UsageError
from lcaudit.core.text import display_name


def small() -> State:
    return resnet_state(blocks=(1, 1, 1), widths=(4, 8, 16), shortcut=None, head="linear")


def pooled_or_not() -> State:
    return resnet_state(blocks=(1, 1, 1, 1), widths=(4, 8, 16, 32), shortcut="downsample", head="fc")


def test_two_functions_with_the_same_tensors_are_an_error_that_says_how_to_choose() -> None:
    with pytest.raises(AmbiguousArchitecture) as raised:
        resolve(checkpoint(pooled_or_not()))
    assert "resnet_cifar" in raised.value.message and "resnet_torchvision" in raised.value.message
    assert "--arch resnet_cifar or --arch resnet_torchvision" in raised.value.hint


@pytest.mark.parametrize(("family", "max_pool"), [("resnet_cifar", False), ("resnet_torchvision", True)])
def test_naming_a_family_chooses(family: str, max_pool: bool) -> None:
    state, x = pooled_or_not(), torch.randn(2, 3, 32, 32)
    network = resolve(checkpoint(state), family)
    assert (network.record.family, network.record.confidence) == (family, "declared")
    torch.testing.assert_close(network.module(x), resnet_function(state, x, max_pool), rtol=1e-4, atol=1e-4)


def test_naming_a_family_does_not_settle_what_is_assumed() -> None:
    assert resolve(checkpoint(CASES["perceptron"].state()), "sequential").record.confidence == "assumed"


def test_naming_the_wrong_family_says_what_it_lacks() -> None:
    with pytest.raises(UnknownArchitecture, match=r"not the family vgg_cifar: .*no tensors named features") as raised:
        resolve(checkpoint(small()), "vgg_cifar")
    assert "nearest" not in raised.value.message
    assert raised.value.hint.startswith("leave --arch out: these are the tensors of resnet_cifar (")
    with pytest.raises(UnknownArchitecture) as raised:
        resolve(checkpoint({"a": torch.zeros(2)}), "vgg_cifar")
    assert "no family that lcaudit knows has these tensors" in raised.value.hint


def test_the_nearest_family_says_what_differs() -> None:
    state = small()
    del state["layer2.0.bn1.weight"]
    with pytest.raises(UnknownArchitecture, match=r"nearest is resnet_cifar, but .*layer2\.0\.bn1\.weight") as raised:
        resolve(checkpoint(state))
    assert "--arch file.py:factory" in raised.value.hint


def test_unknown_tensors_are_counted_and_shown_without_their_control_characters() -> None:
    with pytest.raises(UnknownArchitecture) as raised:
        resolve(checkpoint({"a\x1b[31m": torch.zeros(2), "b\u202e": torch.zeros(3)}))
    assert "2 tensors" in raised.value.message and "nearest" not in raised.value.message
    assert "\x1b" not in raised.value.message and "\u202e" not in raised.value.message


@pytest.mark.parametrize("key", ["\x1b.weight", "layer1.0.\x1b", "features.0.\x1b", "0.\x1b"])
def test_reasons_show_no_control_characters(key: str) -> None:
    for name in ("akamaster", "vgg", "perceptron"):
        with pytest.raises(UnknownArchitecture) as raised:
            resolve(checkpoint({**CASES[name].state(), key: torch.zeros(3)}))
        assert "\x1b" not in raised.value.message


def test_an_unknown_name_lists_the_families() -> None:
    with pytest.raises(UsageError, match="neither a family nor") as raised:
        resolve(checkpoint(small()), "resnet\x1b")
    assert "resnet_cifar" in raised.value.hint and "\x1b" not in raised.value.message


@pytest.mark.parametrize(
    ("arch", "near"),
    [
        ("resnet18", "did you mean timm:resnet18 or torchvision:resnet18? "),
        ("ViT_base_patch16_224", "did you mean timm:vit_base_patch16_224? "),
        ("resnet_cifr", "did you mean resnet_cifar or resnext_cifar? "),
        ("nothing-like-it", "families: "),
    ],
)
def test_a_name_without_its_library_and_a_slip_of_the_pen(arch: str, near: str) -> None:
    with pytest.raises(UsageError, match="neither a family nor") as raised:
        resolve(checkpoint(small()), arch)
    assert raised.value.hint.startswith(near)
    assert display_name(raised.value.hint, 500) == raised.value.hint


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_name_that_the_library_lacks_is_answered_with_near_ones(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = SimpleNamespace(list_models=lambda: ["resnet18", "resnet34", "vgg11"])
    home = names if library == "timm" else SimpleNamespace(models=names)
    monkeypatch.setattr(_libraries, "library", lambda name, why: home)
    with pytest.raises(UsageError, match="has no network resnett18") as raised:
        resolve(checkpoint(small()), f"{library}:resnett18")
    assert raised.value.hint.startswith(f"did you mean {library}:resnet18 or {library}:resnet34? names: ")
    with pytest.raises(UsageError, match="has no network") as raised:
        resolve(checkpoint(small()), f"{library}:nothing")
    assert raised.value.hint.startswith("names: ")


def test_no_tensors() -> None:
    with pytest.raises(MalformedInput, match="holds no tensors"):
        resolve(checkpoint({}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_said(dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in small().items() if "num_batches" not in key}
    network = resolve(checkpoint(state))
    assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float32}
    assert torch.equal(network.module.linear.weight, state["linear.weight"].float())
    assert network.record.dtype == str(dtype).removeprefix("torch.")
    assert any("widened to float32" in evidence.says for evidence in network.record.evidence)


def test_counters_saved_in_half_precision_are_no_reason_to_refuse() -> None:
    network = resolve(checkpoint({key: value.half() for key, value in small().items()}))
    assert network.module.bn1.num_batches_tracked.dtype == torch.int64


def test_double_precision_stays() -> None:
    state = {key: value.double() if value.is_floating_point() else value for key, value in small().items()}
    network = resolve(checkpoint(state))
    assert network.record.dtype == "float64"
    assert network.module(torch.zeros(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_mixed_precision_takes_the_widest() -> None:
    state = small()
    state["linear.weight"] = state["linear.weight"].double()
    network = resolve(checkpoint(state))
    assert network.record.dtype == "float32, float64"
    assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_no_silent_cast(dtype: torch.dtype) -> None:
    state = small()
    state["linear.bias"] = state["linear.bias"].to(dtype)
    with pytest.raises(MalformedInput, match=r"linear\.bias is stored as .*the network has float32"):
        resolve(checkpoint(state))


def test_a_tensor_larger_than_its_storage_is_refused_before_it_is_copied() -> None:
    state = small() | {"linear.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}
    with pytest.raises(MalformedInput, match="claims more numbers than are stored"):
        resolve(checkpoint(state))


@pytest.mark.parametrize("tensor", [torch.zeros(10, 16).to_sparse(), torch.zeros(10, 16, device="meta")])
def test_only_plain_arrays(tensor: torch.Tensor) -> None:
    with pytest.raises(MalformedInput, match="not a plain array"):
        resolve(checkpoint(small() | {"linear.weight": tensor}))


def test_the_network_owns_its_weights() -> None:
    state = small()
    before = state["linear.weight"].clone()
    resolve(checkpoint(state)).module.linear.weight.zero_()
    assert torch.equal(state["linear.weight"], before)


def test_absent_counters_are_said() -> None:
    evidence = resolve(checkpoint(CASES["akamaster"].state())).record.evidence
    assert any("step counters not stored" in step.says for step in evidence)
    assert not any("not stored" in step.says for step in resolve(checkpoint(small())).record.evidence)


def test_resolving_leaves_the_random_state_alone() -> None:
    state = small()
    before = torch.get_rng_state()
    resolve(checkpoint(state))
    assert torch.equal(before, torch.get_rng_state())


def test_weights_that_are_not_finite_load_as_they_are() -> None:
    state = small()
    state["linear.bias"][0] = torch.nan
    assert torch.isnan(resolve(checkpoint(state)).module.linear.bias[0])


def test_families_can_be_listed_without_torch() -> None:
    program = (
        "import sys; from lcaudit.core import plugins; print(*plugins.names('lcaudit.architectures'));"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resnet_cifar" in done.stdout
