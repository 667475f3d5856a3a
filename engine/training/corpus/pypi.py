"""Python packages through the Simple API of the indexes that pip is configured with.

Source distributions, and wheels where a version has none. They are read as data: no build, no
setup.py. https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from engine.training.corpus.archive_cache import ArchiveCache, file_path
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.registry import Archive, Digest, LocalArchive, PackageError

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)
_PIP_TIMEOUT_S = 60.0
# The later section wins, as in pip itself; the environment wins over every file.
_SECTIONS = ("global", "download", ":env:")


@dataclass(frozen=True, slots=True)
class PipConfiguration:
    """indexes: URLs of Simple API roots, those on this machine first. certificate: pip's `cert`."""

    indexes: tuple[str, ...]
    certificate: str | None = None


def pip_configuration() -> PipConfiguration:
    """What `pip config list` says of indexes and certificates. Raises CorpusError."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CorpusError(
            f"pip, which knows the package index, cannot be asked ({type(error).__name__}); "
            "install pip into this Python environment."
        ) from None
    return parse_pip_configuration(finished.stdout)


def parse_pip_configuration(listing: str) -> PipConfiguration:
    """From the output of `pip config list`. Raises CorpusError when no index is left."""
    values: dict[str, str] = {}
    entries = [line.partition("=") for line in listing.splitlines() if "=" in line]
    for section in _SECTIONS:
        for key, _, value in entries:
            if key.startswith(f"{section}."):
                values[key.removeprefix(f"{section}.").lower()] = _unquoted(value)
    if values.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        raise CorpusError("pip is configured without an index (no-index); name one to download.")
    urls = [values.get("index-url", DEFAULT_INDEX), *values.get("extra-index-url", "").split()]
    # What lies on this machine is asked first: it is quicker, and no server has to answer.
    local = [url for url in urls if file_path(url) is not None]
    return PipConfiguration(
        (*local, *(url for url in urls if url not in local)), values.get("cert") or None
    )


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value.strip()))
    except (SyntaxError, ValueError):
        return value.strip()


class PyPI:
    """Finds the newest final version of a package, or the one that a pin names."""

    def __init__(self, cache: ArchiveCache, indexes: tuple[str, ...]) -> None:
        self._cache = cache
        self._indexes = indexes

    def fetch(self, name: str, pin: str | None) -> tuple[str, LocalArchive]:
        """(version, archive). Raises PackageError, RegistryUnreachable."""
        archive = self.find(name, pin)[0]
        return archive.version, self._cache.archive("pypi", archive)

    def find(self, name: str, pin: str | None) -> list[Archive]:
        """The archives of one version of `name`, the most welcome first; at least one.

        The first index that has the package counts. Raises PackageError, RegistryUnreachable.
        """
        for index in self._indexes:
            url = f"{index.rstrip('/')}/{canonicalize_name(name)}/"
            if (folder := file_path(url)) is not None:
                url = f"{url}index.html"
                if not folder.is_dir():
                    continue
            try:
                content, kind, final_url = self._cache.page(url, _ACCEPT)
            except PackageError as error:
                if str(error) != "not in the registry":
                    raise
                continue
            links = _links(content, kind, final_url)
            return _chosen(links, canonicalize_name(name), pin)
        raise PackageError("not in the registry")


@dataclass(frozen=True, slots=True)
class _Link:
    file_name: str
    url: str
    digest: Digest | None
    is_yanked: bool


def _links(content: bytes, kind: str, base: str) -> list[_Link]:
    if kind.endswith("json"):
        try:
            files = json.loads(content)["files"]
            links = [_json_link(file, base) for file in files]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PackageError("the index page is damaged") from None
    else:
        parser = _Anchors(base)
        parser.feed(content.decode("utf-8", "replace"))
        links = parser.links
    # A server must not make us read files of this machine.
    is_local = file_path(base) is not None
    allowed = {"file", "http", "https"} if is_local else {"http", "https"}
    return [link for link in links if urlsplit(link.url).scheme in allowed]


def _json_link(file: dict[str, Any], base: str) -> _Link:
    digests = file.get("hashes") or {}
    digest = Digest.from_fragment(f"sha256={digests.get('sha256', '')}")
    url = urldefrag(urljoin(base, file["url"])).url
    return _Link(str(file["filename"]), url, digest, bool(file.get("yanked", False)))


class _Anchors(HTMLParser):
    """Collects the links of an index page in HTML."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.links: list[_Link] = []
        self._base = base

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag != "a" or not attributes.get("href"):
            return
        url, fragment = urldefrag(urljoin(self._base, str(attributes["href"])))
        name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
        digest = Digest.from_fragment(fragment)
        self.links.append(_Link(name, url, digest, "data-yanked" in attributes))


def _chosen(links: list[_Link], name: str, pin: str | None) -> list[Archive]:
    """Those of the newest version that is neither a pre-release nor yanked; sources first."""
    wanted = None
    if pin is not None:
        try:
            wanted = Version(pin)
        except InvalidVersion:
            raise PackageError("the pin is no version") from None
    found: list[tuple[Version, int, _Link]] = []
    for link in links:
        version, rank = _version(link.file_name, name)
        if version is None or (wanted is not None and version != wanted):
            continue
        if wanted is None and (version.is_prerelease or link.is_yanked):
            continue
        found.append((version, rank, link))
    if not found:
        raise PackageError("no usable version")
    newest = max(version for version, _, _ in found)
    best = sorted(
        (rank, link.file_name, link.url, link.digest)
        for version, rank, link in found
        if version == newest
    )
    return [Archive(str(newest), url, file_name, digest) for _, file_name, url, digest in best]


def _version(file_name: str, name: str) -> tuple[Version | None, int]:
    """The version of an archive of package `name`, and how welcome its kind is (least is best)."""
    try:
        if file_name.endswith(".whl"):
            found, version, _, tags = parse_wheel_filename(file_name)
            rank = 1 if any(tag.platform == "any" for tag in tags) else 2
        else:
            found, version = parse_sdist_filename(file_name)
            rank = 0
    except (InvalidSdistFilename, InvalidWheelFilename, InvalidVersion):
        return None, 0
    return (version, rank) if found == name else (None, 0)
