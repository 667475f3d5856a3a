"""Stubs: statements and expressions that stand for code to be written (`todo!()`, `...`, `pass`).

Called by `find.py`. Text rules for every language; where they could be mistaken about Python, which
gives the ellipsis other meanings, its tree decides (`roles.py`).
"""

from __future__ import annotations

import re

from nemodiff_lsp.holes.source import Source

# What begins a stub for certain, before its brackets.
_SURE = re.compile(
    r"(?:todo|unimplemented)!(?=\s*[(\[{])|(?<![\w.$])TODO(?=\()|"
    r"throw\s+(?:new\s+)?[\w.:\\]*(?:NotImplemented|UnsupportedOperation|NotSupported)\w*|"
    r"(?<![\w$])\?\?\?(?![\w$])"
)
# What is one only if its message says so.
_WITH_MESSAGE = re.compile(
    r"throw\s+(?:new\s+)?[\w.:\\]+(?=\s*[({])|(?<![\w.])(?:panic|fatalError)(?=\()"
)
_MESSAGE = re.compile(r"(?i)not (?:yet )?implemented|unimplemented|implement me|\btodo\b|\bfixme\b")
_RAISE = re.compile(r"raise\s+NotImplementedError\b")
_SPACE = re.compile(r"[ \t]*")

PLACEHOLDER = re.compile(
    r"\.\.\.|\bTODO\b|\bFIXME\b|(?<![\w$])__(?![\w$])|NotImplemented|UnsupportedOperation|"
    r"NotSupported|todo!|\?\?\?|(?i:unimplemented|not (?:yet )?implemented|implement me)"
)
"""Found in every text that holds a hole of any kind but tab stops: the cheap first question."""

TODO = re.compile(r"\b(?:TODO|FIXME)\b(?:\([^)\n]*\))?[ \t]*[:\-]?[ \t]*")
"""The marker of a comment, with its owner and the punctuation behind it."""

# Said of every hole: no description.
_GENERIC = re.compile(
    r"(?i)(?:please )?(?:implement(?: (?:this|me|it|here|function|method|body))?|"
    r"fill(?: (?:me|this))?(?: in)?|write (?:this|me|code|body)|"
    r"(?:your )?code(?: goes)? here|body|code)?[.!\s]*"
)
# Comments that speak to a tool, not to a reader.
_PRAGMA = re.compile(r"(?i)\W*(?:noqa|type:|pragma|pylint|mypy|pyright|nosec|eslint|ts-|clippy)")


def stub_at(source: Source, start: int) -> int | None:
    """Where the stub that begins at `start` ends; None when none begins there."""
    text = source.text
    if source.language.name == "python":
        return _python_stub(source, start)
    if text.startswith("...", start) and text[start + 3 : start + 4] not in (".", "="):
        return start + 3
    match = _SURE.match(text, start)
    needs_message = match is None
    match = match or _WITH_MESSAGE.match(text, start)
    if match is None:
        return None
    end = _behind_brackets(source, match.end())
    if needs_message and not _MESSAGE.search(text, match.end(), end):
        return None
    return end


def inline_stubs(source: Source, start: int, end: int) -> list[tuple[int, int]]:
    """(start, end) of the stubs among other code between `start` and `end`, ellipses aside."""
    if source.language.name == "python":
        return []
    found = []
    for pattern in (_SURE, _WITH_MESSAGE):
        for match in pattern.finditer(source.text, start, end):
            stub_end = stub_at(source, match.start()) if source.is_code(match.start()) else None
            if stub_end is not None:
                found.append((match.start(), stub_end))
    return found


def described(comment: str) -> str:
    """The comment without its marker; empty when nothing else is in it, or it speaks to a tool."""
    marker = TODO.search(comment)
    before = comment if marker is None else comment[: marker.start()]
    behind = "" if marker is None else comment[marker.end() :]
    words = (before + behind).strip("#/*-!<> \t\n")
    if _PRAGMA.match(comment) or _GENERIC.fullmatch(words):
        return ""
    return (before + behind).rstrip()


def _python_stub(source: Source, start: int) -> int | None:
    text = source.text
    if text.startswith("...", start):
        return start + 3
    match = _RAISE.match(text, start)
    if match is None:
        return None
    end = _behind_brackets(source, match.end())
    cause = re.compile(r"[ \t]+from[ \t]+\w+").match(text, end)
    return cause.end() if cause else end


def _behind_brackets(source: Source, offset: int) -> int:
    """Behind the brackets that begin at `offset`, blanks aside; `offset` where none do."""
    match = _SPACE.match(source.text, offset)
    opening = match.end() if match else offset
    if source.text[opening : opening + 1] not in ("(", "[", "{"):
        return offset
    return source.closing_of(opening) or offset
