"""What the hub or the disk says no to, unsafe names, and copies in huggingface_hub's own cache."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest

from engine.weights import store
from engine.weights.hub_cache import HubCache, HubFile
from engine.weights.hub_listing import SNAPSHOT_PATTERNS, is_wanted

from .fake_hub import COMMIT, SPEC, WEIGHTS, FakeHub, fetched, refused


class Refusal(NamedTuple):
    """refusals and claims as of FakeHub; files: changes of what it offers, None for absent."""

    sentence: str
    spec: str = SPEC
    refusals: dict[str, tuple[int, str]] = {}  # noqa: RUF012
    files: dict[str, bytes | None] = {}  # noqa: RUF012
    commit: str = COMMIT


REFUSALS = {
    "unknown repository": Refusal(
        "nobody/else is neither a local path nor a public repository of the hub", spec="nobody/else"
    ),
    "unknown revision": Refusal("nobody/tiny has no revision 'v9'", spec=f"{SPEC}@v9"),
    "gated": Refusal("needs its licence accepted", refusals={"/api/": (403, "GatedRepo")}),
    "gated files": Refusal(
        "needs its licence accepted", refusals={f"/resolve/{COMMIT}/model": (403, "GatedRepo")}
    ),
    "hub down": Refusal("the hub cannot be reached (", refusals={"/api/": (503, "")}),
    "file gone": Refusal("broke off (", refusals={"/resolve/": (404, "EntryNotFound")}),
    "pickles only": Refusal(
        "holds no safetensors weights; pytorch_model.bin is a pickle file",
        files={WEIGHTS: None, "pytorch_model.bin": b"pickle"},
    ),
    "gguf only": Refusal(
        "holds no safetensors weights; download small.gguf from it and give the path",
        files={WEIGHTS: None, "small.gguf": b"GGUF", "pytorch_model.bin": b"pickle"},
    ),
    "empty": Refusal(
        "holds no safetensors weights; use another", files={WEIGHTS: None, "config.json": None}
    ),
    "no config": Refusal("since config.json is missing", files={"config.json": None}),
    "other model": Refusal(
        "nobody/tiny cannot be used: config.json: model_type is 'llama'",
        files={"config.json": b'{"model_type": "llama"}'},
    ),
    "no commit": Refusal("names no commit for nobody/tiny", commit="../../evil"),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_each_refusal_is_one_sentence(tiny_hub: FakeHub, case: Refusal) -> None:
    tiny_hub.refusals.update(case.refusals)
    for name, data in case.files.items():
        if data is None:
            del tiny_hub.files[name]
        else:
            tiny_hub.files[name] = data
    tiny_hub.revisions["main"] = case.commit
    tiny_hub.commits[case.commit] = tiny_hub.files
    assert case.sentence in refused(case.spec)
    # No refusal comes after the large file has been fetched.
    assert all(case.refusals for _ in tiny_hub.fetched(WEIGHTS))
    assert "offline mode" in refused(case.spec, offline=True)


@pytest.mark.parametrize(
    "spec", ["owner", "a/b/c", "owner/name@", "own er/name", "/name", "a/..@x", "a/b--c", "a/b.git"]
)
def test_what_is_no_hub_id_is_not_asked_for(fake_hub: FakeHub, spec: str) -> None:
    assert "is no hub id; write it as owner/name or owner/name@revision" in refused(spec)
    assert fake_hub.requests == []


def test_a_disk_without_room_is_told_before_the_download(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert "GB more, but only 0.0 GB are free" in refused()
    assert tiny_hub.fetched(WEIGHTS) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_one_sentence(tiny_hub: FakeHub) -> None:
    file = HubFile("config.json", len(tiny_hub.files["config.json"]), None)
    piece = HubCache(SPEC).incomplete(COMMIT, file)
    piece.parent.mkdir(parents=True)
    piece.symlink_to("/dev/full")
    assert "cannot be written (No space left on device); free space there" in refused()


def test_a_cache_folder_that_is_a_file_is_one_sentence(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "file"))
    assert "cannot be written" in refused()


UNSAFE = [
    "../evil.safetensors",
    "../../linear_spec_lora/evil.json",
    "linear_spec_lora/../evil.json",
    "/evil.safetensors",
    "/linear_spec_lora/evil.json",
    "..\\evil.safetensors",
    "C:evil.safetensors",
    "linear_spec_lora//evil.json",
    "linear_spec_lora/..\\..\\evil.json",
    "evil\n.safetensors",
]


def test_no_file_name_leads_out_of_the_folder(tiny_hub: FakeHub, tmp_path: Path) -> None:
    tiny_hub.files.update(dict.fromkeys(UNSAFE, b"evil"))
    folder = fetched()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]
    assert [path for path in tmp_path.rglob("*") if "evil" in path.name] == []
    assert not any(is_wanted(name) for name in UNSAFE)


@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00002.safetensors", "linear_spec_lora/adapter.json"]
)
def test_what_the_engine_reads_is_wanted(name: str) -> None:
    assert is_wanted(name) and not is_wanted(f"deeper/{name}")


def _library_snapshot(**kwargs: Any) -> Path:
    """Lets huggingface_hub fill its own cache, as other programs do."""
    return Path(
        huggingface_hub.snapshot_download(SPEC, allow_patterns=list(SNAPSHOT_PATTERNS), **kwargs)
    )


@pytest.mark.parametrize("spec", [SPEC, f"{SPEC}@{COMMIT}"])
@pytest.mark.parametrize("offline", [True, False])
def test_a_whole_copy_in_the_librarys_cache_is_used(
    tiny_hub: FakeHub, spec: str, offline: bool
) -> None:
    folder = _library_snapshot()
    tiny_hub.requests.clear()
    assert fetched(spec, offline=offline) == folder
    assert tiny_hub.fetched(WEIGHTS) == [] and bool(tiny_hub.requests) != offline
    tiny_hub.refusals["/api/"] = (503, "")
    assert fetched(spec) == folder


@pytest.mark.parametrize("old_library", [False, True])
@pytest.mark.parametrize("damage", ["no weights", "no config", "no second shard", "short"])
def test_part_of_a_copy_in_the_librarys_cache_is_not_used(
    tiny_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, damage: str, old_library: bool
) -> None:
    """Old versions of the library return a folder without knowing whether it is complete."""
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "other.safetensors"}})
    if damage == "no second shard":
        tiny_hub.files["model.safetensors.index.json"] = index.encode()
        tiny_hub.files["other.safetensors"] = b"more"
    folder = _library_snapshot()
    if old_library:
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: str(folder))
    broken = {"no config": "config.json", "no second shard": "other.safetensors"}
    (folder / broken.get(damage, WEIGHTS)).unlink()
    if damage == "short":
        (folder / WEIGHTS).write_bytes(b"short")
    else:
        assert "offline mode" in refused(offline=True)
    tiny_hub.requests.clear()
    own = fetched()
    assert own.is_relative_to(store.cache_folder()) and len(tiny_hub.fetched(WEIGHTS)) == 1
    assert os.listdir(own) and fetched(offline=True) == own
