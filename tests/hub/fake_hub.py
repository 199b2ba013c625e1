"""A Hub on this machine: repositories in memory, a second server for large files, and every way to fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

#: Larger files are LFS files: the Hub answers with a redirect to another server.
LARGE = 2_000


@dataclass
class Repository:
    """Files by path in it, by revision.

    Attributes:
        sizes, tags, answer: what the Hub says of a file in place of the truth, by path; of the repository, by key.
        listing, file: answer a request for the listing or for a file and return ``True``, or leave it to the server.
    """

    revisions: dict[str, dict[str, bytes]]
    sizes: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    listing: Callable[[Handler], bool] = lambda handler: False
    file: Callable[[Handler, str, bytes], bool] = lambda handler, path, content: False

    def commit(self, revision: str) -> str | None:
        """40 hexadecimal digits, of the revision's content; a commit stands for itself."""
        commits = {name: self.sha(files) for name, files in self.revisions.items()}
        return revision if revision in commits.values() else commits.get(revision)

    @staticmethod
    def sha(files: dict[str, bytes]) -> str:
        """Depends on every name and byte."""
        text = "".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
        return hashlib.sha1(text.encode("utf-8", "surrogatepass")).hexdigest()

    def files(self, commit: str) -> dict[str, bytes]:
        """What the commit holds."""
        return next(files for files in self.revisions.values() if self.sha(files) == commit)


def tag(content: bytes) -> str:
    """SHA-256 of a large file, git's hash of a small one."""
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Request:
    """What came in, and at which of the two servers."""

    server: str
    method: str
    path: str
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """One request to the Hub (``/api/…``, ``/…/resolve/…``) or to its file store (``/store/…``)."""

    protocol_version = "HTTP/1.1"
    server: _Server
    hub_headers: dict[str, str]

    def do_GET(self) -> None:
        """Also HEAD."""
        hub, path = self.server.hub, urlsplit(self.path).path
        hub.requests.append(Request(self.server.name, self.command, path, dict(self.headers)))
        words = [unquote(word) for word in path.split("/")[1:]]
        for old, new in hub.moved.items():
            if f"/{old}/" in f"{path}/":
                self.reply(307, b"", {"Location": path.replace(old, new)})
                return
        if words[0] == "store":
            self.content(*hub.store[words[1]])
        elif words[0] == "api":
            self._listing("dataset" if words[1] == "datasets" else "model", words[2:])
        else:
            kind = "dataset" if words[0] == "datasets" else "model"
            self._file(kind, words[1:] if kind == "dataset" else words)

    do_HEAD = do_GET

    def _listing(self, kind: str, words: list[str]) -> None:
        name, revision = "/".join(words[:2]), "/".join(words[3:]) or "main"
        repository = self.server.hub.repositories.get((kind, name))
        if repository is None:
            return self.error(401, code="RepoNotFound", message="Repository not found")
        if repository.listing(self):
            return None
        commit = repository.commit(revision)
        if commit is None:
            return self.error(404, code="RevisionNotFound", message=f"Invalid rev id: {revision}")
        siblings = [
            {"rfilename": path, "size": repository.sizes.get(path, len(content)), "blobId": tag(content)}
            for path, content in repository.files(commit).items()
        ]
        answer = {"id": name, "sha": commit, "siblings": siblings, "private": False, **repository.answer}
        return self.json(answer)

    def _file(self, kind: str, words: list[str]) -> None:
        name, commit, path = "/".join(words[:2]), words[3], "/".join(words[4:])
        repository = self.server.hub.repositories.get((kind, name))
        if repository is None:
            return self.error(401, code="RepoNotFound", message="Repository not found")
        content = repository.files(commit).get(path)
        if content is None:
            return self.error(404, code="EntryNotFound", message="Entry not found")
        if repository.file(self, path, content):
            return None
        headers = {"X-Repo-Commit": commit, "ETag": f'"{repository.tags.get(path, tag(content))}"'}
        if len(content) <= LARGE:
            return self.content(headers, content)
        hub = self.server.hub
        hub.store[tag(content)] = ({}, content)
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
        return self.reply(302, b"", headers | {"Location": f"{hub.store_url}/store/{tag(content)}?Signature=SECRET"})

    def content(self, headers: dict[str, str], content: bytes) -> None:
        """A file, from where the client wants to go on."""
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked.startswith("bytes=") else 0
        if start:
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.reply(206 if start else 200, content[start:], headers)

    def json(self, answer: Any, status: int = 200) -> None:
        """An answer of the programming interface."""
        self.reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def error(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> bool:
        """A refusal as the Hub words it."""
        said = {"X-Error-Code": code, "X-Error-Message": message} if code or message else {}
        self.reply(status, json.dumps({"error": message}).encode(), {**said, **(headers or {})})
        return True

    def reply(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> bool:
        """Anything at all; ``length``: what the header claims."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True
        return True

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.name = hub, name

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no concern of ours."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class FakeHub:
    """Repositories by (kind, name); ``moved`` names; ``requests`` in order of arrival."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.moved: dict[str, str] = {}
        self.requests: list[Request] = []
        self.store: dict[str, tuple[dict[str, str], bytes]] = {}
        self.main, self.files = _Server(self, "hub"), _Server(self, "store")

    @property
    def url(self) -> str:
        """What to set HF_ENDPOINT to."""
        return self.main.url

    @property
    def store_url(self) -> str:
        """Another origin."""
        return self.files.url

    def add(self, name: str, files: dict[str, bytes], kind: str = "model", **more: Any) -> Repository:
        """A repository with one branch, ``main``, unless ``revisions`` has others."""
        revisions = {"main": files, **more.pop("revisions", {})}
        self.repositories[kind, name] = repository = Repository(revisions, **more)
        return repository


@contextmanager
def running() -> Iterator[FakeHub]:
    """Both servers, each in its thread."""
    hub = FakeHub()
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in (hub.main, hub.files)]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in (hub.main, hub.files):
            server.shutdown()
            server.server_close()
