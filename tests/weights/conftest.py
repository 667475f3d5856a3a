"""The fake hub as fixtures, with every cache in the test's own folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from .builders import NEMOTRON, write_checkpoint
from .fake_hub import FakeHub


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A running FakeHub that huggingface_hub takes for the hub; no token, nothing cached."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "library-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield server
    if server.stall is not None:
        server.stall.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tiny_hub(fake_hub: FakeHub, tmp_path: Path) -> FakeHub:
    """A FakeHub that offers a small checkpoint in Nemotron's format."""
    write_checkpoint(tmp_path / "made", NEMOTRON)
    fake_hub.files.update({path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()})
    return fake_hub
