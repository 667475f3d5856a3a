"""Package lists and the held-out split."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.training.corpus.errors import CorpusError
from engine.training.corpus.packages import (
    Package,
    always_held_out,
    default_packages,
    is_held_out_by_hash,
    parse_packages,
    read_packages,
)


def test_a_list_of_packages() -> None:
    lines = ["# comment", "", "Foo_Bar  # the same as foo-bar", "foo-bar", "spam==1.2"]
    lines += ["npm:@scope/name==3.0.0", "debian:librust-alpha-dev", "debian:golang-beta-dev"]
    packages = parse_packages(lines, "list.txt")
    assert packages == [
        Package("pypi", "foo-bar"),
        Package("pypi", "spam", "1.2"),
        Package("npm", "@scope/name", "3.0.0"),
        Package("debian", "librust-alpha-dev"),
        Package("debian", "golang-beta-dev"),
    ]
    assert [package.languages for package in packages[2:]] == [
        ("typescript", "javascript"),
        ("rust",),
        ("go",),
    ]


@pytest.mark.parametrize(
    "line",
    ["two words", "../evil", "npm:../../x", "cran:x", "name==", "-r other.txt", "https://x", "a;b"],
)
def test_a_line_that_names_no_package_is_told(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"requests\n{line}\n")
    with pytest.raises(CorpusError, match=r"list.txt, line 2: .* is no package; write .*\.$"):
        read_packages(path)


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nothing.txt cannot be read"):
        read_packages(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(CorpusError, match=r"empty.txt names no package"):
        read_packages(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match="no UTF-8 text"):
        read_packages(tmp_path / "binary.txt")


def test_the_lists_that_come_along() -> None:
    packages = default_packages()
    keys = [package.key for package in packages]
    assert len(set(keys)) == len(keys)
    assert sum(package.ecosystem == "pypi" for package in packages) > 300
    assert {package.languages[0] for package in packages} == {"python", "typescript", "rust", "go"}
    held_out = [package.key for package in always_held_out()]
    assert held_out == keys[: len(held_out)]


def test_two_in_a_hundred_are_held_out_and_always_the_same() -> None:
    names = [f"package-{number}" for number in range(5000)]
    held_out = [name for name in names if is_held_out_by_hash(Package("pypi", name))]
    assert 60 < len(held_out) < 140
    assert held_out[:3] == ["package-7", "package-102", "package-128"]
    pinned = [is_held_out_by_hash(Package("pypi", name, "1.0")) for name in held_out]
    assert all(pinned)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("librust-clap-3-dev", "debian:librust-clap-dev"),
        ("librust-sha3-0.9-dev", "debian:librust-sha3-dev"),
        ("golang-github-urfave-cli-v2-dev", "debian:golang-github-urfave-cli-dev"),
        ("golang-gopkg-yaml.v3-dev", "debian:golang-gopkg-yaml-dev"),
        ("librust-md5-dev", "debian:librust-md5-dev"),
    ],
)
def test_versions_of_a_debian_package_are_held_out_together(name: str, family: str) -> None:
    assert Package("debian", name).family == family
