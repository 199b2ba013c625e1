"""Every way in which the Hub can fail a user: exit code 2, one sentence of its own, and nothing of a server's text."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_material
import pytest
from conftest import TOKEN, Machine, Ran
from fake_hub import FakeHub, Handler

#: What no terminal must be sent: a window title, a colour, a line of its own.
ESCAPES = "\x1b]0;owned\x07\x1b[31m\n::error::owned"
WHOLE = hub_material.safetensors()
DATA = hub_material.parquet()


@dataclass(frozen=True)
class Case:
    """A repository ``fails/<name>`` that fails, and what is said then."""

    name: str
    kind: str
    says: str
    hint: str
    make: Callable[[FakeHub, str], None] | None = None
    address: str = ""


def model(files: dict[str, bytes] | None = None, **more: Any) -> Callable[[FakeHub, str], None]:
    def make(hub: FakeHub, name: str) -> None:
        hub.add(name, {"model.safetensors": WHOLE} if files is None else files, **more)

    return make


def listing(status: int, **more: Any) -> Callable[[FakeHub, str], None]:
    return model(listing=lambda handler: handler.error(status, **more))


def file(answer: Callable[[Handler, str, bytes], bool]) -> Callable[[FakeHub, str], None]:
    return model(file=answer)


def page(handler: Handler) -> bool:
    return handler.reply(200, f"<html>{ESCAPES}</html>".encode(), {"Content-Type": "text/html"})


def circle(handler: Handler) -> bool:
    return handler.reply(307, b"", {"Location": handler.path})


def hang_up(handler: Handler) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def gated(handler: Handler, path: str, content: bytes) -> bool:
    return handler.error(403, code="GatedRepo", message="Access to model is restricted" + "!")


def no_commit(handler: Handler, path: str, content: bytes) -> bool:
    return handler.reply(200, content, {"ETag": '"abc"'})


CASES = (
    Case("gated", "hub", "is gated: its owners decide", "ask for access at", file(gated)),
    Case("gated-listing", "hub", "is gated", "hf auth login", listing(401, code="GatedRepo", message="no")),
    Case("missing", "hub", "there is no model fails/missing on the Hub, or it is private", "your token may read it"),
    Case("disabled", "hub", "was disabled", "another copy",
         listing(403, message="Access to this resource is disabled.")),
    Case("token", "hub", "does not accept your token", "hf auth login",
         listing(401, message="Invalid credentials in Authorization header")),
    Case("forbidden", "hub", "access denied (403)", "token", listing(403, message="no" + "\t")),
    Case("revision", "hub", "fails/revision has no revision v9", "name a branch, a tag or a commit", model(),
         "fails/revision@v9"),
    Case("path", "hub", "has no file or folder sub/none.bin", "it has model.safetensors", model(),
         "hf:fails/path/sub/none.bin"),
    Case("readme", "hub", "no weights that lcaudit reads; it has README.md, tf_model.h5", "expected model.safetensors",
         model({"README.md": b"", "tf_model.h5": b""})),
    Case("empty", "hub", "no weights that lcaudit reads; it has no files there", "expected", model({})),
    Case("several", "usage", "holds 2 files of weights: a.safetensors, b.safetensors", "hf:fails/several/a.safetensors",
         model({"a.safetensors": b"", "b.safetensors": b""})),
    Case("parts", "malformed", "pickled files in several parts", "convert them first",
         model({"pytorch_model.bin.index.json": b"{}", "pytorch_model-00001-of-00002.bin": b""})),
    Case("shard", "hub", "names files that the repository lacks: model-00001-of-00003", "its owners",
         model({"model.safetensors.index.json": hub_material.sharded()["model.safetensors.index.json"]})),
    Case("outside", "refused", "names a shard outside the model folder: '../../x.safetensors'", "plain file names",
         model({"model.safetensors.index.json": b'{"weight_map": {"a": "../../x.safetensors"}}'})),
    Case("slow", "network", "asks to slow down (429)", "try again in 37 s",
         listing(429, headers={"Retry-After": "37"}, message="x")),
    Case("slow-file", "network", "asks to slow down (429)", "try again later",
         file(lambda handler, path, content: handler.error(429, headers={"Retry-After": "Wed, 21 Oct"}))),
    Case("fault", "network", "a fault of its own (503)", "try again later", listing(503, message="down")),
    Case("fault-file", "network", "a fault of its own (502)", "try again later",
         file(lambda handler, path, content: handler.error(502))),
    Case("teapot", "hub", "refused with 418", "check the name", listing(418)),
    Case("circle", "network", "without end", "later", model(listing=circle)),
    Case("page", "network", "does not answer like the Hub", "HF_ENDPOINT", model(listing=page)),
    Case("list", "network", "does not answer like the Hub", "proxy", model(listing=lambda h: h.json([1, 2]) or True)),
    Case("sha", "network", "does not answer like the Hub", "proxy", model(answer={"sha": "../../../etc"})),
    Case("no-sha", "network", "does not answer like the Hub", "proxy", model(answer={"sha": None})),
    Case("siblings", "network", "does not answer like the Hub", "proxy", model(answer={"siblings": [{"size": 3}]})),
    Case("no-commit", "network", "does not answer like the Hub", "proxy", file(no_commit)),
    Case("tag", "network", "does not answer like the Hub", "proxy", model(tags={"model.safetensors": "../../../evil"})),
    Case("hung-up", "network", "the connection to http://127.0.0.1", "later", model(listing=hang_up)),
    Case("absurd", "limit", "1 file, 9,223,372 TB to download, --max-download is 10 GB", "--max-download 9223372037GB",
         model(sizes={"model.safetensors": 2**63 - 1})),
    Case("negative", "hub", "and 1 whose names or sizes cannot be", "expected",
         model(sizes={"model.safetensors": -1})),
    Case("words", "hub", "and 1 whose names or sizes cannot be", "expected",
         model(sizes={"model.safetensors": "many"})),
    Case("more", "malformed", f"model.safetensors has 7 bytes in the list, {len(WHOLE):,} by itself", "try again",
         model(sizes={"model.safetensors": 7})),
    Case("climbing", "hub", "and 3 whose names or sizes cannot be", "expected",
         model({"../model.safetensors": b"", "/etc/model.safetensors": b"", "a\\..\\model.safetensors": b""})),
    Case("escapes", "hub", "it has no files there, and 1 whose", "expected",
         model({f"{ESCAPES}.safetensors": b""})),
    Case("html-file", "malformed", "an HTML page, perhaps a failed download", "download",
         model({"model.safetensors": b"<html><body>log in</body></html>"})),
    Case("code", "refused", "posix.system", "safetensors",
         model({"pytorch_model.bin": b"\x80\x02cposix\nsystem\n" + b"X\x04\x00\x00\x00true\x85R."})),
    Case("dashes", "usage", "hf:fails--x/y is not a repository", "expected ns/name", None, "hf:fails--x/y"),
    Case("climb", "usage", "is not a repository", "expected ns/name", None, "hf:fails/x/../../y"),
    Case("dots", "usage", "is not a possible revision", "a branch, a tag or a commit", None, "fails/x@..%2F..%2Fy"),
    Case("host", "usage", "https://example.org is not the Hugging Face Hub", "download the file yourself", None,
         "https://example.org/fails/x?token=SECRET"),
    Case("space", "usage", "a space, which holds neither weights nor data", "ns/name", None,
         "https://huggingface.co/spaces/fails/x"),
    Case("data", "usage", "is a data set: pass it to --data", "hf:ns/name", None,
         "https://huggingface.co/datasets/fails/x?Signature=SECRET"),
)  # fmt: skip


def refused(ran: Ran, kind: str, says: str, hint: str) -> None:
    assert ran.code == 2, ran.out
    lines = ran.err.splitlines()
    assert [line for line in lines if line.startswith("lcaudit: ")] == [lines[-2]], ran.err
    assert lines[-2].startswith(f"lcaudit: error[{kind}]: ") and says in lines[-2], ran.err
    assert lines[-1].startswith("  hint: ") and hint in lines[-1], ran.err
    assert not {"\x1b", "\x07"} & set(ran.err) and "owned" not in ran.err.replace("\\x1b]0;owned", "")
    assert TOKEN not in ran.err and "SECRET" not in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_that_cannot_be_had(hub: FakeHub, machine: Machine, case: Case) -> None:
    if case.make is not None:
        case.make(hub, f"fails/{case.name}")
    address = case.address or f"fails/{case.name}"
    refused(machine("check", address, "--data", "digits", "--no-output"), case.kind, case.says, case.hint)


def test_the_sentences_are_told_apart() -> None:
    said = [(case.says, case.hint) for case in CASES]
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(set(said)) > 0.8 * len(said)


SPLITS = {f"{part}/{split}/0000.parquet": DATA for part in ("a", "b") for split in ("test", "train")}
DATA_CASES = (
    Case("none", "hub", "there is no data set fails/none on the Hub", "your token may read it", None, "hf:fails/none"),
    Case("text", "probe", "holds no Parquet files; it has data.csv", "a folder of images",
         lambda hub, name: hub.add(name, {"data.csv": b"1"}, kind="dataset")),
    Case("configurations", "probe", "has 2 configurations: a, b", "choose one: hf:fails/configurations",
         lambda hub, name: hub.add(name, SPLITS, kind="dataset")),
    Case("configuration", "probe", "has no configuration c, it has a, b", "choose one of these",
         lambda hub, name: hub.add(name, SPLITS, kind="dataset"), "hf:fails/configuration:c/test"),
    Case("split", "probe", "has no split dev, it has test, train", "choose one: hf:fails/split@main:test",
         lambda hub, name: hub.add(name, SPLITS, kind="dataset"), "hf:fails/split@main:a/dev"),
    Case("table", "malformed", "the Parquet file is damaged", "download",
         lambda hub, name: hub.add(name, {"test.parquet": b"PAR1 no table" * 9}, kind="dataset")),
    Case("gated-data", "hub", "is gated", "/datasets/fails/gated-data",
         lambda hub, name: hub.add(name, {"test.parquet": DATA}, kind="dataset", file=gated)),
    Case("model", "usage", "is a model: pass it as MODEL", "hf:ns/name", None, "https://huggingface.co/fails/x"),
)  # fmt: skip


@pytest.mark.parametrize("case", DATA_CASES, ids=lambda case: case.name)
def test_data_that_cannot_be_had(hub: FakeHub, machine: Machine, case: Case) -> None:
    hub.add("fails/fine", {"model.safetensors": WHOLE})
    if case.make is not None:
        case.make(hub, f"fails/{case.name}")
    address = case.address or f"hf:fails/{case.name}"
    refused(machine("check", "fails/fine", "--data", address, "--no-output"), case.kind, case.says, case.hint)


def test_more_than_is_allowed_is_not_begun(hub: FakeHub, machine: Machine) -> None:
    hub.add("fails/large", {"model.safetensors": WHOLE})
    start = len(hub.requests)
    ran = machine("check", "fails/large", "--data", "digits", "--no-output", "--max-download", "20kB")
    refused(ran, "limit", "1 file, 23.4 kB to download, --max-download is 20 kB", "pass --max-download 24kB")
    assert all("/api/" in request.path for request in hub.requests[start:])
    ran = machine("check", "fails/large", "--data", "digits", "--no-output", "--max-download", "much")
    refused(ran, "usage", "--max-download much: expected a size", "500MB")


def test_offline_and_not_cached(hub: FakeHub, away: Machine) -> None:
    hub.add("fails/offline", {"model.safetensors": WHOLE})
    start = len(hub.requests)
    for address in ("fails/offline", "fails/offline@" + 40 * "0"):
        ran = away("check", address, "--data", "digits", "--no-output")
        refused(ran, "environment", "is not in the Hub's cache, and the Hub is not asked", "unset HF_HUB_OFFLINE")
    assert len(hub.requests) == start


def test_without_a_token_private_and_missing_look_alike(hub: FakeHub, another: Callable[..., Machine]) -> None:
    ran = another()("check", "fails/private", "--data", "digits", "--no-output")
    refused(
        ran, "hub", "there is no model fails/private on the Hub, or it is private", "`hf auth login` or set HF_TOKEN"
    )


def test_a_server_that_never_answers(hub: FakeHub, another: Callable[..., Machine]) -> None:
    over = threading.Event()
    hub.add("fails/silent", {"model.safetensors": WHOLE}, listing=lambda handler: over.wait(60) and hang_up(handler))
    ran = another(HF_HUB_ETAG_TIMEOUT="1")("check", "fails/silent", "--data", "digits", "--no-output")
    over.set()
    refused(ran, "network", "fails/silent: no answer from http://127.0.0.1", "try again later")


def test_no_connection(another: Callable[..., Machine]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        machine = another(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}")
        ran = machine("check", "fails/any", "--data", "digits", "--no-output")
    refused(ran, "network", "no connection to http://127.0.0.1", "check the network")


def test_a_hub_that_is_down_is_bridged_by_the_cache(hub: FakeHub, machine: Machine) -> None:
    weights = hub.add("fails/down", {"model.safetensors": WHOLE})
    pictures = hub.add("fails/down-data", {"test.parquet": DATA}, kind="dataset")
    arguments = ("check", "fails/down", "--data", "hf:fails/down-data@main", "--no-output", "--format", "json")
    before = json.loads(machine(*arguments).out)["measurements"]
    for repository in (weights, pictures):
        repository.listing = lambda handler: handler.error(503, message="down")
    ran = machine(*arguments)
    after = json.loads(ran.out)["measurements"]
    assert "downloading" not in ran.err
    for kind, name in (("checkpoint", "fails/down"), ("probe", "fails/down-data@main")):
        note = f"files of the cache were used: {name}: the Hub has a fault of its own (503)"
        assert after[kind]["hub"] == {**before[kind]["hub"], "notes": [note]}


def test_missing_libraries_are_named_with_what_to_type(
    hub: FakeHub, tmp_path: Path, another: Callable[..., Machine]
) -> None:
    hub.add("fails/fine", {"model.safetensors": WHOLE})
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    (tmp_path / "images.parquet").write_bytes(DATA)
    root = str(Path(__file__).parents[2])
    machine = another(PYTHONPATH=f"{tmp_path / 'absent'}:{root}")
    for data in ("hf:fails/any", tmp_path / "images.parquet"):
        ran = machine("check", "fails/fine", "--data", data, "--no-output")
        refused(ran, "environment", "Parquet files need pyarrow", "pip install 'lcaudit[data]'")
