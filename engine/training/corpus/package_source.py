"""A package's archive as the licence it declares and the files that may become documents."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.training.corpus.archives import MAX_MEMBER_BYTES, ArchiveError, members
from engine.training.corpus.filters import language_of, path_refusal
from engine.training.corpus.licences import NOT_GIVEN, UNKNOWN, Licence
from engine.training.corpus.package_licence import (
    DebianCopyright,
    of_package_json,
    of_python_metadata,
)
from engine.training.corpus.packages import Ecosystem, Package

MAX_SOURCE_BYTES = 128 * 2**20

_METADATA = {
    "pypi": re.compile(r"^[^/]+/PKG-INFO$|^[^/]+\.dist-info/METADATA$"),
    "npm": re.compile(r"^[^/]+/package\.json$"),
    "debian": re.compile(r"^usr/share/doc/[^/]+/copyright$"),
}
_DEBIAN_ROOTS = ("usr/share/gocode/src/", "usr/share/cargo/registry/")
_NO_LICENCE = Licence("unknown", "no metadata", NOT_GIVEN)


@dataclass(slots=True)
class PackageSource:
    """files: path in the package -> content; dropped: reason -> files that were passed over."""

    licence: Licence = _NO_LICENCE
    files: dict[str, bytes] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


def read_source(package: Package, path: Path, languages: tuple[str, ...]) -> PackageSource:
    """Read the archive at `path`, files of `languages` only. Raises ArchiveError."""
    source = PackageSource()
    metadata = _METADATA[package.ecosystem]
    copyright_text: DebianCopyright | None = None
    num_bytes = 0

    def wanted(name: str) -> bool:
        if metadata.match(name):
            return True
        inner = _inner_path(package.ecosystem, name, path)
        if inner is None or language_of(inner) not in languages:
            return False
        refusal = path_refusal(inner, package.ecosystem)
        if refusal is not None:
            source.dropped[refusal] += 1
        return refusal is None

    for name, content in members(path, wanted):
        if metadata.match(name):
            source.licence, copyright_text = _licence(package.ecosystem, content)
            continue
        inner = _inner_path(package.ecosystem, name, path)
        assert inner is not None
        num_bytes += len(content)
        if num_bytes > MAX_SOURCE_BYTES:
            raise ArchiveError("too much source")
        source.files[inner] = content
    if package.ecosystem == "npm":
        _drop_compiled(source)
    if copyright_text is not None:
        _drop_other_licences(source, copyright_text)
    return source


def _inner_path(ecosystem: Ecosystem, name: str, archive: Path) -> str | None:
    """The path inside the package; None for what is not its source."""
    if ecosystem == "debian":
        for root in _DEBIAN_ROOTS:
            if name.startswith(root):
                return name.removeprefix(root)
        return None
    if archive.name.endswith(".whl"):
        return name
    # Source distributions and npm's tarballs have one folder at the top.
    return name.partition("/")[2] or None


def _licence(ecosystem: Ecosystem, content: bytes) -> tuple[Licence, DebianCopyright | None]:
    if len(content) > MAX_MEMBER_BYTES:
        return Licence("unknown", "metadata", "metadata too large"), None
    if ecosystem == "pypi":
        return of_python_metadata(content), None
    if ecosystem == "npm":
        try:
            package = json.loads(content)
        except (ValueError, RecursionError):
            package = None
        if not isinstance(package, dict):
            return Licence("unknown", "package.json", "damaged package.json"), None
        return of_package_json(package), None
    parsed = DebianCopyright.parse(content.decode("utf-8", "replace"))
    if parsed is None:
        return Licence("unknown", "debian/copyright", UNKNOWN), None
    return parsed.package, parsed


def _drop_compiled(source: PackageSource) -> None:
    """Leave out JavaScript that lies beside the TypeScript it was made from."""
    stems = {
        str(PurePosixPath(path).with_suffix(""))
        for path in source.files
        if language_of(path) == "typescript"
    }
    for path in list(source.files):
        is_script = language_of(path) == "javascript"
        if is_script and str(PurePosixPath(path).with_suffix("")) in stems:
            del source.files[path]
            source.dropped["built"] += 1


def _drop_other_licences(source: PackageSource, declared: DebianCopyright) -> None:
    """Leave out files that a paragraph of debian/copyright puts under another licence.

    Its patterns are paths in Debian's source tree, of which the package's paths are the ends.
    """
    for path in list(source.files):
        parts = PurePosixPath(path).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        if any(declared.refuses(end) for end in ends):
            del source.files[path]
            source.dropped["foreign licence"] += 1
