"""The npm registry's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.training.corpus import npm
from engine.training.corpus.archive_cache import ArchiveCache
from engine.training.corpus.npm import DEFAULT_REGISTRY, Npm, npm_registry
from engine.training.corpus.registry import PackageError

from .builders import npm_tarball
from .fake_registry import FakeRegistry, NpmVersion


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArchiveCache]:
    cache = ArchiveCache(tmp_path / "downloads")
    yield cache
    cache.close()


@pytest.mark.parametrize("name", ["alpha", "@scope/alpha"])
def test_a_tarball_is_fetched_and_checked(
    registry: FakeRegistry, cache: ArchiveCache, name: str
) -> None:
    content = npm_tarball(name, {"index.js": "export const x = 1;\n"})
    registry.npm[name] = NpmVersion("1.2.0", content)
    client = Npm(cache, npm_registry())
    for pin in (None, "1.2.0"):
        version, archive = client.fetch(name, pin)
        assert (version, archive.path.read_bytes()) == ("1.2.0", content)
    assert len(registry.archives()) == 1
    registry.npm[name].integrity = "sha512-" + "A" * 86 + "=="
    archive.path.unlink()
    with pytest.raises(PackageError, match="the archive's digest is wrong"):
        client.fetch(name, None)


def test_what_is_not_there(registry: FakeRegistry, cache: ArchiveCache) -> None:
    registry.npm["alpha"] = NpmVersion("1.2.0", b"")
    client = Npm(cache, npm_registry())
    for name, pin in (("beta", None), ("alpha", "9.9.9")):
        with pytest.raises(PackageError, match="not in the registry"):
            client.fetch(name, pin)


def test_the_variable_names_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://npm.example")
    assert npm_registry() == "https://npm.example/"


def test_npm_is_asked_for_the_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(variable, raising=False)
    program = tmp_path / "npm"
    program.write_text('#!/bin/sh\n[ "$*" = "config get registry" ] && echo https://own.example\n')
    program.chmod(0o755)
    monkeypatch.setattr(npm.shutil, "which", lambda name: str(program))
    assert npm_registry() == "https://own.example/"
    program.write_text("#!/bin/sh\nexit 3\n")
    assert npm_registry() == DEFAULT_REGISTRY
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    assert npm_registry() == DEFAULT_REGISTRY
