"""Which licences training text may have, and how the words that packages use for them are read.

A licence counts only when every part of it is known and permissive: doubt drops the package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PERMISSIVE = {
    name.lower(): name
    for name in (
        "0BSD",
        "Apache-2.0",
        "BSD-1-Clause",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Python-2.0",
        "Python-2.0.1",
        "Unlicense",
        "Zlib",
    )
}
"""SPDX identifiers by their lower-case form; a bare "BSD" is known by `_FREE_TEXT`."""

# Names that are no SPDX identifiers, as people write them; compared without case, spaces, signs
# and the words "the", "license", "licence", "version", "software", "style", "like".
_FREE_TEXT = {
    "apache": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache20": "Apache-2.0",
    "apachev2": "Apache-2.0",
    "apachev20": "Apache-2.0",
    "asl2": "Apache-2.0",
    "asl20": "Apache-2.0",
    "bsd": "BSD",
    "bsd2": "BSD-2-Clause",
    "bsd2clause": "BSD-2-Clause",
    "2clausebsd": "BSD-2-Clause",
    "bsd2clausesimplified": "BSD-2-Clause",
    "simplifiedbsd": "BSD-2-Clause",
    "bsd3": "BSD-3-Clause",
    "bsd3clause": "BSD-3-Clause",
    "3clausebsd": "BSD-3-Clause",
    "bsd3clausenewbsd": "BSD-3-Clause",
    "bsd3clauseneworrevised": "BSD-3-Clause",
    "newbsd": "BSD-3-Clause",
    "modifiedbsd": "BSD-3-Clause",
    "revisedbsd": "BSD-3-Clause",
    "boost10": "BSL-1.0",
    "expat": "MIT",
    "expatmit": "MIT",
    "mitexpat": "MIT",
    "hpnd": "HPND",
    "isc": "ISC",
    "iscl": "ISC",
    "mit": "MIT",
    "mit0": "MIT-0",
    "mitmit": "MIT",
    "psf": "PSF-2.0",
    "psfl": "PSF-2.0",
    "python": "PSF-2.0",
    "pythonfoundation": "PSF-2.0",
    "pythonfoundationpsf": "PSF-2.0",
    "cc0": "CC0-1.0",
    "cc010": "CC0-1.0",
    "cc010universalcc010publicdomaindedication": "CC0-1.0",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
    "zliblibpng": "Zlib",
    "bsdzeroclause": "0BSD",
    "zeroclausebsd": "0BSD",
}
_FILLER = re.compile(r"\b(?:the|licen[cs]ed?|version|software|style|like|under|agreement|terms)\b")
_SIGNS = re.compile(r"[^a-z0-9]+")
# Parentheses and operators of an expression; the or in GPL-2.0-or-later is none.
_OPERATOR = re.compile(r"(\(|\)|(?<![\w.+-])(?:and|or|with)(?![\w.+-]))", re.IGNORECASE)

# How the text of a licence begins, for fields that hold the whole of it.
_TEXTS = (
    (re.compile(r"permission is hereby granted, free of charge, to any person"), "MIT"),
    (re.compile(r"apache license,?\s+version 2\.0"), "Apache-2.0"),
    (re.compile(r"permission to use, copy, modify,? and(?:/or)? distribute"), "ISC"),
    (re.compile(r"redistribution and use in source and binary forms"), "BSD"),
)
_MAX_NAME_CHARS = 100
_MAX_PREAMBLE_CHARS = 1500

NOT_PERMISSIVE = "not permissive licence"
UNKNOWN = "unknown licence"
MIXED = "several licences in one text"
NOT_GIVEN = "no licence is given"

COPYLEFT = re.compile(
    r"""\b[al]?gpl(?:\b|v?[-\s]?\d)
    | gnu\s+(?:lesser\s+|affero\s+|library\s+(?:or\s+lesser\s+)?)?(?:general\s+)?public
    | \bmpl\b(?:[-\s]?[12]) | mozilla\s+public | \bcddl\b | \bepl[-\s]?[12] | eclipse\s+public
    | \beupl\b | european\s+union\s+public | \bosl[-\s]?3 | \bcecill | \bsspl\b
    | server\s+side\s+public | business\s+source | elastic\s+licen[cs]e | commons\s+clause
    | \bcc[-\s]by | creative\s+commons\s+attribution | proprietary | non-?commercial""",
    re.VERBOSE | re.IGNORECASE,
)
"""Words of licences that are not permissive, in free text."""


@dataclass(frozen=True, slots=True)
class Licence:
    """What a package's licence is.

    expression: SPDX-like, or the words of the package; source: where it stands, in words;
    refusal: why the package is dropped, None when it may be used.
    """

    expression: str
    source: str
    refusal: str | None = None

    @property
    def is_permissive(self) -> bool:
        return self.refusal is None


def from_name(name: str, source: str) -> Licence:
    """The licence that a short name, an SPDX expression or a whole licence text stands for."""
    words = " ".join(name.split())
    if not words or words.lower() in {"unknown", "none", "n/a"}:
        return Licence("unknown", source, NOT_GIVEN)
    if len(words) > _MAX_NAME_CHARS:
        return _from_text(words, source)
    known = _known_name(words)
    if known is not None:
        return Licence(known, source)
    return from_expression(words, source)


def from_expression(expression: str, source: str) -> Licence:
    """Judge an SPDX expression: OR needs one permissive side, AND needs both.

    An exception (WITH) only adds permissions, so it counts as what it is an exception to.
    """
    tokens = [part.strip() for part in _OPERATOR.split(expression) if part.strip()]
    try:
        is_permissive, rest = _any_of(tokens, 0)
    except (IndexError, RecursionError):
        is_permissive, rest = False, -1
    words = " ".join(expression.split())[:_MAX_NAME_CHARS]
    if rest == len(tokens) and is_permissive:
        return Licence(words, source)
    return Licence(words, source, NOT_PERMISSIVE if COPYLEFT.search(words) else UNKNOWN)


def _from_text(words: str, source: str) -> Licence:
    title = words[:_MAX_NAME_CHARS]
    if COPYLEFT.search(words[:_MAX_PREAMBLE_CHARS]):
        return Licence(title, source, NOT_PERMISSIVE)
    if COPYLEFT.search(words):
        # Often the licences of libraries that a wheel carries along.
        return Licence(title, source, MIXED)
    for pattern, name in _TEXTS:
        if pattern.search(words.lower()):
            return Licence(name, source)
    return Licence(title, source, UNKNOWN)


def _known_name(words: str) -> str | None:
    spdx = PERMISSIVE.get(words.lower())
    if spdx is not None:
        return spdx
    return _FREE_TEXT.get(_SIGNS.sub("", _FILLER.sub("", words.lower())))


def _any_of(tokens: list[str], at: int) -> tuple[bool, int]:
    """Whether the alternatives from token `at` are permissive, and where they end."""
    is_permissive, at = _all_of(tokens, at)
    while at < len(tokens) and tokens[at].upper() == "OR":
        other, at = _all_of(tokens, at + 1)
        is_permissive = is_permissive or other
    return is_permissive, at


def _all_of(tokens: list[str], at: int) -> tuple[bool, int]:
    is_permissive, at = _one(tokens, at)
    while at < len(tokens) and tokens[at].upper() == "AND":
        other, at = _one(tokens, at + 1)
        is_permissive = is_permissive and other
    return is_permissive, at


def _one(tokens: list[str], at: int) -> tuple[bool, int]:
    if tokens[at] == "(":
        is_permissive, at = _any_of(tokens, at + 1)
        if tokens[at] != ")":
            raise IndexError
        return is_permissive, at + 1
    if tokens[at] in {")"} or tokens[at].upper() in {"AND", "OR", "WITH"}:
        raise IndexError
    is_permissive = _known_name(tokens[at].rstrip("+")) is not None
    if at + 1 < len(tokens) and tokens[at + 1].upper() == "WITH":
        return is_permissive, at + 3 if at + 2 < len(tokens) else len(tokens) + 1
    return is_permissive, at + 1
