"""Exported programs with one entry of their JSON changed: a network that runs, or an ``AuditError``, nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpus_programs
import pytest
import torch
from corpus_parts import SENTINEL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lcaudit import architectures
from lcaudit.capture._forward import forward
from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AuditError

Place = tuple[Any, Any]
_VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, -1, 0, 1, 2, 3, 7, 2**31, 2**62, 2**63 - 1, 1e300, "", "x", "relu", "p_0_weight",
         "torch.ops.aten.mul.Tensor", "torch.ops.aten.view.default", "torch.ops.aten.linear.default", "_operator.mul",
         "__import__('os').system('touch sentinel')", [], {}, {"as_int": 3}, {"as_none": True}]
    ),
    st.integers(-9, 40),
)  # fmt: skip


def places(data: Any) -> Iterator[Place]:
    """Every (container, key) in it."""
    for key in data if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from places(data[key])


@pytest.mark.parametrize("member", [corpus_programs.GRAPH, corpus_programs.WEIGHTS])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), _VALUES, st.booleans()), min_size=1, max_size=3))
@settings(derandomize=True, deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_a_changed_program_runs_or_is_refused(member: str, changes: list[tuple[float, Any, bool]]) -> None:
    members = dict(corpus_programs.good())
    data = json.loads(members[member])
    root = data["graph_module"]["graph"] if member == corpus_programs.GRAPH else data
    for share, value, delete in changes:
        found = list(places(root))
        if found:
            container, key = found[int(share * len(found))]
            if delete and value is None:
                del container[key]
            else:
                container[key] = value
    members[member] = json.dumps(data).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        path.write_bytes(corpus_programs.packed(members))
        try:
            network = architectures.resolve(open_checkpoint(path))
            shape = (2, *(side or 4 for side in network.record.input_shape))
            if torch.Size(shape).numel() < 10**6:
                with torch.no_grad():
                    forward(network.module, torch.zeros(shape))
        except AuditError as error:
            assert error.message.isprintable() and len(error.message) < 1000
        assert not (Path(folder) / SENTINEL).exists()
