"""Building the kernels: once, whole or not at all, and never in the way of a start."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine import native
from engine.native import NativeError
from engine.native import __main__ as command
from engine.native import build as native_build
from engine.native import check as native_check

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the kernels are for Linux, macOS")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


def write_compiler(folder: Path, script: str, version: str = "1.0") -> Path:
    """A stand-in that counts its runs in `runs` and leaves the last argument as its output."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "c++"
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "{version}"; exit 0; fi\n'
        f'echo run >> "{folder}/runs"\n'
        "for out; do :; done\n"
        f"{script}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def num_runs(folder: Path) -> int:
    runs = folder / "runs"
    return len(runs.read_text().splitlines()) if runs.exists() else 0


def use_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nothing but the stand-in and a shell is found."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(
        native_build.shutil,
        "which",
        lambda name: str(folder / name) if (folder / name).exists() else None,
    )


def test_a_library_is_built_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compiler(tmp_path / "bin", 'echo built > "$out"')
    use_path(monkeypatch, tmp_path / "bin")
    first = native_build.find_library()
    assert first.read_text() == "built\n" and first.parent == cache
    assert native_build.find_library() == first
    assert num_runs(tmp_path / "bin") == 1
    assert sorted(path.name for path in cache.iterdir()) == ["build.lock", first.name]


def test_another_compiler_builds_another_library(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compiler(tmp_path / "bin", 'echo built > "$out"')
    use_path(monkeypatch, tmp_path / "bin")
    first = native_build.find_library()
    write_compiler(tmp_path / "bin", 'echo built > "$out"', version="2.0")
    assert native_build.find_library() != first
    assert num_runs(tmp_path / "bin") == 2


def test_a_failure_is_remembered_with_its_reason(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = write_compiler(
        tmp_path / "bin", 'echo half > "$out"; echo "x.cpp:3: error: no such thing" >&2; exit 1'
    )
    use_path(monkeypatch, tmp_path / "bin")
    for _ in range(2):
        with pytest.raises(NativeError, match="no such thing"):
            native_build.find_library()
    assert num_runs(tmp_path / "bin") == 1
    assert not list(cache.glob("*.so"))
    with pytest.raises(NativeError):
        native_build.build(str(compiler), is_forced=True)
    assert num_runs(tmp_path / "bin") == 2
    write_compiler(tmp_path / "bin", 'echo built > "$out"')
    assert native_build.build(str(compiler), is_forced=True).read_text() == "built\n"
    assert not list(cache.glob("*.failed"))


def test_no_compiler_is_a_reason_and_a_built_library_needs_none(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    use_path(monkeypatch, tmp_path / "none")
    with pytest.raises(NativeError, match="no C\\+\\+ compiler"):
        native_build.find_library()
    write_compiler(tmp_path / "bin", 'echo built > "$out"')
    use_path(monkeypatch, tmp_path / "bin")
    built = native_build.find_library()
    use_path(monkeypatch, tmp_path / "none")
    assert native_build.find_library() == built


def test_two_processes_build_once(cache: Path, tmp_path: Path) -> None:
    compiler = write_compiler(tmp_path / "bin", 'sleep 0.5; echo built > "$out"')
    code = f"from engine.native.build import build; print(build({str(compiler)!r}))"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {child.communicate(timeout=120)[0] for child in children}
    assert len(answers) == 1 and all(child.returncode == 0 for child in children)
    assert num_runs(tmp_path / "bin") == 1


def test_a_folder_that_cannot_be_written_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "file"))
    compiler = write_compiler(tmp_path / "bin", 'echo built > "$out"')
    with pytest.raises(NativeError, match="cannot be written"):
        native_build.build(str(compiler))


def test_the_name_changes_with_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = native_build._stem("tag")
    sources = tmp_path / "src"
    sources.mkdir()
    for path in native_build.SOURCES.iterdir():
        (sources / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(native_build, "SOURCES", sources)
    assert native_build._stem("tag") == before
    (sources / "pool.h").write_text("// changed\n")
    assert native_build._stem("tag") != before


def test_the_problem_is_one_phrase(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.problem() is None

    def fail() -> None:
        raise NativeError("the product is off by 1.0e+00")

    monkeypatch.setattr(native_check, "check", fail)
    assert native.problem() == "the product is off by 1.0e+00"


def test_a_wrong_product_is_noticed(built: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = native_check.twin.linear
    monkeypatch.setattr(native_check.twin, "linear", lambda *args: real(*args) * 1.001)
    assert "off by" in str(native.problem())


def test_the_command_builds_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = write_compiler(tmp_path / "bin", 'echo built > "$out"')
    monkeypatch.setenv("CXX", str(compiler))
    assert command.main(["build", "--into", str(tmp_path / "wheel")]) == 0
    library = Path(capsys.readouterr().out.strip())
    assert library.parent == tmp_path / "wheel" and library.read_text() == "built\n"


def test_a_library_beside_the_sources_is_found_without_a_compiler(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wheel for one platform brings it."""
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(native_build, "PACKAGE", package)
    (tmp_path / "none").mkdir()
    use_path(monkeypatch, tmp_path / "none")
    brought = package / f"{native_build._stem('0123abcd')}.so"
    brought.write_text("")
    assert native_build.find_library() == brought
    brought.rename(package / "int8-of-other-sources.so")
    with pytest.raises(NativeError):
        native_build.find_library()
