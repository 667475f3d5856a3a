"""Downloaded archives between runs: each file beside the sha256 that it had when it came.

Used by the registries' clients. A file counts only while its sha256 still holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx

from engine import __version__
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.registry import (
    Archive,
    LocalArchive,
    PackageError,
    RegistryUnreachable,
)
from engine.weights.progress import hash_file

MAX_ARCHIVE_BYTES = 64 * 2**20
MAX_PAGE_BYTES = 64 * 2**20

_TIMEOUT_S = 30.0
_NUM_TRIES = 3
_CHUNK_BYTES = 2**18

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")

_T = TypeVar("_T")


class ArchiveCache:
    """Fetches pages and archives over http(s) and from file: URLs. Safe to use from many threads.

    folder: kept between runs. certificate: a file of CA certificates beside the usual ones.
    """

    def __init__(self, folder: Path, certificate: str | None = None) -> None:
        self._folder = folder
        verify: ssl.SSLContext | bool = True
        if certificate:
            try:
                verify = ssl.create_default_context(cafile=certificate)
            except (OSError, ssl.SSLError) as error:
                raise CorpusError(
                    f"The certificate file {certificate} that pip is configured with cannot be "
                    f"used ({error})."
                ) from None
        self._client = httpx.Client(
            verify=verify,
            timeout=_TIMEOUT_S,
            follow_redirects=True,
            headers={"User-Agent": f"nemodiff/{__version__}"},
        )

    def close(self) -> None:
        self._client.close()

    def page(self, url: str, accept: str) -> tuple[bytes, str, str]:
        """(content, content type, final URL) of an index page.

        Raises PackageError when there is none, RegistryUnreachable.
        """
        path = file_path(url)
        if path is not None:
            try:
                return path.read_bytes(), "text/html", url
            except OSError:
                raise PackageError("not in the registry") from None

        def read(response: httpx.Response) -> tuple[bytes, str, str]:
            content = bytearray()
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_PAGE_BYTES:
                    raise PackageError("the index page is too large")
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            return bytes(content), kind, str(response.url)

        return self._get(url, {"Accept": accept}, read)

    def archive(self, ecosystem: str, archive: Archive) -> LocalArchive:
        """The archive's file, downloaded unless an earlier run did.

        Raises PackageError (missing, too large, another content than announced) and
        RegistryUnreachable.
        """
        local = file_path(archive.url)
        if local is not None:
            return self._checked_local(local, archive)
        key = hashlib.sha256(archive.url.encode("utf-8")).hexdigest()[:16]
        # The name is the registry's to choose: no sign in it may lead out of the folder.
        name = _UNSAFE.sub("-", archive.file_name)
        path = self._folder / ecosystem / f"{key}-{name}"
        note = path.with_name(f"{path.name}.sha256")
        with contextlib.suppress(OSError):
            sha256 = note.read_text(encoding="ascii")
            if hash_file(path) == sha256:
                return LocalArchive(path, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        sha256 = self._download(archive, path)
        note.write_text(sha256, encoding="ascii")
        return LocalArchive(path, sha256)

    def _checked_local(self, path: Path, archive: Archive) -> LocalArchive:
        try:
            if path.stat().st_size > MAX_ARCHIVE_BYTES:
                raise PackageError("archive too large")
            sha256 = hash_file(path)
            if archive.digest is not None:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, archive.digest.algorithm).hexdigest()
                if found != archive.digest.value:
                    raise PackageError("the archive's digest is wrong")
        except OSError as error:
            raise PackageError(f"unreadable archive ({error.strerror})") from None
        return LocalArchive(path, sha256)

    def _download(self, archive: Archive, path: Path) -> str:
        """Write the archive to `path` in one rename; returns its sha256."""
        partial = path.with_name(f"{path.name}.partial")
        announced = archive.digest

        def write(response: httpx.Response) -> str:
            sha256 = hashlib.sha256()
            check = hashlib.new(announced.algorithm) if announced else None
            num_bytes = 0
            with partial.open("wb") as file:
                for chunk in response.iter_raw(_CHUNK_BYTES):
                    num_bytes += len(chunk)
                    if num_bytes > MAX_ARCHIVE_BYTES:
                        raise PackageError("archive too large")
                    sha256.update(chunk)
                    if check is not None:
                        check.update(chunk)
                    file.write(chunk)
            if announced and check and check.hexdigest() != announced.value:
                raise PackageError("the archive's digest is wrong")
            return sha256.hexdigest()

        try:
            # Not compressed once more: the digest is of the archive itself.
            digest = self._get(archive.url, {"Accept-Encoding": "identity"}, write)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return digest

    def _get(
        self, url: str, headers: dict[str, str], consume: Callable[[httpx.Response], _T]
    ) -> _T:
        for attempt in range(1, _NUM_TRIES + 1):
            is_last = attempt == _NUM_TRIES
            try:
                with self._client.stream("GET", url, headers=headers) as response:
                    if response.status_code in (404, 410):
                        raise PackageError("not in the registry")
                    if response.is_server_error and not is_last:
                        continue
                    if not response.is_success:
                        raise PackageError(f"the registry answers {response.status_code}")
                    return consume(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if is_last or not isinstance(error, httpx.TransportError):
                    host = urlsplit(url).hostname or url
                    reason = str(error) or type(error).__name__
                    raise RegistryUnreachable(f"{host}: {reason}") from None
        raise AssertionError("the last try returns or raises")


def file_path(url: str) -> Path | None:
    """The local path of a file: URL; None for any other URL."""
    parts = urlsplit(url)
    return Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else None
