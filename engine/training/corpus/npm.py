"""JavaScript and TypeScript packages from the registry that npm is configured with.

Tarballs, read as data: nothing is installed and no script of a package runs.
https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from urllib.parse import quote, urljoin, urlsplit

from engine.training.corpus.archive_cache import ArchiveCache
from engine.training.corpus.registry import Archive, Digest, LocalArchive, PackageError

DEFAULT_REGISTRY = "https://registry.npmjs.org/"
_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")
_NPM_TIMEOUT_S = 60.0


def npm_registry() -> str:
    """The URL of the registry: npm's variable, else `npm config`, else npm's own default."""
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return _with_slash(os.environ[variable])
    npm = shutil.which("npm")
    if npm is None:
        return DEFAULT_REGISTRY
    try:
        finished = subprocess.run(
            [npm, "config", "get", "registry"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_NPM_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return DEFAULT_REGISTRY
    url = finished.stdout.strip()
    return _with_slash(url) if urlsplit(url).scheme in {"http", "https"} else DEFAULT_REGISTRY


def _with_slash(url: str) -> str:
    return f"{url.rstrip('/')}/"


class Npm:
    """Finds the version of a package that is tagged `latest`, or the one that a pin names."""

    def __init__(self, cache: ArchiveCache, registry: str) -> None:
        self._cache = cache
        self._registry = registry

    def fetch(self, name: str, pin: str | None) -> tuple[str, LocalArchive]:
        """(version, tarball). Raises PackageError, RegistryUnreachable."""
        archive = self.find(name, pin)
        return archive.version, self._cache.archive("npm", archive)

    def find(self, name: str, pin: str | None) -> Archive:
        # A scope is one path segment with its slash quoted: @scope%2Fname.
        url = f"{self._registry}{quote(name, safe='@')}/{quote(pin or 'latest', safe='')}"
        content, _, _ = self._cache.page(url, "application/json")
        try:
            package = json.loads(content)
            version, dist = str(package["version"]), package["dist"]
            tarball = urljoin(url, str(dist["tarball"]))
            digest = Digest.from_integrity(str(dist.get("integrity") or ""))
            if digest is None and dist.get("shasum"):
                digest = Digest("sha1", str(dist["shasum"]).lower())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PackageError("the registry's answer is damaged") from None
        if urlsplit(tarball).scheme not in {"http", "https"}:
            raise PackageError("the registry's answer is damaged")
        return Archive(version, tarball, f"{name}-{version}.tgz", digest)
