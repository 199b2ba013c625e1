"""Every family as a set, against networks written out literally."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from architecture_cases import CASES, State, checkpoint, resnet_state
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.architectures import resolve
from lcaudit.core import plugins
from lcaudit.core.errors import MalformedInput
from lcaudit.core.types import Family, Match

PACKAGE = "lcaudit.architectures"
FAMILIES: dict[str, Family] = {name: plugins.load(PACKAGE, name, "FAMILY") for name in plugins.names(PACKAGE)}


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def table(family: Family, match: Match) -> tuple[dict[str, tuple[int, ...]], bool]:
    """What the match builds, without counters, and whether anything real was allocated."""
    with torch.device("meta"):
        state = family.build(match.variant).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return shapes, any(not value.is_meta for value in state.values())


def test_every_family_has_a_case_a_title_and_a_page() -> None:
    assert set(FAMILIES) == {case.family for case in CASES.values()}
    for name, family in FAMILIES.items():
        assert family.title and len(plugins.document(PACKAGE, name)) > 100


@pytest.mark.parametrize("name", CASES)
def test_the_loaded_network_computes_the_literal_function(name: str) -> None:
    case = CASES[name]
    state = case.state()
    network = resolve(checkpoint(state))
    x = torch.randn(3, *case.shape)
    assert network.record.family == case.family
    torch.testing.assert_close(network.module(x), case.function(state, x), rtol=1e-4, atol=1e-4)
    assert network.record.classes == case.classes == network.module(x).shape[1]
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_the_stated_input_shape_fits(name: str) -> None:
    network = resolve(checkpoint(CASES[name].state()))
    shape = tuple(side or 9 for side in network.record.input_shape)
    if shape[-1] > 32:
        shape = (shape[0], 64, 64)
    assert torch.isfinite(network.module(torch.randn(2, *shape))).all()


@pytest.mark.parametrize("name", CASES)
def test_a_state_belongs_to_one_family_which_builds_exactly_it_and_allocates_nothing(name: str) -> None:
    case = CASES[name]
    shapes = shapes_of(case.state())
    matches = {family: match for family, plugin in FAMILIES.items() if (match := plugin.match(shapes))}
    assert set(matches) == {case.family}
    built, allocated = table(FAMILIES[case.family], matches[case.family])
    assert not allocated
    assert built == {key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", CASES)
def test_the_variant_is_plain_and_what_leaves_no_trace_is_said(name: str) -> None:
    record = resolve(checkpoint(CASES[name].state())).record
    assert all(type(value) in (str, int, bool) for value in record.variant.values())
    assert record.assumptions and record.title
    rivals = [evidence for evidence in record.evidence if evidence.step == "rival"]
    assert record.confidence == ("assumed" if rivals else "identified")
    assert record.parameters == sum(
        value.numel() for key, value in CASES[name].state().items() if "running" not in key and "num_b" not in key
    )


@pytest.mark.parametrize("name", CASES)
def test_one_tensor_more_or_less_is_no_match(name: str) -> None:
    shapes = {key: shape for key, shape in shapes_of(CASES[name].state()).items() if "num_batches" not in key}
    # A bias that is left out, a last layer cut off, may be another network of the same family.
    for key in [key for key in shapes if key.endswith("running_mean")] or [next(iter(shapes))]:
        fewer = {other: shape for other, shape in shapes.items() if other != key}
        assert not any(family.match(fewer) for family in FAMILIES.values())
    for extra in ("extra", "layer1.0.conv9.weight", "features.0.extra", "0.extra", next(iter(shapes)) + ".x"):
        assert not any(family.match({**shapes, extra: (3,)}) for family in FAMILIES.values())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_matches_is_built_exactly(data: st.DataObject) -> None:
    shapes = {k: s for k, s in shapes_of(data.draw(st.sampled_from(SMALL))).items() if "num_batches" not in k}
    for key in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=3)):
        sizes = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 20, 1 << 24, 1 << 40])
        shape = data.draw(st.one_of(st.none(), st.lists(sizes, max_size=5).map(tuple)))
        if shape is None:
            shapes.pop(key, None)
        else:
            shapes[key] = shape
    for family in FAMILIES.values():
        match = family.match(shapes)
        if match:
            assert table(family, match) == (shapes, False)


SMALL = [CASES[name].state() for name in ("akamaster", "vgg three layers", "perceptron with all", "convolutions")]


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"0.weight": (4, 3), "999999.weight": (2, 4)},
        {"0.weight": (4, 3), "9999999999999.weight": (2, 4)},
        {"0.weight": (4, 3), "00.weight": (2, 4)},
        {"0.weight": (4, 3), "٣.weight": (2, 4)},
        {"conv1.weight": (1 << 62, 0, 3, 3)},
        {"conv1.weight": (16, 3, 3, 3), "layer1.weight": (3,), "linear.weight": (3, 3)},
        {"features.5.weight": (3, 3, 3, 3), "classifier.weight": (2, 3)},
        {"features.0.weight": (3, 3, 3, 3), "classifier.weight": (2, 5)},
        {f"layer1.{index}.conv1.weight": (1, 1, 3, 3) for index in range(2000)} | {"conv1.weight": (1, 1, 3, 3)},
    ],
    ids=lambda shapes: next(iter(shapes), "empty"),
)
def test_strange_keys_are_nobodys(shapes: dict[str, tuple[int, ...]]) -> None:
    for family in FAMILIES.values():
        assert family.match(shapes) is None


@pytest.mark.parametrize("name", ["forward", "training"])
def test_a_prefix_that_no_module_can_have_is_refused(name: str) -> None:
    with pytest.raises(MalformedInput, match=name):
        resolve(checkpoint({f"{name}.0.weight": torch.ones(4, 3)}))


def test_families_answer_without_torch() -> None:
    """They are asked by `lcaudit identify`, which a person waits for."""
    shapes = [shapes_of(case.state()) for case in CASES.values()]
    script = (
        "import json, sys\nfrom lcaudit.architectures import recognise\n"
        "told = [recognise({key: tuple(shape) for key, shape in one.items()}, {}) for one in json.load(sys.stdin)]\n"
        "assert 'torch' not in sys.modules\nprint(*(one.arch for one in told))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(shapes), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [case.family for case in CASES.values()]


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 3)),
        torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(64, 2),
        ),
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2)),
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.PReLU(4), torch.nn.Linear(4, 2)),
        torch.nn.Sequential(
            torch.nn.Linear(4, 4),
            torch.nn.ReLU(),
            torch.nn.BatchNorm1d(4),
            torch.nn.Dropout(),
            torch.nn.Linear(4, 2),
        ),
        torch.nn.Sequential(
            torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Dropout(), torch.nn.Linear(4, 2)
        ),
    ],
    ids=["ends in maps", "pooling", "layer norm", "prelu", "two gaps", "three slots"],
)
def test_a_chain_that_its_tensors_do_not_determine_is_left_alone(module: torch.nn.Module) -> None:
    assert FAMILIES["sequential"].match(shapes_of(dict(module.state_dict()))) is None


def test_normalisation_follows_the_code_base() -> None:
    def of(name: str) -> dict[str, tuple[float, ...]]:
        return {key: value.mean for key, value in resolve(checkpoint(CASES[name].state())).normalisation.items()}

    assert of("akamaster") == {"cifar10": (0.485, 0.456, 0.406)}
    assert of("kuangliu") == of("bearpaw") == of("vgg") == {"cifar10": (0.4914, 0.4822, 0.4465)}
    assert of("torchvision") == {"imagenet": (0.485, 0.456, 0.406)}
    assert of("grey 8×8") == of("three stages, option B") == of("perceptron") == {}


def test_the_title_counts_layers_as_the_paper_does() -> None:
    state = resnet_state(blocks=(9, 9, 9), widths=(4, 8, 16), shortcut=None, head="linear")
    assert resolve(checkpoint(state)).record.title == "ResNet-56 (CIFAR, option A shortcuts, width 4)"
    assert resolve(checkpoint(CASES["vgg"].state())).record.title.startswith("VGG-11 ")
