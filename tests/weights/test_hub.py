"""The hub client against a small local server that speaks the hub's HTTP interface."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from engine.weights import hub
from engine.weights.errors import WeightsError

from .builders import NEMOTRON, tiny_entry, write_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Serves `files` of the repository nobody/tiny; `requests` records method and path."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[str] = []


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
        self.server.requests.append(f"{self.command} {path}")
        data = self._data(path)
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if body and (asked := self.headers.get("Range")):
            self.server.requests[-1] += f" {asked}"
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        data = data[start:]
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _data(self, path: str) -> bytes | None:
        parts = path.strip("/").split("/")
        if parts[:2] == ["nobody", "tiny"] and parts[2] == "resolve":
            return self.server.files.get("/".join(parts[4:]))
        if parts[:5] == ["api", "models", "nobody", "tiny", "revision"]:
            files = [{"rfilename": name} for name in self.server.files]
            info = {"id": "nobody/tiny", "modelId": "nobody/tiny", "sha": COMMIT, "siblings": files}
            return json.dumps(info).encode()
        if parts[:5] == ["api", "models", "nobody", "tiny", "tree"]:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.server.files.items()
            ]
            return json.dumps(tree).encode()
        return None


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    server = FakeHub({})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_with_byte_progress(fake_hub: FakeHub, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    fake_hub.files["tiny.gguf"] = data
    seen: list[float] = []

    def report(phase: str, fraction: float | None) -> None:
        if fraction is not None:
            seen.append(fraction)

    path = hub.download_file(tiny_entry(len(data), "0" * 64), tmp_path / "partial", report)
    assert path.read_bytes() == data
    assert seen and seen[-1] == 1.0 and seen == sorted(seen)


def test_an_interrupted_file_is_fetched_from_where_it_stopped(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 4096
    fake_hub.files["tiny.gguf"] = data
    entry = tiny_entry(len(data), "0" * 64)

    def interrupt(phase: str, fraction: float | None) -> None:
        if fraction is not None:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        hub.download_file(entry, tmp_path, interrupt)
    (incomplete,) = tmp_path.iterdir()
    size = incomplete.stat().st_size
    assert 0 < size < len(data)
    path = hub.download_file(entry, tmp_path, lambda p, f: None)
    assert path.read_bytes() == data
    assert fake_hub.requests[-1] == f"GET /nobody/tiny/resolve/main/tiny.gguf bytes={size}-"


def test_a_file_of_another_size_is_not_fetched(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files["tiny.gguf"] = b"changed upstream"
    with pytest.raises(WeightsError, match="has 16 bytes on the hub instead of 1000"):
        hub.download_file(tiny_entry(1000, "0" * 64), tmp_path, lambda p, f: None)
    assert not any(request.startswith("GET") for request in fake_hub.requests)


def test_an_absent_file_is_one_clause(fake_hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="repository nobody/tiny cannot be reached"):
        hub.download_file(tiny_entry(1, "0" * 64), tmp_path / "partial", lambda p, f: None)


def test_an_unreachable_hub_is_asked_once(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library itself would retry for half a minute; the probe before it must not."""
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(hub, "http_get", lambda *a, **k: pytest.fail("the retries began"))
    with pytest.raises(WeightsError, match="cannot be reached"):
        hub.download_file(tiny_entry(1, "0" * 64), tmp_path / "partial", lambda p, f: None)


def test_hf_hub_offline_keeps_the_hub_out(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        hub.download_file(tiny_entry(1, "0" * 64), tmp_path / "partial", lambda p, f: None)
    assert fake_hub.requests == []


def test_a_snapshot_holds_safetensors_and_no_code(fake_hub: FakeHub, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "made", NEMOTRON)
    for path in (tmp_path / "made").iterdir():
        fake_hub.files[path.name] = path.read_bytes()
    fake_hub.files["modeling_x.py"] = b"raise SystemExit"
    fake_hub.files["pytorch_model.bin"] = b"pickle"
    fake_hub.files["linear_spec_lora/adapter_config.json"] = b"{}"
    folder = hub.download_snapshot("nobody/tiny", offline=False, report=lambda p, f: None)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "model.safetensors", "linear_spec_lora/adapter_config.json"}
    num_requests = len(fake_hub.requests)
    again = hub.download_snapshot("nobody/tiny", offline=True, report=lambda p, f: None)
    assert again == folder and len(fake_hub.requests) == num_requests
    pinned = hub.download_snapshot(f"nobody/tiny@{COMMIT}", offline=True, report=lambda p, f: None)
    assert pinned == folder


def test_an_unknown_repository_is_one_sentence(fake_hub: FakeHub) -> None:
    with pytest.raises(WeightsError, match="neither a local path nor a public repository"):
        hub.download_snapshot("nobody/else", offline=False, report=lambda p, f: None)


def test_offline_without_a_cached_snapshot_is_one_sentence(fake_hub: FakeHub) -> None:
    with pytest.raises(WeightsError, match="offline mode forbids downloading it; run once online"):
        hub.download_snapshot("nobody/tiny", offline=True, report=lambda p, f: None)
    assert fake_hub.requests == []


@pytest.mark.parametrize(
    "spec", ["owner", "a/b/c", "owner/name@", "own er/name", "/name", "a/..@x"]
)
def test_what_is_no_hub_id_is_not_asked_for(fake_hub: FakeHub, spec: str) -> None:
    with pytest.raises(WeightsError, match="is no hub id"):
        hub.download_snapshot(spec, offline=False, report=lambda p, f: None)
    assert fake_hub.requests == []
