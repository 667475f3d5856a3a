"""What a user may call a model, and the one sentence for what it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.weights import resolve, store
from engine.weights.checkpoint import open_checkpoint
from engine.weights.errors import WeightsError
from engine.weights.progress import silent
from engine.weights.resolve import resolve_model

from .builders import QWEN, write_checkpoint, write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def resolved(spec: str | Path) -> Path:
    return resolve_model(str(spec), offline=False, report=silent)


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "own", QWEN)
    assert resolved(tmp_path / "own") == tmp_path / "own"


def test_a_local_gguf_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.gguf"
    write_gguf(path)
    folder = resolved(path)
    open_checkpoint(folder)
    assert path.exists() and folder.parent == store.models_folder()
    assert resolved(folder.name) == folder  # the name that `models list` shows
    monkeypatch.setattr(resolve, "import_gguf", lambda *a, **k: pytest.fail("imported again"))
    monkeypatch.setattr(resolve, "hash_file", lambda *a, **k: pytest.fail("hashed again"))
    assert resolved(path) == folder


def test_a_copy_of_a_known_gguf_is_recognised_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "mine.gguf")
    folder = resolved(tmp_path / "mine.gguf")
    (tmp_path / "copy.gguf").write_bytes((tmp_path / "mine.gguf").read_bytes())
    monkeypatch.setattr(resolve, "import_gguf", lambda *a, **k: pytest.fail("imported again"))
    assert resolved(tmp_path / "copy.gguf") == folder


def test_a_gguf_that_changed_is_another_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    write_gguf(path)
    first = resolved(path)
    write_gguf(path, head_copy=True)
    os.utime(path, ns=(1, 1))
    assert resolved(path) != first


def _files(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "model.pt").write_bytes(b"x")
    (folder / "text.txt").write_bytes(b"x")
    (folder / "broken.gguf").write_bytes(b"GGUF\x03\0\0\0")


BAD_SPECS = {
    "folder without config": ("{}/empty", "is not a checkpoint folder: config.json is missing"),
    "pickle": ("{}/model.pt", "model.pt is a pickle file"),
    "other file": ("{}/text.txt", "is not a model: give a checkpoint folder or a .gguf file"),
    "broken gguf": ("{}/broken.gguf", "broken.gguf is truncated"),
    "absent path": ("{}/nothing", "nothing does not exist"),
    "absent gguf": ("absent.gguf", "absent.gguf does not exist"),
    "relative path": ("./absent", "does not exist"),
    "unknown name": ("qwen3", "'qwen3'; the known names are qwen2.5-coder-0.5b, qwen2.5-coder-1"),
    "empty name": (" ", "name is empty"),
    "hub offline": ("owner/name", "offline mode forbids downloading it"),
    "hub offline, pinned": ("owner/name@main", "offline mode forbids downloading it"),
    "too many slashes": ("a/b/c", "no model called 'a/b/c'"),
}


@pytest.mark.parametrize(("spec", "message"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_what_is_no_model_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _files(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        resolved(spec.format(tmp_path))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert store.list_installed() == []


def test_a_catalogue_name_is_not_pulled_offline() -> None:
    with pytest.raises(WeightsError, match="offline mode forbids downloading it"):
        resolve_model("qwen2.5-coder-0.5b", offline=True, report=silent)


@pytest.mark.parametrize("spec", ["", " "])
def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    write_checkpoint(tmp_path / "here", QWEN)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(WeightsError, match=r"name is empty; the known names are qwen2\.5-coder-0"):
        resolved(spec)


def test_the_installed_names_are_told_too(tmp_path: Path) -> None:
    write_gguf(tmp_path / "mine.gguf")
    own = resolved(tmp_path / "mine.gguf").name
    with pytest.raises(WeightsError, match=f"known names are .*, {own}"):
        resolved("")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_pipe_in_a_checkpoint_folder_is_not_waited_on(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path / "own", QWEN)
    (tmp_path / "own" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "own" / name)
    with pytest.raises(WeightsError, match=f"{name} is not a regular file"):
        resolved(tmp_path / "own")


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(WeightsError, match=r"pipe\.gguf is not a regular file"):
        resolved(tmp_path / "pipe.gguf")
