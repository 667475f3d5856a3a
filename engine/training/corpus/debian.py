"""Rust and Go sources from Debian's librust-*-dev and golang-*-dev packages.

These binary packages hold source text; `apt-get download` fetches them without installing, as any
user, and checks them against the signed lists.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.training.corpus.registry import Digest, LocalArchive, PackageError, RegistryUnreachable
from engine.weights.progress import hash_file

_TOOLS = ("apt-get", "dpkg-deb")
_TIMEOUT_S = 600.0
# 'URI' file_name num_bytes SHA256:digest
_URI_LINE = re.compile(r"^'[^']*' (\S+_(\S+?)_\w+\.deb) (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE)
_PACKAGE_NAME = re.compile(r"^[a-z0-9][a-z0-9+.-]+$")


def missing_tools() -> list[str]:
    """The programs of Debian that this machine lacks."""
    return [tool for tool in _TOOLS if shutil.which(tool) is None]


class Debian:
    """Fetches the version that the machine's package lists offer."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def fetch(self, name: str, pin: str | None) -> tuple[str, LocalArchive]:
        """(version, package). Raises PackageError, RegistryUnreachable."""
        if not _PACKAGE_NAME.match(name):
            raise PackageError("no name of a Debian package")
        wanted = name if pin is None else f"{name}={pin}"
        listed = _apt(["download", "--print-uris", wanted], Path())
        found = _URI_LINE.search(listed.stdout)
        if listed.returncode != 0 or found is None:
            raise PackageError("not in the registry")
        file_name, version = found[1], found[2].replace("%3a", ":")
        digest = Digest("sha256", found[4])
        if int(found[3]) > self._max_bytes:
            raise PackageError("archive too large")
        path = self._folder / file_name
        if not path.is_file() or hash_file(path) != digest.value:
            self._download(wanted, path, digest)
        return version, LocalArchive(path, digest.value)

    def _download(self, wanted: str, path: Path, digest: Digest) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as incoming:
            finished = _apt(["download", wanted], Path(incoming))
            files = list(Path(incoming).glob("*.deb"))
            if finished.returncode != 0 or len(files) != 1:
                lines = [line for line in finished.stderr.splitlines() if line.startswith("E:")]
                reason = lines[0].removeprefix("E: ") if lines else "no answer"
                raise RegistryUnreachable(f"apt-get: {reason}")
            with files[0].open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest.value:
                    raise PackageError("the archive's digest is wrong")
            os.replace(files[0], path)


def _apt(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # As root apt would hand the download to its own user, who may not write here.
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *arguments]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RegistryUnreachable(f"apt-get: {type(error).__name__}") from None
