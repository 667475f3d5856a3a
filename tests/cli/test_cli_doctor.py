"""`nemodiff doctor`: every check is reported, and what is broken is named with what to do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from engine.cli.doctor import Finding, examine
from engine.config import DEFAULT_MODEL
from engine.weights import store

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

NAMES = [
    "python",
    "torch",
    "device",
    "memory",
    "cache",
    "model",
    "socket",
    "engine",
    "language server",
]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, runtime_folder: Path, tmp_path: Path) -> Path:
    """A cache and a runtime folder of our own; returns the cache folder."""
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(runtime_folder))
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def find(name: str, model: str = DEFAULT_MODEL, socket: str | None = None) -> Finding:
    findings = {finding.name: finding for finding in examine(model, socket)}
    assert list(findings) == NAMES
    return findings[name]


def install_model(name: str) -> Path:
    """A whole model by the store's own rules, of one small file."""

    def build(folder: Path) -> None:
        (folder / "config.json").write_bytes(b"{}")
        note = {
            "form": store.FORM_VERSION,
            "source": {},
            "files": {"config.json": {"sha256": "0" * 64, "num_bytes": 2}},
        }
        (folder / store.IMPORT_FILE).write_text(json.dumps(note))

    return store.install(name, build)


def test_json_and_exit_code(nemodiff: Run, engine: FakeEngine) -> None:
    result = nemodiff("doctor", "--json")
    body = json.loads(result.stdout)
    assert result.returncode == 0 and body["ok"] is True
    assert [check["name"] for check in body["checks"]] == NAMES
    for check in body["checks"]:
        assert set(check) == {"name", "status", "detail", "advice"}
        assert check["status"] in ("OK", "WARN")
    by_name = {check["name"]: check for check in body["checks"]}
    assert "fake-model" in by_name["engine"]["detail"]
    assert "nemodiff models pull" in by_name["model"]["advice"]


def test_what_fails_is_seen_in_the_text_and_the_exit_code(nemodiff: Run) -> None:
    result = nemodiff("doctor", NEMODIFF_CACHE="/dev/null/cache")
    assert result.returncode == 1
    lines = result.stdout.decode().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL  cache: "))
    assert "set NEMODIFF_CACHE" in lines[at + 1]
    assert b"Traceback" not in result.stderr + result.stdout
    assert b"\x1b" not in result.stdout


def test_a_whole_and_a_damaged_model(place: Path) -> None:
    assert find("model").status == "WARN"
    folder = install_model(DEFAULT_MODEL)
    assert find("model").status == "OK"
    assert str(folder) in find("model").detail
    (folder / "config.json").unlink()
    finding = find("model")
    assert finding.status == "FAIL"
    assert "config.json is missing" in finding.detail
    assert f"nemodiff models pull {DEFAULT_MODEL}" in finding.advice


def test_a_local_model_needs_no_cache(place: Path, tmp_path: Path) -> None:
    assert find("model", model=str(tmp_path)).status == "OK"


def test_little_disk_is_a_warning(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr("engine.cli.doctor.shutil.disk_usage", lambda path: usage)
    finding = find("cache")
    assert (finding.status, "1.0 GB free" in finding.detail) == ("WARN", True)


def test_a_runtime_folder_open_to_others_fails(place: Path, runtime_folder: Path) -> None:
    runtime_folder.chmod(0o755)
    finding = find("socket")
    assert finding.status == "FAIL"
    assert "chmod 700" in finding.detail


def test_a_file_in_the_sockets_place_fails(place: Path, runtime_folder: Path) -> None:
    (runtime_folder / "engine.sock").write_bytes(b"")
    finding = find("socket")
    assert finding.status == "FAIL"
    assert "is not a socket" in finding.detail


def test_a_socket_of_the_users_own_is_fine(
    place: Path, engine: FakeEngine, runtime_folder: Path
) -> None:
    finding = find("socket")
    assert finding.status == "OK"
    assert "in a folder of mode 0700" in finding.detail


def test_no_engine_is_no_fault(place: Path) -> None:
    finding = find("engine")
    assert finding.status == "OK"
    assert "None runs" in finding.detail


def test_an_engine_without_its_model_fails(place: Path, engine: FakeEngine) -> None:
    engine.state, engine.failure = "failed", "The file model.safetensors is cut short."
    finding = find("engine")
    assert finding.status == "FAIL"
    assert finding.detail == "The file model.safetensors is cut short."
    assert "nemodiff engine stop" in finding.advice


def test_a_check_that_breaks_does_not_hide_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: str, dtype: str, num_threads: int | None) -> None:
        raise RuntimeError("driver gone\nsecond line")

    monkeypatch.setattr("engine.device.choose_device", broken)
    finding = find("device")
    assert finding.status == "FAIL"
    assert "RuntimeError: driver gone)" in finding.detail
