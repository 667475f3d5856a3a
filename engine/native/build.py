"""Compiles the C++ sources into one shared library in the cache folder, once per machine.

The file's name holds what it was made from, so a new version or another compiler never meets an
old library. A failed attempt is remembered with its reason and not repeated.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from engine.native import NativeError
from engine.weights.store import cache_folder

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
SOURCES = PACKAGE / "src"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-Wno-psabi")
_TIMEOUT_S = 300.0


def build_folder() -> Path:
    return cache_folder() / "native"


def find_library() -> Path:
    """The library of these sources, built now if it is not there. Raises NativeError."""
    compiler = find_compiler()
    # A wheel may bring one, of whatever compiler; without a compiler any will do.
    own = "*" if compiler is None else _tag(compiler)
    for folder, tag in ((PACKAGE, "*"), (build_folder(), own)):
        found = sorted(folder.glob(f"{_stem(tag)}.so"))
        if found:
            return found[0]
    if compiler is None:
        raise NativeError(f"no C++ compiler is installed ({', '.join(COMPILERS)})")
    return build(compiler)


def find_compiler() -> str | None:
    """Path of the first C++ compiler that is installed; $CXX comes first."""
    names = (os.environ.get("CXX", ""), *COMPILERS)
    return next((path for name in names if name and (path := shutil.which(name))), None)


def build(compiler: str, folder: Path | None = None, *, is_forced: bool = False) -> Path:
    """Compile into `folder` (default: the cache) and return the library's path.

    is_forced: try again where an earlier attempt failed. Raises NativeError.
    """
    if sys.platform == "win32":
        raise NativeError("the int8 kernels are for Linux and macOS only")
    folder = folder or build_folder()
    library = folder / f"{_stem(_tag(compiler))}.so"
    failure = library.with_suffix(".failed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "build.lock"):
            if library.exists() and not is_forced:
                return library
            if failure.exists() and not is_forced:
                raise NativeError(failure.read_text(encoding="utf-8"))
            failure.unlink(missing_ok=True)
            reason = _compile(compiler, library)
            if reason is not None:
                failure.write_text(reason, encoding="utf-8")
                raise NativeError(reason)
    except OSError as error:
        raise NativeError(
            f"{folder} cannot be written ({error.strerror or type(error).__name__})"
        ) from None
    return library


def _compile(compiler: str, library: Path) -> str | None:
    """Why it failed, or None; the library appears whole or not at all."""
    sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as folder:
        fresh = Path(folder) / library.name
        command = [compiler, *FLAGS, *sources, "-o", str(fresh)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"{Path(compiler).name} could not be run ({type(error).__name__})"
        if done.returncode != 0 or not fresh.exists():
            logger.debug("the compiler said:\n%s", done.stderr)
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            first = errors[0].strip()[:160] if errors else f"exit code {done.returncode}"
            return f"{Path(compiler).name} could not compile the int8 kernels ({first})"
        fresh.replace(library)
    return None


def _stem(tag: str) -> str:
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".cpp", ".h", ".inc"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"int8-{digest.hexdigest()[:16]}-{tag}-{platform.machine() or 'unknown'}"


def _tag(compiler: str) -> str:
    """Names the compiler and its version."""
    try:
        told = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=30.0, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        told = ""
    return hashlib.sha256(f"{compiler}\n{told}".encode()).hexdigest()[:8]
