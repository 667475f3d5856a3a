"""Which packages a corpus is made of, and which of them are held out.

A list has one package a line: ``name`` or ``name==version`` for Python, ``npm:name`` and
``debian:name`` for the rest (``npm:name==version`` pins too); ``#`` starts a comment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from packaging.utils import canonicalize_name

from engine.training.corpus.errors import CorpusError

Ecosystem = Literal["pypi", "npm", "debian"]
ECOSYSTEMS: tuple[Ecosystem, ...] = get_args(Ecosystem)
HELD_OUT_SHARE = 0.02

_LISTS = ("pypi.txt", "npm.txt", "debian.txt")
_HELD_OUT_LIST = "held-out.txt"
# The major version in a Debian package's name: two of them are much the same source.
_DEBIAN_VERSION = re.compile(r"(?:-v?\d[\d.]*|\.v\d+)(?=-dev$)")
_NAME = re.compile(r"^@?[A-Za-z0-9][\w.+~-]*(?:/[\w.+~-]+)?$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Package:
    """name: in its canonical spelling; pin: the version to take, None for the newest."""

    ecosystem: Ecosystem
    name: str
    pin: str | None = None

    @property
    def key(self) -> str:
        """What stands for the package, whatever its version, in lists and hashes."""
        return f"{self.ecosystem}:{self.name}"

    @property
    def family(self) -> str:
        """The key without a major version: what is held out together."""
        if self.ecosystem != "debian":
            return self.key
        return _DEBIAN_VERSION.sub("", self.key)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that are taken from it."""
        if self.ecosystem == "pypi":
            return ("python",)
        if self.ecosystem == "npm":
            return ("typescript", "javascript")
        return ("rust",) if self.name.startswith("librust-") else ("go",)


def default_packages() -> list[Package]:
    """The lists that come with NemoDiff: what is held out first, then the best known first."""
    packages = {package.key: package for package in always_held_out()}
    for name in _LISTS:
        packages.update((package.key, package) for package in _own_list(name))
    return list(packages.values())


def always_held_out() -> list[Package]:
    """The packages that never go into the training split, whatever the hash of their name."""
    return _own_list(_HELD_OUT_LIST)


def read_packages(path: Path) -> list[Package]:
    """The packages of a user's list. Raises CorpusError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise CorpusError(f"The package list {path} cannot be read ({reason}).") from None
    packages = parse_packages(text.splitlines(), str(path))
    if not packages:
        raise CorpusError(f"The package list {path} names no package.")
    return packages


def parse_packages(lines: Iterable[str], source: str) -> list[Package]:
    """The packages of a list's lines, each once. Raises CorpusError."""
    packages: dict[str, Package] = {}
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if entry:
            package = _package(entry, f"{source}, line {number}")
            packages.setdefault(package.key, package)
    return list(packages.values())


def is_held_out_by_hash(package: Package) -> bool:
    """Whether the hash of its name puts `package` into the held-out split, as it does 2 in 100."""
    digest = hashlib.sha256(package.family.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def _package(entry: str, where: str) -> Package:
    ecosystem, colon, rest = entry.partition(":")
    if not colon:
        ecosystem, rest = "pypi", entry
    name, pinned, pin = rest.partition("==")
    name, pin = name.strip(), pin.strip()
    if ecosystem not in ECOSYSTEMS or not _NAME.match(name) or (pinned and not pin):
        raise CorpusError(
            f"{where}: {entry!r} is no package; write name, name==version, npm:name or debian:name."
        )
    if ecosystem == "pypi":
        name = canonicalize_name(name)
    return Package(ecosystem, name, pin or None)


def _own_list(name: str) -> list[Package]:
    file = resources.files("engine.training.corpus").joinpath(name)
    return parse_packages(file.read_text(encoding="utf-8").splitlines(), name)
