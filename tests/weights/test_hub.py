"""One file from the hub, against a small local server that speaks its HTTP interface."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest

from engine.weights import hub
from engine.weights.errors import WeightsError

from .builders import tiny_entry
from .fake_hub import FakeHub


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
    incomplete = tmp_path / "tiny.gguf.incomplete"
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


def _other_signature(url: str, target: str) -> None:
    raise AssertionError("called although its signature is another one")


@pytest.mark.parametrize("http_get", [None, _other_signature], ids=["absent", "changed"])
def test_without_the_streaming_function_the_public_one_is_used(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http_get: object
) -> None:
    data = bytes(range(256)) * 40
    fake_hub.files["tiny.gguf"] = data
    monkeypatch.setattr(hub, "http_get", http_get)
    path = hub.download_file(tiny_entry(len(data), "0" * 64), tmp_path / "new", lambda p, f: None)
    assert path.read_bytes() == data
    assert list((tmp_path / "new").iterdir()) == [path]


def test_a_file_that_is_shorter_on_the_hub_starts_anew(fake_hub: FakeHub, tmp_path: Path) -> None:
    """The hub refuses the range; were the piece kept, no later attempt could succeed."""
    fake_hub.files["tiny.gguf"] = b"x" * 100
    path = tmp_path / "piece"
    path.write_bytes(b"y" * 150)
    remote = hub.RemoteFile(
        repository="nobody/tiny",
        revision="main",
        name="tiny.gguf",
        num_bytes=200,
        url=f"{fake_hub.endpoint}/nobody/tiny/resolve/main/tiny.gguf",
        headers={},
    )
    with pytest.raises(hub.TransferError):
        hub.download_rest(remote, path, lambda size: None)
    assert path.stat().st_size == 0
