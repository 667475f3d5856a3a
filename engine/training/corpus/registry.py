"""What the clients of the package registries have in common: archives, digests, failures."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

_ALGORITHMS = ("sha512", "sha384", "sha256", "sha1", "md5")


class PackageError(Exception):
    """Why one package is not used, as a reason for the manifest."""


class RegistryUnreachable(Exception):
    """The registry does not answer at all; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a registry says about an archive's content. value: hexadecimal, lower case."""

    algorithm: str
    value: str

    @classmethod
    def from_fragment(cls, fragment: str) -> Digest | None:
        """From "sha256=0123…" as the simple index appends it to its links."""
        algorithm, _, value = fragment.partition("=")
        return cls(algorithm, value.lower()) if algorithm in _ALGORITHMS and value else None

    @classmethod
    def from_integrity(cls, integrity: str) -> Digest | None:
        """From "sha512-<base64>" as npm writes it; the first one of several."""
        algorithm, _, value = (integrity.split() or [""])[0].partition("-")
        try:
            digest = base64.b64decode(value.partition("?")[0], validate=True).hex()
        except binascii.Error:
            return None
        return cls(algorithm, digest) if algorithm in _ALGORITHMS and digest else None


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a package's source is. digest: None when the registry gives none."""

    version: str
    url: str
    file_name: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class LocalArchive:
    path: Path
    sha256: str
