"""Whole audits of repositories: what is fetched, what is recorded, and the same again without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hub_material
import pytest
import torch
from conftest import TOKEN, Machine, Ran
from fake_hub import FakeHub, Repository
from safetensors.torch import save

CONVERTED = "refs/convert/parquet"
QUIET = ("--no-output", "--format", "json")


@pytest.fixture(scope="module", autouse=True)
def repositories(hub: FakeHub) -> None:
    whole = hub_material.safetensors()
    hub.add(
        "audit/small",
        {"model.safetensors": whole, "pytorch_model.bin": bytes(9000), "config.json": b"{}", "README.md": b"# small"},
        revisions={"v1": {"model.safetensors": whole}, "feature/x": {"model.safetensors": whole, "x": b""}},
    )
    hub.add("audit/sharded", {**hub_material.sharded(), "pytorch_model.bin": bytes(9000)})
    hub.add("audit/pickled", {"pytorch_model.bin": hub_material.pickled(), "training_args.bin": b"\x80\x04."})
    hub.add("audit/nested", {"epoch9/best.safetensors": whole, "epoch9/config.json": b"{}", "a.bin": bytes(5)})
    parts = {
        "plain/test/0000.parquet": hub_material.parquet(0, 20),
        "plain/test/0001.parquet": hub_material.parquet(20, 40),
        "plain/train/0000.parquet": hub_material.parquet(0, 30),
    }
    hub.add("audit/pictures", {"README.md": b""}, kind="dataset", revisions={CONVERTED: parts})
    hub.add("audit/own", {"data/train-00000-of-00001.parquet": hub_material.parquet(0, 30)}, kind="dataset")


@pytest.fixture(scope="module")
def named(hub: FakeHub) -> None:
    """Data sets with a name, as the Hub has them."""
    images, labels = hub_material.pictures()
    cells = [{"bytes": hub_material.png(image), "path": None} for image in images]
    digits, places = tuple("0123456789"), labels * 9
    fine = {"img": {"_type": "Image"}} | {
        name: {"_type": "ClassLabel", "names": [f"{name} {i}" for i in range(number)]}
        for name, number in (("fine_label", 100), ("coarse_label", 20))
    }
    hundred = hub_material.table({"img": cells, "fine_label": places, "coarse_label": labels}, fine)
    house = hub_material.table({"image": cells, "label": labels}, hub_material.features("image", names=digits))
    for name, files in {
        "uoft-cs/cifar10": {"plain_text/test/0000.parquet": hub_material.parquet()},
        "uoft-cs/cifar100": {"cifar100/test/0000.parquet": hundred},
        "ufldl-stanford/svhn": {
            "cropped_digits/test/0000.parquet": house, "full_numbers/test/0000.parquet": hundred,
        },
    }.items():  # fmt: skip
        hub.add(name, {"README.md": b""}, kind="dataset", revisions={CONVERTED: files})


def measured(ran: Ran) -> Any:
    assert ran.code in (0, 1), ran.err
    found = json.loads(ran.out)["measurements"]
    del found["settings"]["max_memory"]  # a share of what is free
    return found


def asked(hub: FakeHub, start: int) -> list[str]:
    """Paths of the files that were asked for since."""
    return [
        request.path.partition("/resolve/")[2][41:] for request in hub.requests[start:] if "/resolve/" in request.path
    ]


def test_a_repository_is_audited_and_again_offline(hub: FakeHub, machine: Machine, away: Machine) -> None:
    start = len(hub.requests)
    ran = machine("check", "audit/small", "--data", "hf:audit/pictures", *QUIET)
    online = measured(ran)
    repository = hub.repositories["model", "audit/small"]
    commit = repository.commit("main")
    assert online["checkpoint"]["hub"] == {"name": "audit/small", "revision": "", "commit": commit, "notes": []}
    assert online["checkpoint"]["name"] == "audit/small"
    assert [file["name"] for file in online["checkpoint"]["files"]] == ["model.safetensors"]
    assert online["network"]["title"].startswith("ResNet-8")
    data = hub.repositories["dataset", "audit/pictures"]
    assert online["probe"]["hub"]["commit"] == data.commit(CONVERTED)
    assert (online["probe"]["hub"]["revision"], online["probe"]["split"]) == (CONVERTED, "test")
    assert (online["probe"]["dataset"], online["probe"]["samples"]) == ("cifar10", 40)
    assert online["probe"]["classes"] == list(hub_material.CLASSES)
    # nothing but what is needed, and sizes are told before it comes
    fetched = set(asked(hub, start))
    assert fetched == {"model.safetensors", "config.json", "plain/test/0000.parquet", "plain/test/0001.parquet"}
    size = sum(len(repository.revisions["main"][name]) for name in ("model.safetensors", "config.json"))
    assert f"audit/small: downloading 2 files, {size / 1000:.3g} kB, commit {commit[:12]}" in ran.err

    start = len(hub.requests)
    ran = away("check", "audit/small", "--data", "hf:audit/pictures", *QUIET)
    offline = measured(ran)
    assert len(hub.requests) == start, "offline means no request at all"
    note = "offline mode: files of the cache were used, the Hub was not asked"
    for kind in ("checkpoint", "probe"):
        assert offline[kind]["hub"].pop("notes") == [note]
        online[kind]["hub"].pop("notes")
    assert note in offline["probe"]["preprocessing"]
    offline["probe"]["preprocessing"].remove(note)
    assert offline == online


def test_the_page_and_the_text_name_the_commit(hub: FakeHub, machine: Machine) -> None:
    commit = hub.repositories["model", "audit/small"].commit("v1")
    page = machine("check", "audit/small@v1", "--data", "hf:audit/pictures", "--no-output", "--format", "html")
    assert commit in page.out and "audit/small" in page.out
    text = machine("check", "audit/small@v1", "--data", "hf:audit/pictures", "--no-output")
    assert f"audit/small@v1, commit {commit[:12]}" in text.out


def test_shards_are_fetched_by_their_index(hub: FakeHub, machine: Machine) -> None:
    start = len(hub.requests)
    found = measured(machine("check", "audit/sharded", "--data", "hf:audit/pictures:train", *QUIET))
    assert found["checkpoint"]["container"] == "safetensors-sharded" and len(found["checkpoint"]["files"]) == 4
    assert "pytorch_model.bin" not in asked(hub, start)
    assert (found["probe"]["split"], found["probe"]["available"]) == ("train", 30)


def test_a_pickle_alone_goes_through_the_usual_checks(machine: Machine) -> None:
    found = measured(machine("check", "audit/pickled", "--data", "hf:audit/pictures", *QUIET))
    assert [file["name"] for file in found["checkpoint"]["files"]] == ["pytorch_model.bin"]


ADDRESSES = {
    "hf://audit/small@v1": ("v1", "model.safetensors"),
    "hf:audit/small@feature%2Fx": ("feature/x", "model.safetensors"),
    "https://huggingface.co/audit/small": ("", "model.safetensors"),
    "https://huggingface.co/audit/small/tree/v1": ("v1", "model.safetensors"),
    "https://huggingface.co/audit/small/blob/main/model.safetensors": ("main", "model.safetensors"),
    "https://hf.co/audit/nested/tree/main/epoch9": ("main", "best.safetensors"),
    "hf:audit/nested/epoch9/best.safetensors": ("", "best.safetensors"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_way_to_name_a_repository(hub: FakeHub, machine: Machine, address: str) -> None:
    revision, file = ADDRESSES[address]
    found = measured(machine("check", address, "--data", "hf:audit/pictures", "--layers", "linear", *QUIET))
    name = "audit/nested" if "nested" in address else "audit/small"
    commit = hub.repositories["model", name].commit(revision or "main")
    assert found["checkpoint"]["hub"] == {"name": name, "revision": revision, "commit": commit, "notes": []}
    assert [one["name"] for one in found["checkpoint"]["files"]] == [file]


@pytest.mark.parametrize(
    ("data", "split", "revision"),
    [
        ("hf:audit/own", "train", ""),
        ("hf:audit/own@main:train", "train", "main"),
        ("hf://datasets/audit/pictures:plain/train", "train", CONVERTED),
        ("https://huggingface.co/datasets/audit/pictures", "test", CONVERTED),
        ("hf:audit/own/data/train-00000-of-00001.parquet", "train", ""),
    ],
)
def test_every_way_to_name_data(machine: Machine, data: str, split: str, revision: str) -> None:
    found = measured(machine("check", "audit/small", "--data", data, "--layers", "linear", *QUIET))
    assert (found["probe"]["split"], found["probe"]["hub"]["revision"]) == (split, revision)


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100), ("svhn", 10)])
def test_data_sets_with_a_name_come_from_the_hub_where_none_lies_here(
    hub: FakeHub, machine: Machine, away: Machine, named: None, name: str, classes: int
) -> None:
    made = f"torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, {classes}))"
    factory = f"import torch\n\n\ndef make():\n    return {made}\n\n\nmake.input_shape = (3, 32, 32)\n"
    (machine.folder / f"{name}.py").write_text(factory, encoding="utf-8")
    state = {"1.weight": torch.zeros(classes, 3072), "1.bias": torch.arange(classes) * 1.0}
    torch.save(state, machine.folder / f"{name}.pt")
    arguments = ("check", f"{name}.pt", "--arch", f"{name}.py:make", "--data", name, *QUIET)
    found = {where: measured(ran(*arguments)) for where, ran in (("here", machine), ("away", away))}
    probe = found["here"]["probe"]
    assert (probe["dataset"], probe["split"], probe["samples"], len(probe["classes"])) == (name, "test", 40, classes)
    assert probe["normalisation"]["source"].startswith(name) and probe["hub"]["revision"] == CONVERTED
    assert found["away"]["layers"] == found["here"]["layers"]
    # the largest bias names the last class: 40 samples have each of ten labels four times
    assert found["here"]["fit"]["error"]["value"] == pytest.approx(1 - (4 / 40 if classes == 10 else 0))
    ran = machine("check", f"{name}.pt", "--arch", f"{name}.py:make", "--data", name, "--split", "train", *QUIET)
    assert ran.code == 2 and "train" in ran.err


def test_what_exists_here_wins_and_asks_nobody(hub: FakeHub, machine: Machine) -> None:
    (machine.folder / "audit").mkdir()
    (machine.folder / "audit" / "small").write_bytes(hub_material.safetensors())
    (machine.folder / "test.parquet").write_bytes(hub_material.parquet())
    (machine.folder / "hf:audit").mkdir()
    (machine.folder / "hf:audit" / "small").write_bytes(hub_material.safetensors())
    start = len(hub.requests)
    try:
        found = measured(machine("check", "audit/small", "--data", "test.parquet", *QUIET))
        schemed = measured(machine("check", "hf:audit/small", "--data", "test.parquet", *QUIET))
        missing = machine("check", "audit/absent", "--data", "test.parquet", *QUIET)
        dotted = machine("check", "./other/small", "--data", "test.parquet", *QUIET)
        weights = machine("check", "other/small.pt", "--data", "test.parquet", *QUIET)
    finally:
        (machine.folder / "audit" / "small").unlink()
        (machine.folder / "audit").rmdir()
        (machine.folder / "hf:audit" / "small").unlink()
    assert found["checkpoint"]["hub"] is None and found["probe"]["hub"] is None
    assert schemed["checkpoint"] == found["checkpoint"]
    for ran in (missing, dotted, weights):
        assert ran.code == 2 and "no such file or folder" in ran.err
    assert len(hub.requests) == start


def test_the_token_stays_with_the_hub(hub: FakeHub, another: Callable[..., Machine]) -> None:
    """Large files come from another server; a listing that is sent elsewhere must not take the token along."""
    hub.add("audit/elsewhere", {"model.safetensors": hub_material.safetensors()}, listing=_elsewhere)
    start = len(hub.requests)
    machine = another(HF_TOKEN=TOKEN)
    shown = [machine("check", name, "--data", "hf:audit/own", *QUIET) for name in ("audit/small", "audit/elsewhere")]
    with_token = {request.server for request in hub.requests[start:] if TOKEN in str(request.headers)}
    assert with_token == {"hub"}
    assert {request.server for request in hub.requests[start:]} == {"hub", "store"}
    for ran in shown:
        assert TOKEN not in ran.out + ran.err and "Signature" not in ran.out + ran.err


def _elsewhere(handler: Any) -> bool:
    if handler.server.name == "hub":
        return handler.reply(307, b"", {"Location": handler.server.hub.store_url + handler.path})
    return False


def test_a_renamed_repository_is_followed_and_said(hub: FakeHub, machine: Machine) -> None:
    hub.moved["audit/before"] = "audit/small"
    found = measured(machine("check", "audit/before", "--data", "hf:audit/own", "--layers", "linear", *QUIET))
    assert found["checkpoint"]["hub"]["name"] == "audit/small"
    assert found["checkpoint"]["hub"]["notes"] == ["audit/before is now called audit/small"]


def test_a_branch_that_moved_on_is_fetched_again(hub: FakeHub, machine: Machine) -> None:
    repository = hub.add("audit/moving", {"model.safetensors": hub_material.safetensors()})
    arguments = ("check", "audit/moving", "--data", "hf:audit/own", "--layers", "linear", *QUIET)
    before = measured(machine(*arguments))["checkpoint"]["hub"]["commit"]
    repository.revisions["main"] = {**repository.revisions["main"], "config.json": b'{"new": 1}'}
    after = measured(machine(*arguments))["checkpoint"]["hub"]["commit"]
    assert (before, after) == (
        Repository.sha({"model.safetensors": hub_material.safetensors()}),
        repository.commit("main"),
    )
    assert before != after


def test_two_revisions_are_compared_and_followed(machine: Machine) -> None:
    revisions = ("audit/small@v1", "audit/small@main")
    ran = machine("diff", *revisions, "--data", "hf:audit/pictures", "--format", "json")
    assert ran.code == 3, "with so few samples nothing can be told"
    found = json.loads(ran.out)
    assert [found[side]["name"] for side in ("before", "after")] == ["audit/small", "audit/small"], ran.out[:500]
    ran = machine("track", *revisions, "--data", "hf:audit/pictures", "-o", "tracked")
    assert ran.code == 0, ran.err
    assert len((machine.folder / "tracked" / "history.jsonl").read_text().splitlines()) == 1, "the same weights twice"


def test_a_path_that_is_not_there_is_said_by_diff_and_track(machine: Machine) -> None:
    for arguments in (("diff", "none.pt", "audit/small"), ("track", "none.pt")):
        ran = machine(*arguments, "--data", "hf:audit/pictures")
        assert ran.code == 2 and "none.pt" in ran.err and "no such file" in ran.err.lower()


def test_a_repository_is_fixed_on_a_data_set_of_the_hub(machine: Machine, tmp_path) -> None:
    """The weights that are written are the repository's, and so is what the recipe says."""
    out = tmp_path / "fixed.safetensors"
    ran = machine(
        "fix", "audit/small", "--data", "hf:audit/pictures", "--max-download", "1MB", "--select",
        "recalibrate-batch-norm", "--unsafe-fixes", "-o", str(out), "--format", "json",
    )  # fmt: skip
    assert ran.code in (0, 1), ran.err
    verification = json.loads(ran.out)["verification"]
    assert verification["source"] == "audit/small" and verification["samples"] == verification["held_out"] == 20
    assert [one["fix"] for one in (*verification["applied"], *verification["refused"])] == ["recalibrate-batch-norm"]
    assert out.exists() == bool(verification["applied"])


@pytest.mark.parametrize("name", ["audit/far", "audit/far-sharded"])
def test_identify_downloads_headers_only(hub: FakeHub, another: Callable[..., Machine], name: str) -> None:
    """Of many megabytes a few thousand bytes pass; what is said is what the files say here."""
    wide = {f"{layer}.weight": torch.zeros(512, 512) for layer in ("0", "2", "4", "6")}
    if name.endswith("sharded"):
        places = dict(zip(wide, ("a.safetensors", "b.safetensors") * 2, strict=True))
        files = {
            shard: save({key: value for key, value in wide.items() if places[key] == shard})
            for shard in set(places.values())
        }
        files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    else:
        files = {"model.safetensors": save(wide)}
    hub.add(name, files | {"config.json": b'{"model_type": "x"}'})
    machine = another(HF_TOKEN=TOKEN)
    for file, content in hub.repositories["model", name].revisions["main"].items():
        (machine.folder / file).write_bytes(content)
    start = len(hub.requests)
    ran = machine("identify", f"{name}@main", "--format", "json", "--max-download", "10kB")
    there = json.loads(ran.out)
    assert ran.code in (0, 2)
    assert all(f"{name}@main: downloading 1 file" in line for line in ran.err.splitlines())
    index = [file for file in files if file.endswith("index.json")]
    here = json.loads(machine("identify", (index or list(files))[0], "--format", "json").out)
    assert there.pop("name") == name and here.pop("name")
    assert there == here
    stored = [request for request in hub.requests[start:] if request.server == "store"]
    assert stored and all(TOKEN not in json.dumps(request.headers) for request in stored)
    kept = sum(path.stat().st_size for path in (machine.folder / "home").rglob("*") if path.is_file())
    assert kept < 10_000


def test_identify_reads_what_the_cache_holds(machine: Machine, away: Machine, hub: FakeHub) -> None:
    """What was downloaded for an audit is not asked for again, and offline that is all there is."""
    assert machine("check", "audit/small", "--data", "hf:audit/pictures", *QUIET).code in (0, 1)
    start = len(hub.requests)
    ran = machine("identify", "audit/small")
    assert "model.safetensors" not in asked(hub, start)
    assert away("identify", "audit/small").out == ran.out and "audit/small: safetensors" in ran.out
    ran = away("identify", "audit/nothing-here")
    assert ran.code == 2 and "is not in the Hub's cache" in ran.err


def test_identify_of_a_pickled_repository_downloads_it(machine: Machine) -> None:
    ran = machine("identify", "audit/pickled")
    assert "audit/pickled: torch-zip" in ran.out, ran.err
    ran = machine("identify", "audit/nested")
    assert (ran.code == 2 and "a.bin" in ran.err) or "holds" in ran.err


def test_identify_says_what_stands_in_the_way(hub: FakeHub, another: Callable[..., Machine]) -> None:
    content = hub_material.safetensors()
    short = hub.add("audit/short", {"model.safetensors": content})
    short.file = lambda handler, path, content: handler.reply(200, content[:100], {"ETag": '"x"'})
    hub.add("audit/closed", {"model.safetensors": content}).file = lambda handler, path, content: handler.error(
        403, code="GatedRepo", message="closed"
    )
    machine = another()
    ran = machine("identify", "audit/short")
    assert ran.code == 2 and "ends after 100 of" in ran.err and "Traceback" not in ran.err
    ran = machine("identify", "audit/closed")
    assert ran.code == 2 and "is gated" in ran.err
