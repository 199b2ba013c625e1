"""Downloads that break, lie or never end: no part is ever taken for the whole, and a later run gets it right."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub_material
import pytest
from conftest import Machine
from fake_hub import FakeHub, Handler, tag
from test_hub_failures import refused

WHOLE = hub_material.safetensors()
HALF = len(WHOLE) // 2
#: huggingface_hub writes, and takes up again, in steps of so many bytes.
STEP = 10 * 2**20
LARGE = bytes(STEP + 2**21)
ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "test.parquet"
    path.write_bytes(hub_material.parquet())
    return path


def arguments(name: str, data: Path) -> tuple[str, ...]:
    return ("check", name, "--data", str(data), "--layers", "linear", "--no-output", "--format", "json")


def serving(answer: Callable[[Handler, bytes, int], bool]) -> Callable[[Handler, str, bytes], bool]:
    """The Hub itself sends the file; ``answer`` (handler, content, where to go on) replaces the sending."""

    def file(handler: Handler, path: str, content: bytes) -> bool:
        commit = handler.path.split("/resolve/")[1].split("/")[0]
        handler.hub_headers = {"X-Repo-Commit": commit, "ETag": f'"{tag(content)}"'}
        if handler.command == "HEAD":
            return handler.reply(200, content, handler.hub_headers)
        asked = handler.headers.get("Range", "")
        return answer(handler, content, int(asked[6:].partition("-")[0]) if asked else 0)

    return file


def part(handler: Handler, content: bytes, start: int, stop: int) -> bool:
    """Announces all, sends less, hangs up."""
    status, body = (206 if start else 200), content[start:stop]
    said = {**handler.hub_headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return handler.reply(status, body, said if start else handler.hub_headers, length=len(content) - start)


def whole(ran: Any) -> None:
    assert ran.code in (0, 1), ran.err
    found = json.loads(ran.out)["measurements"]["checkpoint"]["files"]
    assert found == [{"name": "model.safetensors", "size": len(WHOLE), "sha256": tag(WHOLE)}]


def kept(machine: Machine, name: str, content: bytes = WHOLE) -> list[Path]:
    """What lies in the cache under a name of its own."""
    folder = machine.folder / "home" / "hub" / f"models--{name.replace('/', '--')}"
    return [path for path in folder.rglob("*") if path.name == "model.safetensors" or path.name == tag(content)]


def test_a_connection_that_breaks_once_is_taken_up_where_it_broke(hub: FakeHub, machine: Machine, data: Path) -> None:
    starts: list[int] = []

    def answer(handler: Handler, content: bytes, start: int) -> bool:
        starts.append(start)
        return part(handler, content, start, len(content) if start else STEP + 1_000_000)

    hub.add("breaks/once", {"model.safetensors": LARGE}, file=serving(answer))
    ran = machine(*arguments("breaks/once", data))
    refused(ran, "malformed", "it begins with zeros", "download")  # whole, though no checkpoint
    assert [path.read_bytes() == LARGE for path in kept(machine, "breaks/once", LARGE)] == [True, True]
    assert starts == [0, STEP]
    assert "downloading (MB): 13 in all" in ran.err


def test_a_connection_that_stays_broken(hub: FakeHub, machine: Machine, away: Machine, data: Path) -> None:
    def answer(handler: Handler, content: bytes, start: int) -> bool:
        return part(handler, content, start, max(start, HALF))

    repository = hub.add("breaks/always", {"model.safetensors": WHOLE}, file=serving(answer))
    ran = machine(*arguments("breaks/always", data))
    refused(ran, "network", "breaks/always: the download of model.safetensors broke off", "try again later")
    assert not kept(machine, "breaks/always")
    refused(away(*arguments("breaks/always", data)), "environment", "not in the Hub's cache", "HF_HUB_OFFLINE")
    repository.file = lambda handler, path, content: False
    whole(machine(*arguments("breaks/always", data)))


def test_a_server_that_begins_again_and_again_is_cut_off(hub: FakeHub, machine: Machine, data: Path) -> None:
    """A server that ignores where to go on would otherwise keep the client for ever."""

    def answer(handler: Handler, content: bytes, start: int) -> bool:
        return part(handler, content, 0, STEP + 1_000_000)

    hub.add("breaks/again", {"model.safetensors": LARGE}, file=serving(answer))
    ran = machine(*arguments("breaks/again", data))
    refused(ran, "network", "the server sends more than the 12.6 MB it announced", "nothing of it was kept")
    assert not kept(machine, "breaks/again", LARGE)


def test_a_stream_without_end_is_cut_off(hub: FakeHub, machine: Machine, data: Path) -> None:
    sent: list[int] = []

    def answer(handler: Handler, content: bytes, start: int) -> bool:
        handler.send_response(200)
        for name, value in {**handler.hub_headers, "Transfer-Encoding": "chunked"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        block = bytes(2**16)
        for _ in range(2**14):  # a gigabyte
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            sent.append(len(block))
        return True

    hub.add("breaks/endless", {"model.safetensors": WHOLE}, file=serving(answer))
    ran = machine(*arguments("breaks/endless", data))
    refused(ran, "network", "the server sends more than the 23.4 kB it announced", "nothing of it was kept")
    assert not kept(machine, "breaks/endless") and sum(sent) < 2**29


def test_less_than_was_listed(hub: FakeHub, machine: Machine, data: Path) -> None:
    def answer(handler: Handler, content: bytes, start: int) -> bool:
        return handler.reply(200, content[:HALF], handler.hub_headers)

    hub.add("breaks/short", {"model.safetensors": WHOLE}, file=serving(answer))
    ran = machine(*arguments("breaks/short", data))
    refused(ran, "malformed", "model.safetensors arrived with another size than the Hub lists", "try again later")
    assert not kept(machine, "breaks/short")


@pytest.mark.parametrize("content", [WHOLE, b'{"weight_map": {}}'], ids=["sha256", "git"])
def test_other_bytes_than_were_listed(hub: FakeHub, machine: Machine, data: Path, content: bytes) -> None:
    def answer(handler: Handler, content: bytes, start: int) -> bool:
        return handler.reply(200, content[:-1] + b"\0", handler.hub_headers)

    name = f"breaks/bytes{len(content)}"
    repository = hub.add(name, {"model.safetensors": content}, file=serving(answer))
    ran = machine(*arguments(name, data))
    refused(ran, "malformed", "is not the file that the Hub lists: size or hash differ", "it was removed again")
    assert not kept(machine, name, content)
    if content == WHOLE:
        repository.file = lambda handler, path, content: False
        whole(machine(*arguments(name, data)))


def test_a_cached_file_that_changed_since(hub: FakeHub, machine: Machine, away: Machine, data: Path) -> None:
    hub.add("breaks/later", {"model.safetensors": WHOLE})
    whole(machine(*arguments("breaks/later", data)))
    (link,) = [path for path in kept(machine, "breaks/later") if path.is_symlink()]
    link.resolve().write_bytes(WHOLE[:-4] + b"\0\0\0\0")
    for one in (machine, away):
        ran = one(*arguments("breaks/later", data))
        refused(ran, "malformed", "size or hash differ", "remove ")
    assert link.exists(), "what this run did not download is not its own to remove"


def test_a_process_that_is_killed(hub: FakeHub, another: Callable[..., Machine], tmp_path: Path, data: Path) -> None:
    begun, over = threading.Event(), threading.Event()

    def answer(handler: Handler, content: bytes, start: int) -> bool:
        handler.send_response(200)
        for name, value in {**handler.hub_headers, "Content-Length": str(len(content))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:HALF])
        begun.set()
        over.wait(60)
        handler.close_connection = True
        return True

    repository = hub.add("breaks/killed", {"model.safetensors": WHOLE}, file=serving(answer))
    victim = another(tmp_path / "shared")
    victim.process.stdin.write(json.dumps(list(arguments("breaks/killed", data))) + "\n")
    victim.process.stdin.flush()
    assert begun.wait(60)
    victim.process.kill()
    victim.process.wait()
    over.set()
    assert not kept(victim, "breaks/killed")
    repository.file = lambda handler, path, content: False
    whole(another(tmp_path / "shared")(*arguments("breaks/killed", data)))


@pytest.fixture
def hampered(another: Callable[..., Machine], tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """A machine on which something of the system was replaced when Python started."""

    def start(code: str) -> Machine:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(code)
        return another(PYTHONPATH=f"{tmp_path / 'site'}:{ROOT}", PYTHONDONTWRITEBYTECODE="1")

    yield start


def test_a_disk_without_space_is_seen_before(hub: FakeHub, hampered: Callable[[str], Machine], data: Path) -> None:
    hub.add("breaks/full", {"model.safetensors": WHOLE})
    machine = hampered(
        "import collections, shutil\n"
        "usage = collections.namedtuple('usage', 'total used free')\n"
        "shutil.disk_usage = lambda path: usage(10**6, 10**6 - 999, 999)\n"
    )
    start = len(hub.requests)
    ran = machine(*arguments("breaks/full", data))
    refused(ran, "environment", "breaks/full: 23.4 kB to download, 999 bytes free under", "HF_HOME to a larger disk")
    assert all("/api/" in request.path for request in hub.requests[start:])


def test_a_disk_that_fills_up_meanwhile(hub: FakeHub, hampered: Callable[[str], Machine], data: Path) -> None:
    hub.add("breaks/filling", {"model.safetensors": WHOLE})
    machine = hampered("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n")
    ran = machine(*arguments("breaks/filling", data))
    refused(ran, "environment", "no space left for model.safetensors; nothing half-downloaded was kept", "HF_HOME")
    assert not kept(machine, "breaks/filling")


def test_a_cache_that_is_no_folder(hub: FakeHub, another: Callable[..., Machine], tmp_path: Path, data: Path) -> None:
    hub.add("breaks/sealed", {"model.safetensors": WHOLE})
    (tmp_path / "file").write_text("")
    ran = another(HF_HOME=str(tmp_path / "file"), HF_TOKEN_PATH=str(tmp_path / "no"))(*arguments("breaks/sealed", data))
    refused(ran, "environment", "breaks/sealed: the Hub's cache", "HF_HOME")
