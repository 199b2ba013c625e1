"""A publicly trained network and real images, once from files and once as they would lie on the Hub."""

from __future__ import annotations

import json
from typing import Any

import hub_material
import numpy as np
from conftest import Machine, Ran
from fake_hub import FakeHub

from tests.acceptance.real_material import NETWORKS, TEST, arrays
from tests.cases import needs_shared


@needs_shared
def test_the_hub_changes_no_figure(hub: FakeHub, machine: Machine) -> None:
    published, (images, labels) = NETWORKS[0], arrays(TEST)
    cells = [{"bytes": hub_material.png(image), "path": None} for image in images]
    table = hub_material.table({"img": cells, "label": labels}, hub_material.features(), row_group_size=100)
    hub.add("real/resnet20", {"resnet20.th": published.path.read_bytes()})
    files = {"plain_text/test/0000.parquet": table}
    hub.add("real/cifar10", {}, kind="dataset", revisions={"refs/convert/parquet": files})
    options = ("--layers", "linear", "--no-output", "--format", "json")
    away = measured(machine("check", "real/resnet20", "--data", "hf:real/cifar10", *options))
    here = measured(machine("check", published.path, "--data", TEST, *options))
    wrong = away["fit"]["error"]["value"] * len(labels)
    assert np.isclose(wrong, published.wrong), f"{wrong:.2f} wrong, {published.wrong} expected"
    for part in ("layers", "fit", "batch_norms", "network"):
        assert away[part] == here[part], part
    assert away["probe"]["indices"] == here["probe"]["indices"]
    assert away["checkpoint"]["sha256"] == here["checkpoint"]["sha256"]


def measured(ran: Ran) -> Any:
    assert ran.code in (0, 1, 3), ran.err
    return json.loads(ran.out)["measurements"]
