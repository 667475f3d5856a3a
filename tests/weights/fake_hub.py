"""A small local server that speaks as much of the hub's HTTP interface as the tests need.

Also the two ways to ask it for its checkpoint: `fetched` and `refused`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from engine.weights.errors import WeightsError
from engine.weights.hub_snapshot import download_snapshot
from engine.weights.progress import silent

SPEC = "nobody/tiny"
WEIGHTS = "model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(slots=True)
class Stall:
    """At file `name`: sets `reached`, sends `num_bytes`, waits for `go`, hangs up or goes on."""

    name: str
    num_bytes: int
    hang_up: bool = True
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


class FakeHub(ThreadingHTTPServer):
    """Serves the repository nobody/tiny.

    requests: "METHOD path [range]" of each request. claims: what the listing says of a file
    instead of the truth (size, lfs). refusals: path part -> (status, error code of the hub).
    stall: applied to one GET, then gone.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.commits: dict[str, Mapping[str, bytes]] = {COMMIT: self.files}
        self.revisions = {"main": COMMIT}
        self.claims: dict[str, dict[str, Any]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.stall: Stall | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self, name: str) -> list[str]:
        """The Range ("" for none) of each GET of file `name`, in order."""
        gets = [request for request in self.requests if request.startswith("GET /nobody")]
        parts = [request.removeprefix("GET ").partition(" ") for request in gets]
        return [asked for path, _, asked in parts if path.split("/", 5)[5] == name]


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        asked = self.headers.get("Range") if body else None
        # The library also asks for things of its own, at most once a day and without a token.
        if "/nobody/" in path:
            self.server.requests.append(f"{self.command} {path} {asked or ''}".rstrip())
            self.server.tokens.add(self.headers.get("Authorization"))
        for part, (status, code) in self.server.refusals.items():
            if part in path:
                return self._refuse(status, code)
        data = self._data(path)
        if isinstance(data, str):
            return self._refuse(404, data)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(data) > 0:
            return self._refuse(416, "")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if body:
            self._send(path, data, start)

    def _send(self, path: str, data: bytes, start: int) -> None:
        stall = self.server.stall
        if stall is None or not path.endswith(f"/{stall.name}"):
            self.wfile.write(data[start:])
            return
        self.server.stall = None
        stall.reached.set()
        self.wfile.write(data[start : stall.num_bytes])
        self.wfile.flush()
        if stall.go.wait(60) and not stall.hang_up:
            self.wfile.write(data[stall.num_bytes :])

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _data(self, path: str) -> bytes | str:
        """What to answer; the hub's error code where there is nothing."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["nobody", "tiny"] and parts[2] == "resolve":
            files = self._files(parts[3])
            if files is None:
                return "RevisionNotFound"
            return files.get("/".join(parts[4:]), "EntryNotFound")
        if parts[:4] == ["api", "models", "nobody", "tiny"] and len(parts) == 6:
            files = self._files(parts[5])
            if files is None:
                return "RevisionNotFound"
            if parts[4] == "revision":
                return json.dumps(self._info(parts[5], files)).encode()
            if parts[4] == "tree":
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in files.items()
                ]
                return json.dumps(tree).encode()
        return "RepoNotFound"

    def _files(self, revision: str) -> Mapping[str, bytes] | None:
        return self.server.commits.get(self.server.revisions.get(revision, revision))

    def _info(self, revision: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, data in files.items():
            facts: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(data).hexdigest()
                facts["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
            siblings.append({**facts, **self.server.claims.get(name, {})})
        commit = self.server.revisions.get(revision, revision)
        return {"id": "nobody/tiny", "modelId": "nobody/tiny", "sha": commit, "siblings": siblings}


def fetched(spec: str = SPEC, *, offline: bool = False) -> Path:
    return download_snapshot(spec, offline=offline, report=silent)


def refused(spec: str = SPEC, *, offline: bool = False) -> str:
    """The one sentence that `spec` is refused with."""
    with pytest.raises(WeightsError) as caught:
        fetched(spec, offline=offline)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message
