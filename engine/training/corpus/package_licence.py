"""The licence that a package declares: Python metadata, package.json, Debian's copyright file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from fnmatch import fnmatchcase
from typing import Any

from engine.training.corpus.licences import (
    MIXED,
    NOT_GIVEN,
    UNKNOWN,
    Licence,
    from_expression,
    from_name,
)

_CLASSIFIER = "License :: "
# The last part of a classifier, where it is no name that `from_name` knows.
_CLASSIFIERS = {
    "Academic Free License (AFL)": "AFL-3.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Python License (CNRI Python License)": "CNRI-Python",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "zlib/libpng License": "Zlib",
}


def of_python_metadata(metadata: bytes) -> Licence:
    """From PKG-INFO or METADATA: License-Expression alone, else License and all classifiers.

    Several statements must all be permissive; a package that contradicts itself is dropped.
    """
    headers: Message = BytesHeaderParser().parsebytes(metadata)
    expression = str(headers.get("License-Expression", "")).strip()
    if expression:
        return from_expression(expression, "License-Expression")
    found: list[Licence] = []
    text = str(headers.get("License", "")).strip()
    if text and text.upper() != "UNKNOWN":
        found.append(from_name(text, "License"))
    for classifier in headers.get_all("Classifier", []):
        if str(classifier).startswith(_CLASSIFIER):
            found += _of_classifier(str(classifier))
    return _together(found)


def _of_classifier(classifier: str) -> list[Licence]:
    words = classifier.strip().split(" :: ")[-1]
    if words in {"OSI Approved", "License"}:
        return []
    return [from_name(_CLASSIFIERS.get(words, words), "classifier")]


def _together(found: Sequence[Licence]) -> Licence:
    if not found:
        return Licence("unknown", "metadata", NOT_GIVEN)
    classified = [licence for licence in found if licence.source == "classifier"]
    for licence in found:
        # A License field in words of its own (often a link) is settled by good classifiers.
        is_vague = licence.source == "License" and licence.refusal in (UNKNOWN, MIXED)
        if not licence.is_permissive and not (is_vague and classified):
            return licence
    named = [licence for licence in found if licence.is_permissive]
    expressions = sorted({licence.expression for licence in named})
    sources = sorted({licence.source for licence in named})
    return Licence(" AND ".join(expressions), " and ".join(sources))


def of_package_json(package: dict[str, Any]) -> Licence:
    """From the fields `license` or (old) `licenses` of a package.json."""
    if package.get("private") is True and not package.get("license"):
        return Licence("unknown", "package.json", NOT_GIVEN)
    entries = package.get("license") or package.get("licenses")
    names: list[str] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        name = entry.get("type") if isinstance(entry, dict) else entry
        names.append(name if isinstance(name, str) else "")
    if not any(names):
        return Licence("unknown", "package.json", NOT_GIVEN)
    found = [_of_npm_name(name) for name in names]
    return next((licence for licence in found if not licence.is_permissive), found[0])


def _of_npm_name(name: str) -> Licence:
    # npm's own word for "nobody may use this", one letter from the permissive Unlicense.
    if name.strip().upper() == "UNLICENSED":
        return Licence(name, "package.json", "proprietary licence")
    return from_name(name, "package.json")


@dataclass(frozen=True, slots=True)
class DebianCopyright:
    """debian/copyright in its machine-readable form: patterns of files with their licences.

    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """

    paragraphs: tuple[tuple[tuple[str, ...], Licence], ...]

    @classmethod
    def parse(cls, text: str) -> DebianCopyright | None:
        """None when the file is not in the machine-readable form."""
        paragraphs: list[tuple[tuple[str, ...], Licence]] = []
        for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
            headers = _debian_fields(paragraph)
            if "files" in headers and "license" in headers:
                name = (headers["license"].splitlines() or [""])[0]
                patterns = tuple(headers["files"].replace(",", " ").split())
                paragraphs.append((patterns, _of_debian_name(name)))
        return cls(tuple(paragraphs)) if paragraphs else None

    @property
    def package(self) -> Licence:
        """What the paragraph for all files says; without one, all that are not packaging."""
        for patterns, licence in self.paragraphs:
            if "*" in patterns:
                return licence
        own = [
            licence
            for patterns, licence in self.paragraphs
            if not all(pattern.startswith("debian/") for pattern in patterns)
        ]
        return _together(own)

    def refuses(self, path: str) -> bool:
        """Whether a paragraph of its own gives the file `path` a licence that is not permissive."""
        for patterns, licence in self.paragraphs:
            own = [pattern.removeprefix("./") for pattern in patterns if pattern != "*"]
            if not licence.is_permissive and any(fnmatchcase(path, pattern) for pattern in own):
                return True
        return False


def _of_debian_name(name: str) -> Licence:
    # "A, and B" and "A and/or B" are allowed there beside the words of SPDX.
    words = name.replace(", ", " ").replace("and/or", "or").strip()
    return from_expression(words, "debian/copyright")


def _debian_fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line and not line.startswith("#"):
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
