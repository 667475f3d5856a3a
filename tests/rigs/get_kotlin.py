"""Puts a Kotlin compiler, JUnit and, where there is none, Java into this Python's environment.

Run by `make rigs` as ``python tests/rigs/get_kotlin.py [FOLDER]``; `tests/rigs/kotlin.py` finds
what it leaves there. The compiler comes from npm, where it is published whole; JUnit and Java are
Debian packages that are unpacked beside the system. Nothing is installed system-wide.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import get_vscode
from get_neovim import RigError, fetch, run_as_script

COMPILER = "kotlin-compiler@2.4.20"
_JUNIT = "junit5"
_JAVA = "openjdk-17-jre-headless"
OLDEST_JAVA = 17


def default_folder() -> Path:
    """Where it goes unless a folder is named: beside the packages of this Python."""
    return Path(sys.prefix) / "rigs" / "kotlin"


def compiler_in(folder: Path) -> Path:
    return folder / "compiler" / "package" / "lib" / "kotlin-compiler.jar"


def junit_in(folder: Path) -> list[Path]:
    """JUnit's jars, with what they need."""
    return sorted((folder / "junit" / "usr" / "share" / "java").glob("*.jar"))


def find_java(folder: Path) -> Path | None:
    """A Java that is new enough: JAVA_HOME's, that on PATH, or the one in `folder`."""
    home = os.environ.get("JAVA_HOME")
    named = [Path(home) / "bin" / "java"] if home else []
    on_path = [Path(found)] if (found := shutil.which("java")) else []
    unpacked = sorted((folder / "java" / "usr" / "lib" / "jvm").glob("java-*-openjdk-*/bin/java"))
    candidates = (*named, *on_path, *unpacked)
    return next((java for java in candidates if _version_of(java) >= OLDEST_JAVA), None)


def install(folder: Path) -> str:
    """Put what is missing into `folder`; a line that says what there is. Raises RigError."""
    folder.mkdir(parents=True, exist_ok=True)
    if not compiler_in(folder).exists():
        _made(folder / "compiler", _get_compiler)
    if not junit_in(folder):
        _made(folder / "junit", _get_junit)
    if find_java(folder) is None:
        _made(folder / "java", _get_java)
    java = find_java(folder)
    if java is None:
        raise RigError("The Java of the Debian packages does not run here.")
    return f"{COMPILER}, JUnit and Java {_version_of(java)}"


def _made(folder: Path, make: Callable[[Path], None]) -> None:
    """`folder` as `make` fills it. A broken one must never look like a whole one."""
    with tempfile.TemporaryDirectory(prefix=".kotlin-", dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        make(made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _get_compiler(made: Path) -> None:
    _npm_pack(made)
    for packed in made.glob("*.tgz"):
        with tarfile.open(packed) as archive:
            # The first patch releases of Python 3.11 have no filters.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(made)
        packed.unlink()


def _npm_pack(made: Path) -> None:
    """The package of the compiler, by the system's npm or by that of the rig of VS Code."""
    rig = get_vscode.default_folder()
    if (npm := shutil.which("npm")) is not None:
        get_vscode.output(npm, "pack", COMPILER, cwd=made)
    elif get_vscode.node_in(rig).exists():
        get_vscode.npm(rig, "pack", COMPILER, cwd=made)
    else:
        raise RigError("npm is missing: the Kotlin compiler is taken from its registry.")


def _get_junit(made: Path) -> None:
    """Its jars alone: what else its packages bring is ten times as much."""
    jars = made / "usr" / "share" / "java"
    with tempfile.TemporaryDirectory(prefix=".junit-", dir=made.parent) as name:
        fetch(Path(name), _suites(), [_JUNIT])
        jars.parent.mkdir(parents=True)
        (Path(name) / "usr" / "share" / "java").rename(jars)


def _get_java(made: Path) -> None:
    fetch(made, _suites(), [_JAVA])
    # Java's own links are absolute and lead to where the system's would be.
    for link in (made / "usr" / "lib" / "jvm").rglob("*"):
        if link.is_symlink() and (target := link.readlink()).is_absolute():
            link.unlink()
            link.symlink_to(os.path.relpath(made / target.relative_to("/"), link.parent))


def _suites() -> list[str]:
    """This machine's Debian suite, for a Java that fits its C library; else the stable of 2023."""
    release = Path("/etc/os-release")
    text = release.read_text(encoding="utf-8") if release.exists() else ""
    own = re.findall(r"^VERSION_CODENAME=(\w+)$", text, re.MULTILINE)
    return [*own, "bookworm"]


def _version_of(java: Path) -> int:
    """The main version of a `java`; 0 when it does not run."""
    try:
        run = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(\d+)', run.stderr)
    return int(found.group(1)) if found else 0


if __name__ == "__main__":
    sys.exit(run_as_script("Kotlin", install, default_folder()))
