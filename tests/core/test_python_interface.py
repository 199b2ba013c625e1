"""What ``lcaudit.audit`` accepts, and what it says to everything else."""

from __future__ import annotations

import pytest
import torch

import lcaudit


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.nn.Linear(2, 2), "digits"), "model is a Linear, expected the path of a file or folder of weights"),
        (("weights.pt", torch.zeros(2)), "data is a Tensor, expected the name of a data set or a path"),
        ((None, "digits"), "model is a NoneType"),
    ],
)
def test_objects_in_place_of_paths_are_named(arguments, says) -> None:
    with pytest.raises(lcaudit.AuditError) as raised:
        lcaudit.audit(*arguments)
    assert says in raised.value.message and raised.value.hint


def test_a_function_in_place_of_its_name_is_named() -> None:
    with pytest.raises(lcaudit.AuditError, match=r"arch is a type, expected 'file\.py:factory'"):
        lcaudit.audit("weights.pt", "digits", arch=torch.nn.Linear)


@pytest.mark.parametrize("option", ["select", "ignore"])
def test_a_string_is_one_rule(option) -> None:
    with pytest.raises(lcaudit.AuditError, match="no rule is called LC999"):
        lcaudit.audit("weights.pt", "digits", **{option: "LC999"})


def test_public_names_are_listed() -> None:
    assert {"AuditError", "Finding", "Report", "audit"} <= set(dir(lcaudit))
    assert all(hasattr(lcaudit, name) for name in lcaudit.__all__)
