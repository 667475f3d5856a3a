"""Where Neovim comes from, and that its absence is one sentence. Nothing is downloaded here."""

from __future__ import annotations

import sys
from pathlib import Path

import get_neovim
import pytest
from get_neovim import RigError, default_folder, install, program_in

DEB822 = """Types: deb
# a comment
URIs: http://mirror.example.org/debian
Suites: bookworm

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    monkeypatch.setattr(get_neovim, "_SOURCES", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list.d/debian.sources", DEB822),
        ("sources.list", "deb http://mirror.example.org/debian bookworm main\n"),
        ("sources.list", "deb [arch=amd64 a=b] http://mirror.example.org/debian bookworm main\n"),
        (
            "sources.list",
            "deb http://mirror.example.org/debian-security s main\n"
            "deb http://mirror.example.org/debian bookworm main\n",
        ),
    ],
)
def test_the_configured_source_is_used(sources: Path, name: str, text: str) -> None:
    (sources / name).write_text(text, encoding="utf-8")
    assert get_neovim._debian() == "http://mirror.example.org/debian"


def test_without_a_debian_source_there_is_a_sentence(sources: Path) -> None:
    (sources / "sources.list").write_text("deb http://example.org/ubuntu jammy main\n")
    with pytest.raises(RigError, match="no Debian source"):
        get_neovim._debian()


def test_missing_tools_are_named_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "rigs" / "neovim"
    with pytest.raises(RigError, match="apt-get is missing"):
        install(folder)
    assert list(folder.parent.iterdir()) == []


def test_it_goes_beside_the_packages_of_this_python() -> None:
    assert default_folder().is_relative_to(sys.prefix)
    assert program_in(default_folder()).name == "nvim"
