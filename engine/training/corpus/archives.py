"""Source archives read as data: the members in memory, nothing unpacked, nothing followed.

An archive comes from strangers: names that would leave its folder refuse it as a whole, links and
devices are passed over, and sizes are counted while they are decompressed, not believed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

MAX_NUM_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 2**30
# The most that is read of a member; the filters refuse far less.
MAX_MEMBER_BYTES = 2**20

_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


class ArchiveError(Exception):
    """Why an archive is not used, as a reason for the manifest."""


Wanted = Callable[[str], bool]


def members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files of the archive at `path` whose name is `wanted`.

    Content is at most MAX_MEMBER_BYTES + 1 long: longer ones are cut there. The kind is told by the
    name: .tar.gz, .tgz, .tar.bz2, .tar.xz, .zip, .whl, .deb. Raises ArchiveError.
    """
    name = path.name.lower()
    try:
        if name.endswith((".zip", ".whl")):
            yield from _zip_members(path, wanted)
        elif name.endswith(".deb"):
            yield from _deb_members(path, wanted)
        else:
            with _opened_tar(path) as stream:
                yield from _tar_members(stream, wanted)
    except (*_DAMAGE, NotImplementedError, RuntimeError, ValueError, UnicodeError) as error:
        raise ArchiveError(f"damaged archive ({type(error).__name__})") from None


def _opened_tar(path: Path) -> IO[bytes]:
    name = path.name.lower()
    if name.endswith((".tar.gz", ".tgz")):
        return cast(IO[bytes], gzip.open(path))
    if name.endswith(".tar.bz2"):
        return bz2.open(path)
    if name.endswith((".tar.xz", ".txz")):
        return lzma.open(path)
    raise ArchiveError("unknown kind of archive")


class _Counted(io.RawIOBase):
    """A stream that refuses to give more than MAX_UNPACKED_BYTES."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left_bytes = MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if 0 <= size < self._left_bytes else self._left_bytes + 1)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise ArchiveError("unpacks to too much")
        return data


def _tar_members(stream: IO[bytes], wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=_Counted(stream), mode="r|", errorlevel=2) as archive:
        num_members = 0
        while (member := archive.next()) is not None:
            num_members += 1
            name = _checked(member.name, num_members)
            if member.isreg() and wanted(name):
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read(MAX_MEMBER_BYTES + 1)


def _zip_members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        left_bytes = MAX_UNPACKED_BYTES
        for number, info in enumerate(archive.infolist(), start=1):
            # orig_filename is what the archive says; filename is cut at a NUL character.
            name = _checked(info.orig_filename, number)
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            if info.is_dir() or is_link or not wanted(name):
                continue
            with archive.open(info) as content:
                data = content.read(MAX_MEMBER_BYTES + 1)
            left_bytes -= len(data)
            if left_bytes < 0:
                raise ArchiveError("unpacks to too much")
            yield name, data


def _deb_members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    # dpkg-deb knows every compression that Debian uses; it writes the inner tar to its stdout.
    process = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield from _tar_members(process.stdout, wanted)
    finally:
        process.stdout.close()
        process.terminate()
        process.wait()


def _checked(name: str, number: int) -> str:
    """The name without a leading "./"; refuses the archive for a name that points outside it."""
    if number > MAX_NUM_MEMBERS:
        raise ArchiveError("too many members")
    if name.startswith(("/", "\\")) or "\\" in name or "\0" in name or ":" in name[:2]:
        raise ArchiveError("unsafe path in the archive")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError("unsafe path in the archive")
    return "/".join(parts)
