"""Outline: the signatures of a file's definitions, without their bodies.

Used by `sources.py` for what the completed file imports. Pure functions over text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nemodiff_lsp.context.dialects import Dialect

# A signature that is longer is not understood; the body of a short definition says more than dots.
_MAX_SIGNATURE_LINES = 30
_MAX_WHOLE_LINES = 6
_MAX_MEMBERS = 24
_MAX_MEMBER_CHARS = 160


@dataclass(frozen=True, slots=True)
class Definition:
    """Lines [start, end) of a top-level definition; names: by which it may be imported."""

    names: frozenset[str]
    start: int
    end: int


def definitions(lines: Sequence[str], dialect: Dialect) -> list[Definition]:
    """The top-level definitions of a file, in order."""
    found: list[Definition] = []
    for at, line in enumerate(lines):
        if not line or line[0].isspace():
            continue
        match = dialect.definition.match(line)
        if match is None:
            continue
        names = frozenset(value for value in match.groupdict().values() if value)
        found.append(Definition(names, at, _block_end(lines, at)))
    return found


def outline(text: str, names: Collection[str] | None, dialect: Dialect) -> str:
    """Signatures of the definitions that bear one of `names` (None: of all), "" if there is none.

    Of a class or the like its members' first lines, too.
    """
    lines = text.split("\n")
    wanted = [
        definition
        for definition in definitions(lines, dialect)
        if names is None or definition.names & set(names)
    ]
    return "\n".join(line for each in wanted for line in _skeleton(lines, each, dialect))


def _skeleton(lines: Sequence[str], definition: Definition, dialect: Dialect) -> Iterator[str]:
    start, end = definition.start, definition.end
    if end - start <= _MAX_WHOLE_LINES:
        yield from (line.rstrip() for line in lines[start:end])
        return
    body = _signature_end(lines, start, end)
    yield from (line.rstrip() for line in lines[start:body])
    if dialect.holds_members.match(lines[start]):
        yield from _members(lines, body, end)
        if lines[end - 1][:1] in "})":
            yield lines[end - 1].rstrip()
    elif dialect.family == "python":
        yield "    ..."


def _members(lines: Sequence[str], start: int, end: int) -> Iterator[str]:
    """Lines that stand directly in the body, with the signatures that they begin."""
    inner = [at for at in range(start, end) if lines[at].strip()]
    if not inner:
        return
    indent = min((_indent(lines[at]) for at in inner if lines[at][:1].isspace()), default=0)
    num_members, at = 0, start
    in_text = ""
    while at < end and num_members < _MAX_MEMBERS:
        line = lines[at]
        stripped = line.strip()
        quote = next((mark for mark in ('"""', "'''") if mark in stripped), "")
        if in_text:
            in_text = "" if in_text in stripped else in_text
        elif quote and stripped.startswith((quote, "r" + quote)):
            in_text = "" if stripped.count(quote) > 1 else quote
        elif stripped and _indent(line) == indent and not stripped.startswith(_SKIPPED):
            last = _signature_end(lines, at, end)
            yield from (each.rstrip()[:_MAX_MEMBER_CHARS] for each in lines[at:last])
            num_members += 1
            at = last
            continue
        at += 1


# Comments, closing brackets and decorators tell little of how a member is used.
_SKIPPED = ("#", "//", "/*", "*", "}", ")", "]", "@")


def _signature_end(lines: Sequence[str], start: int, end: int) -> int:
    """Behind the line on which the brackets that are opened from `start` on are closed again.

    A curly bracket opens a body, so it does not count.
    """
    depth = 0
    for at in range(start, min(end, start + _MAX_SIGNATURE_LINES)):
        depth += sum(lines[at].count(mark) for mark in "([")
        depth -= sum(lines[at].count(mark) for mark in ")]")
        if depth <= 0:
            return at + 1
    return start + 1


def _block_end(lines: Sequence[str], start: int) -> int:
    """Behind the last line of what line `start` begins: deeper lines, and closing brackets."""
    end = start + 1
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if not line.strip():
            continue
        if not line[0].isspace():
            if line[0] in "})]":
                end = at + 1
                # A bracket may close the parameters and open the body.
                if line.rstrip().endswith(("{", "(", ":")):
                    continue
            return end
        end = at + 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
