"""Debian's packages, through stand-ins for apt-get and dpkg-deb."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from engine.training.corpus.debian import Debian, missing_tools
from engine.training.corpus.package_source import read_source
from engine.training.corpus.packages import Package
from engine.training.corpus.registry import PackageError, RegistryUnreachable

from .builders import tar_gz

_COPYRIGHT = """Files: *
License: MIT

Files: internal/foreign.go
License: GPL-3
"""
_ROOT = "./usr/share/gocode/src/example.org/alpha"
_NAME = "golang-alpha-dev"
_FILE = f"{_NAME}_1.2-1_all.deb"

_APT = """#!/bin/sh
for last; do :; done
echo "$*" >> {folder}/calls
case "$last" in {name}|{name}=1.2-1) ;; *) echo "E: Unable to locate package" >&2; exit 100;; esac
case "$*" in
  *--print-uris*) echo "'https://debian.example/{file}' {file} {size} SHA256:{sha256}";;
  *) cp {folder}/{file} . ;;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs in PATH that know one package."""
    go = "package alpha\n\nfunc Sum(first int, second int) int {\n\treturn first + second\n}\n"
    inner = gzip.decompress(
        tar_gz(
            {
                f"./usr/share/doc/{_NAME}/copyright": _COPYRIGHT,
                f"{_ROOT}/sum.go": go,
                f"{_ROOT}/internal/foreign.go": go,
                f"{_ROOT}/README.md": "read me",
                f"{_ROOT}/vendor/x/x.go": go,
                "./usr/lib/other.go": go,
            }
        )
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    # The stand-in for dpkg-deb takes the inner archive itself for a package.
    (folder / _FILE).write_bytes(inner)
    values = {"folder": folder, "name": _NAME, "file": _FILE, "size": len(inner)}
    digest = hashlib.sha256(inner).hexdigest()
    (folder / "apt-get").write_text(_APT.format(**values, sha256=digest))
    (folder / "dpkg-deb").write_text('#!/bin/sh\n[ "$1" = --fsys-tarfile ] && exec cat "$2"\n')
    for program in ("apt-get", "dpkg-deb"):
        (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_sources_and_licence_of_a_package(apt: Path, tmp_path: Path) -> None:
    assert missing_tools() == []
    version, archive = Debian(tmp_path / "debian", 10**6).fetch(_NAME, None)
    assert version == "1.2-1"
    source = read_source(Package("debian", _NAME), archive.path, ("go",))
    assert source.licence.is_permissive
    assert list(source.files) == ["example.org/alpha/sum.go"]
    assert source.dropped == {"foreign licence": 1, "vendored": 1}


def test_a_package_is_downloaded_once(apt: Path, tmp_path: Path) -> None:
    client = Debian(tmp_path / "debian", 10**6)
    _, archive = client.fetch(_NAME, "1.2-1")
    client.fetch(_NAME, None)
    assert len(_downloads(apt)) == 1
    archive.path.write_bytes(b"damaged")
    client.fetch(_NAME, None)
    assert len(_downloads(apt)) == 2


def _downloads(apt: Path) -> list[str]:
    calls = (apt / "calls").read_text().splitlines()
    return [call for call in calls if "--print-uris" not in call]


def test_what_apt_does_not_know(apt: Path, tmp_path: Path) -> None:
    client = Debian(tmp_path / "debian", 10**6)
    with pytest.raises(PackageError, match="not in the registry"):
        client.fetch("golang-beta-dev", None)
    with pytest.raises(PackageError, match="no name of a Debian package"):
        client.fetch("--option", None)


def test_a_large_package_is_left_alone(apt: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="archive too large"):
        Debian(tmp_path / "debian", 100).fetch(_NAME, None)


def test_another_content_than_announced_is_refused(apt: Path, tmp_path: Path) -> None:
    (apt / _FILE).write_bytes(b"something else")
    with pytest.raises(PackageError, match="digest is wrong"):
        Debian(tmp_path / "debian", 10**6).fetch(_NAME, None)


def test_apt_without_a_network(apt: Path, tmp_path: Path) -> None:
    (apt / _FILE).unlink()
    with pytest.raises(RegistryUnreachable, match="apt-get: no answer"):
        Debian(tmp_path / "debian", 10**6).fetch(_NAME, None)


def test_a_machine_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools() == ["apt-get", "dpkg-deb"]
