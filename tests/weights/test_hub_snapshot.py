"""Whole checkpoints from the fake hub: resumed, checked, shared between revisions, offline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import huggingface_hub
import pytest

from engine.weights import store
from engine.weights.checkpoint import open_checkpoint
from engine.weights.errors import WeightsError
from engine.weights.hub_snapshot import download_snapshot
from engine.weights.progress import silent
from engine.weights.resolve import resolve_model

from .fake_hub import COMMIT, SPEC, WEIGHTS, FakeHub, Stall, fetched, refused

SECOND = "f" * 40
HALF = 4000
"""Bytes of the weights that arrive before an interruption; the file has more."""


def pieces() -> list[Path]:
    folder = store.cache_folder() / "hub" / "nobody--tiny" / "incomplete"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_a_snapshot_holds_what_the_engine_reads_and_no_code(tiny_hub: FakeHub) -> None:
    tiny_hub.files["modeling_x.py"] = b"raise SystemExit"
    tiny_hub.files["pytorch_model.bin"] = b"pickle"
    tiny_hub.files["original/consolidated.safetensors"] = b"the same weights again"
    tiny_hub.files["linear_spec_lora/adapter_config.json"] = b"{}"
    folder = resolve_model(SPEC, offline=False, report=silent)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", WEIGHTS, "linear_spec_lora/adapter_config.json"}
    open_checkpoint(folder)
    assert folder.is_relative_to(store.cache_folder() / "hub") and folder.name == COMMIT
    assert pieces() == []


def test_progress_counts_the_bytes_of_all_files(tiny_hub: FakeHub) -> None:
    seen: list[float] = []

    def report(phase: str, fraction: float | None) -> None:
        if phase == f"Downloading {SPEC}" and fraction is not None:
            seen.append(fraction)

    download_snapshot(SPEC, offline=False, report=report)
    total = sum(map(len, tiny_hub.files.values()))
    assert seen[0] == pytest.approx(len(tiny_hub.files["config.json"]) / total)
    assert seen == sorted(seen) and seen[-1] == 1.0


KILLED = """
import sys
from huggingface_hub import constants
from engine.weights.hub_snapshot import download_snapshot

constants.DOWNLOAD_CHUNK_SIZE = 1000

def report(phase, fraction):
    if phase.startswith("Downloading"):
        print(fraction, flush=True)

download_snapshot(sys.argv[1], offline=False, report=report)
"""


def test_a_killed_download_goes_on_where_it_stopped(tiny_hub: FakeHub, tmp_path: Path) -> None:
    assert len(tiny_hub.files[WEIGHTS]) > 2 * HALF
    stall = tiny_hub.stall = Stall(WEIGHTS, HALF)
    environment = {
        **os.environ,
        "HF_ENDPOINT": tiny_hub.endpoint,
        "HF_HOME": str(tmp_path / "hf-home"),
    }
    command = [sys.executable, "-c", KILLED, SPEC]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    total = sum(map(len, tiny_hub.files.values()))
    reached = (len(tiny_hub.files["config.json"]) + HALF) / total
    for line in process.stdout:
        if float(line) >= reached - 1e-9:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    stall.go.set()
    (piece,) = pieces()
    assert piece.stat().st_size == HALF
    assert "offline mode" in refused(offline=True)  # half a copy is none
    folder = fetched()
    assert (folder / WEIGHTS).read_bytes() == tiny_hub.files[WEIGHTS]
    assert tiny_hub.fetched(WEIGHTS) == ["", f"bytes={HALF}-"]
    assert tiny_hub.fetched("config.json") == [""] and pieces() == []


def test_a_hub_that_goes_away_half_way_is_one_sentence_and_costs_nothing(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's own retries
    stall = tiny_hub.stall = Stall(WEIGHTS, HALF)
    stall.go.set()

    def report(phase: str, fraction: float | None) -> None:
        if stall.reached.is_set():
            tiny_hub.refusals["/resolve/"] = (500, "")

    with pytest.raises(WeightsError, match=r"broke off \(.*\); run the command again and it goes"):
        download_snapshot(SPEC, offline=False, report=report)
    (piece,) = pieces()
    assert piece.stat().st_size == HALF
    tiny_hub.refusals.clear()
    folder = fetched()
    assert (folder / WEIGHTS).read_bytes() == tiny_hub.files[WEIGHTS]
    assert tiny_hub.fetched(WEIGHTS)[-1] == f"bytes={HALF}-"


def test_wrong_content_is_deleted_and_named(tiny_hub: FakeHub) -> None:
    right = tiny_hub.files[WEIGHTS]
    lfs = {"sha256": "a" * 64, "size": len(right), "pointerSize": 130}
    tiny_hub.claims[WEIGHTS] = {"lfs": lfs}
    assert "model.safetensors of nobody/tiny came with sha256" in (message := refused())
    assert "instead of aaaaaaaaaaaa… and has been deleted" in message
    assert pieces() == [] and "offline mode" in refused(offline=True)
    tiny_hub.claims.clear()
    assert (fetched() / WEIGHTS).read_bytes() == right


def test_bytes_spoilt_before_an_interruption_are_found_out(tiny_hub: FakeHub) -> None:
    sha256 = "b" * 64
    lfs = {"sha256": sha256, "size": len(tiny_hub.files[WEIGHTS]), "pointerSize": 130}
    tiny_hub.claims[WEIGHTS] = {"lfs": lfs}
    piece = store.cache_folder() / "hub" / "nobody--tiny" / "incomplete" / sha256
    piece.parent.mkdir(parents=True)
    piece.write_bytes(b"?" * HALF)
    assert "has been deleted" in refused()
    assert tiny_hub.fetched(WEIGHTS) == [f"bytes={HALF}-"] and pieces() == []


@pytest.mark.parametrize("claimed", [7, 10**6])
def test_a_wrong_size_is_deleted_and_named(tiny_hub: FakeHub, claimed: int) -> None:
    tiny_hub.claims["config.json"] = {"size": claimed}
    num_bytes = len(tiny_hub.files["config.json"])
    assert f"config.json of nobody/tiny came with {num_bytes} bytes instead of {claimed}" in (
        refused()
    )
    assert pieces() == [] and tiny_hub.fetched(WEIGHTS) == []


def test_two_revisions_live_side_by_side_and_share_equal_files(tiny_hub: FakeHub) -> None:
    first = fetched()
    changed = {**tiny_hub.files, "tokenizer.json": b"{}"}
    tiny_hub.commits[SECOND] = changed
    tiny_hub.revisions |= {"main": SECOND, "v1": COMMIT, "topic/x": SECOND}
    second = fetched()
    assert second.name == SECOND and (second / "tokenizer.json").read_bytes() == b"{}"
    assert not (first / "tokenizer.json").exists()
    assert (second / WEIGHTS).read_bytes() == tiny_hub.files[WEIGHTS]
    assert tiny_hub.fetched(WEIGHTS) == [""]
    assert fetched(f"{SPEC}@v1") == first and fetched(f"{SPEC}@topic/x") == second
    for spec, folder in {SPEC: second, f"{SPEC}@v1": first, f"{SPEC}@topic/x": second}.items():
        assert fetched(spec, offline=True) == folder
    assert "offline mode" in refused(f"{SPEC}@v2", offline=True)


def test_a_branch_keeps_its_last_whole_copy_while_the_next_is_half_here(tiny_hub: FakeHub) -> None:
    first = fetched()
    tiny_hub.commits[SECOND] = {**tiny_hub.files, "tokenizer.json": b"{}"}
    tiny_hub.revisions["main"] = SECOND
    tiny_hub.refusals["tokenizer.json"] = (500, "")
    assert "broke off" in refused()
    assert fetched(offline=True) == first


@pytest.mark.parametrize("by_environment", [False, True])
def test_offline_uses_the_copy_and_asks_nobody(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    folder = fetched()
    num_requests = len(tiny_hub.requests)
    if by_environment:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetched(offline=not by_environment) == folder
    assert fetched(f"{SPEC}@{COMMIT}", offline=not by_environment) == folder
    (folder / WEIGHTS).unlink()
    assert "offline mode" in refused(offline=not by_environment)
    assert len(tiny_hub.requests) == num_requests


def test_offline_without_a_copy_is_one_sentence(tiny_hub: FakeHub) -> None:
    assert refused(offline=True) == (
        "nobody/tiny is neither a local path nor in the hub's local cache, and offline mode "
        "forbids downloading it; run once online."
    )
    assert tiny_hub.requests == []


def test_a_pinned_commit_that_is_here_needs_no_hub(tiny_hub: FakeHub) -> None:
    folder = fetched(f"{SPEC}@{COMMIT}")
    num_requests = len(tiny_hub.requests)
    assert fetched(f"{SPEC}@{COMMIT}") == folder and len(tiny_hub.requests) == num_requests


@pytest.mark.parametrize("away", ["refused connection", "server error"])
def test_a_hub_that_is_away_is_replaced_by_the_copy_with_a_word(
    tiny_hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    away: str,
) -> None:
    folder = fetched()
    if away == "server error":
        tiny_hub.refusals["/api/"] = (503, "")
    else:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetched() == folder
    assert f"using the copy in {folder}" in caplog.text
    assert "hub cannot be reached (" in refused(f"{SPEC}@other")


def test_two_at_once_fetch_each_file_once(tiny_hub: FakeHub) -> None:
    """The first is held half-way until the second says that it waits."""
    stall = tiny_hub.stall = Stall("config.json", 0, hang_up=False)
    folders: list[Path] = []
    first = threading.Thread(target=lambda: folders.append(fetched()))
    first.start()
    assert stall.reached.wait(60)

    def report(phase: str, fraction: float | None) -> None:
        if phase.startswith("Waiting for another process"):
            stall.go.set()

    folders.append(download_snapshot(SPEC, offline=False, report=report))
    first.join()
    assert stall.go.is_set() and folders[0] == folders[1]
    assert tiny_hub.fetched(WEIGHTS) == [""]


def test_the_stored_token_goes_to_the_hub(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    fetched()
    assert tiny_hub.tokens == {"Bearer hf_made_up"}


def test_a_listing_without_sizes_is_completed_file_by_file(tiny_hub: FakeHub) -> None:
    tiny_hub.claims = {name: {"size": None, "lfs": None} for name in tiny_hub.files}
    assert (fetched() / WEIGHTS).read_bytes() == tiny_hub.files[WEIGHTS]
    assert any(request.startswith("HEAD") for request in tiny_hub.requests)


def test_damaged_notes_are_written_anew_without_fetching_files_again(tiny_hub: FakeHub) -> None:
    folder = fetched()
    for note in folder.parent.glob("*.json"):
        note.write_text("[]")
    assert "offline mode" in refused(offline=True)
    assert fetched() == folder and fetched(offline=True) == folder
    assert tiny_hub.fetched(WEIGHTS) == [""]
