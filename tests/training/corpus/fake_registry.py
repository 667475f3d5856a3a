"""A small local server that is both a Simple API index of Python packages and an npm registry."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass(slots=True)
class File:
    """An archive. digest: what the registry claims, None for the truth, "" for nothing."""

    name: str
    content: bytes
    digest: str | None = None
    is_yanked: bool = False


@dataclass(slots=True)
class NpmVersion:
    version: str
    content: bytes
    integrity: str | None = None


class FakeRegistry(ThreadingHTTPServer):
    """python: canonical name -> its files. npm: name -> its only version.

    requests: the path of each request. failures: path part -> how many times it answers 503 yet;
    cut_short: the same for answers that end in the middle. is_json: whether the Simple API answers
    in JSON, as the public index does, or in HTML.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.python: dict[str, list[File]] = {}
        self.npm: dict[str, NpmVersion] = {}
        self.requests: list[str] = []
        self.failures: dict[str, int] = {}
        self.cut_short: dict[str, int] = {}
        self.is_json = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def index(self) -> str:
        return f"{self.url}/simple"

    def archives(self) -> list[str]:
        """The names of the archives that were sent, in order."""
        paths = [path.rsplit("/", 1)[-1] for path in self.requests if path.startswith("/files/")]
        return paths


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def log_message(self, format: str, *args: object) -> None:
        return None

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.server.requests.append(path)
        for part, times in self.server.failures.items():
            if part in path and times > 0:
                self.server.failures[part] = times - 1
                return self._answer(503, b"", "text/plain")
        parts = path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2:
            return self._simple(parts[1])
        if parts[0] == "files":
            return self._file(parts[1], parts[2])
        if parts[0] == "npm":
            return self._npm("/".join(parts[1:]))
        return self._answer(404, b"", "text/plain")

    def _simple(self, name: str) -> None:
        files = self.server.python.get(name)
        if files is None:
            return self._answer(404, b"", "text/plain")
        if not self.server.is_json:
            links = "".join(
                f'<a href="../../files/{name}/{file.name}{_fragment(file)}"'
                f"{' data-yanked' if file.is_yanked else ''}>{file.name}</a>\n"
                for file in files
            )
            return self._answer(200, f"<html>{links}</html>".encode(), "text/html")
        entries = [
            {
                "filename": file.name,
                "url": f"../../files/{name}/{file.name}",
                "hashes": {"sha256": _sha256(file)} if file.digest != "" else {},
                "yanked": file.is_yanked,
            }
            for file in files
        ]
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": entries})
        return self._answer(200, body.encode(), "application/vnd.pypi.simple.v1+json")

    def _npm(self, path: str) -> None:
        name, _, tag = path.rpartition("/")
        entry = self.server.npm.get(name)
        if entry is None or tag not in ("latest", entry.version):
            return self._answer(404, b"", "text/plain")
        sha512 = base64.b64encode(hashlib.sha512(entry.content).digest()).decode()
        tarball = f"{self.server.url}/files/npm/{name.replace('/', '+')}.tgz"
        integrity = entry.integrity or f"sha512-{sha512}"
        answer: dict[str, Any] = {
            "name": name,
            "version": entry.version,
            "dist": {"tarball": tarball, "integrity": integrity},
        }
        return self._answer(200, json.dumps(answer).encode(), "application/json")

    def _file(self, name: str, file_name: str) -> None:
        if name == "npm":
            entry = self.server.npm[file_name.removesuffix(".tgz").replace("+", "/")]
            return self._answer(200, entry.content, "application/octet-stream")
        for file in self.server.python.get(name, []):
            if file.name == file_name:
                return self._answer(200, file.content, "application/octet-stream")
        return self._answer(404, b"", "text/plain")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for part, times in self.server.cut_short.items():
            if part in self.path and times > 0:
                self.server.cut_short[part] = times - 1
                body = body[: len(body) // 2]
        self.wfile.write(body)


def _sha256(file: File) -> str:
    return file.digest or hashlib.sha256(file.content).hexdigest()


def _fragment(file: File) -> str:
    return f"#sha256={_sha256(file)}" if file.digest != "" else ""
