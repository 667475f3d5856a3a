"""The store: whole folders or none, hashes that notice a change, removal, its place on disk."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from engine.weights import store
from engine.weights.errors import WeightsError
from engine.weights.gguf_import import import_gguf

from .builders import write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(tmp_path: Path, name: str = "tiny") -> store.InstalledModel:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    with store.locked(name):
        store.install(name, lambda fresh: import_gguf(path, fresh, source={"sha256": "abc"}))
    model = store.find(name)
    assert model is not None
    return model


def test_an_installed_model_is_found_listed_and_verified(tmp_path: Path, cache: Path) -> None:
    assert store.find("tiny") is None and store.list_installed() == []
    model = put(tmp_path)
    assert model.folder == cache / "models" / "tiny"
    assert model.source == {"sha256": "abc"}
    assert [m.name for m in store.list_installed()] == ["tiny"]
    assert model.num_bytes == sum((model.folder / name).stat().st_size for name in model.files)
    seen: list[str] = []
    store.verify(model, lambda phase, fraction: seen.append(phase))
    assert "Checking model.safetensors" in seen


def test_the_cache_folder_is_the_users_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMODIFF_CACHE")
    assert "nemodiff" in store.cache_folder().parts


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_verify_names_a_changed_file(tmp_path: Path, name: str) -> None:
    model = put(tmp_path)
    data = bytearray((model.folder / name).read_bytes())
    data[-1] ^= 1
    (model.folder / name).write_bytes(data)
    with pytest.raises(WeightsError, match=f"{name} has changed since it was written"):
        store.verify(model)


def test_verify_names_a_truncated_and_a_missing_file(tmp_path: Path) -> None:
    model = put(tmp_path)
    (model.folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"model\.safetensors has not the size"):
        store.verify(model)
    (model.folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        store.verify(model)


def test_a_failed_import_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    model = put(tmp_path)

    def fail(fresh: Path) -> None:
        (fresh / "config.json").write_text("{}")
        raise WeightsError("on purpose.")

    with store.locked("tiny"), pytest.raises(WeightsError, match="on purpose"):
        store.install("tiny", fail)
    with store.locked("new"), pytest.raises(WeightsError, match="on purpose"):
        store.install("new", fail)
    assert [path.name for path in store.models_folder().iterdir()] == ["tiny"]
    store.verify(model)


def test_a_model_is_invisible_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)

    def build(fresh: Path) -> None:
        import_gguf(path, fresh, source={})
        assert store.find("tiny") is None and store.list_installed() == []

    with store.locked("tiny"):
        store.install("tiny", build)
    assert store.find("tiny") is not None


def test_what_a_killed_import_left_is_swept(tmp_path: Path) -> None:
    left = store.models_folder() / ".tiny-killed"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    assert store.list_installed() == []
    put(tmp_path)
    assert not left.exists()


def test_another_form_version_counts_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    monkeypatch.setattr(store, "FORM_VERSION", store.FORM_VERSION + 1)
    assert store.find("tiny") is None


def test_remove_deletes_model_and_partial_download(tmp_path: Path) -> None:
    model = put(tmp_path)
    store.partial_folder("tiny").mkdir(parents=True)
    assert store.remove("tiny") == model.folder
    assert list(store.models_folder().iterdir()) == []
    assert not store.partial_folder("tiny").exists()
    with pytest.raises(WeightsError, match=r"no installed model 'tiny' \(installed: none\)"):
        store.remove("tiny")


@pytest.mark.parametrize("name", ["../models", "..", "", "/etc"])
def test_remove_touches_nothing_but_models(tmp_path: Path, name: str) -> None:
    model = put(tmp_path)
    with pytest.raises(WeightsError, match="no installed model"):
        store.remove(name)
    store.verify(model)


def _hold(held: Event, release: Event) -> None:
    with store.locked("tiny"):
        held.set()
        release.wait(60)


def test_a_second_process_waits_for_the_first() -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(held, release))
    other.start()
    try:
        assert held.wait(60)
        phases: list[str] = []

        def report(phase: str, fraction: float | None) -> None:
            phases.append(phase)
            release.set()  # only now may the other process let go

        with store.locked("tiny", report):
            assert phases == ["Waiting for another process that works on tiny"]
    finally:
        release.set()
        other.join(60)
    assert other.exitcode == 0


def test_an_unwritable_cache_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "file"))
    with (
        pytest.raises(WeightsError, match=r"cannot be written .*NEMODIFF_CACHE"),
        store.locked("x"),
    ):
        pass
