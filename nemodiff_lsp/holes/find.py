"""Find the holes of a document: bodies that are stubs or TODO comments, markers, tab stops.

Called by the code actions (which first ask `may_hold_holes`) and by the command that fills them.
Pure functions of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from nemodiff_lsp.finishing.place import blank_start
from nemodiff_lsp.holes.hole import MAX_HOLES, Hole, without_overlaps
from nemodiff_lsp.holes.roles import is_open_statement, wants_expression
from nemodiff_lsp.holes.source import Source
from nemodiff_lsp.holes.stubs import PLACEHOLDER, TODO, described, inline_stubs, stub_at
from nemodiff_lsp.holes.tab_stops import find_tab_stops

# Of a longer document only this much around the range is read (characters).
_MAX_READ_CHARS = 200_000
# A generated file may hold any number of ellipses that are no holes, and each is looked at.
_MAX_RUNS = 2_000
_MARKER = re.compile(r"(?<![\w$])__(?![\w$])")
_ONE_LINER = re.compile(
    r"[ \t]*(?:async[ \t]+)?(?:def|if|elif|else|for|while|with|try|except|finally|case)\b.*:[ \t]*"
)
_ELLIPSIS_VALUE = re.compile(r"(?:return|yield|[^=:#]*[^=:!<>#]=)[ \t]*(?=\.\.\.$)")
# An ellipsis that is all there is in braces: no spread, which would have a name behind it.
_BRACED_ELLIPSIS = re.compile(r"(?<=\{)[ \t]*(\.\.\.)[ \t]*(?=\})")
_DATA_LANGUAGES = ("yaml", "json", "prose", "makefile")

LineKind = Literal["stub", "pass", "todo", "comment", "other"]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as the rules see it; last: the number of the line on which its stub ends.

    start / end: of what it says, offsets; comments: its comments, markers included.
    """

    kind: LineKind
    number: int
    last: int
    start: int
    end: int
    comments: tuple[str, ...] = ()

    @property
    def has_todo(self) -> bool:
        return any(TODO.search(comment) for comment in self.comments)


def may_hold_holes(text: str) -> bool:
    """Whether `text` is worth a search: quick, and never wrong when it says no."""
    return PLACEHOLDER.search(text) is not None


def find_holes(
    text: str,
    *,
    language_id: str | None = None,
    path: str | None = None,
    start: int = 0,
    end: int | None = None,
    with_tab_stops: bool = False,
) -> list[Hole]:
    """The holes that touch ``start`` .. ``end`` (all of the text by default), in order.

    An empty range means the whole of its line. `text` has ``\\n`` line ends. At most MAX_HOLES.
    """
    end = len(text) if end is None else min(end, len(text))
    start = max(0, min(start, end))
    if start == end:
        start, end = _line_around(text, start)
    low, high = _reading_window(text, start, end)
    source = Source(text[low:high], language_id, path)
    first, last = start - low, end - low
    holes: list[Hole] = []
    if source.language.name not in _DATA_LANGUAGES:
        holes += islice(_bodies(source, first, last), MAX_HOLES)
        holes += islice(_values(source, first, last), MAX_HOLES)
    if with_tab_stops:
        holes += find_tab_stops(source.text)
    touching = [hole for hole in holes if hole.start < last and hole.end > first]
    return [hole.shifted(low) for hole in without_overlaps(touching)][:MAX_HOLES]


def holes_at(offsets: Sequence[int]) -> list[Hole]:
    """One hole for each cursor."""
    return without_overlaps(Hole(offset, offset, "cursor") for offset in set(offsets))[:MAX_HOLES]


def _line_around(text: str, offset: int) -> tuple[int, int]:
    end = text.find("\n", offset)
    return text.rfind("\n", 0, offset) + 1, len(text) if end < 0 else end


def _reading_window(text: str, start: int, end: int) -> tuple[int, int]:
    if len(text) <= _MAX_READ_CHARS:
        return 0, len(text)
    margin = max(_MAX_READ_CHARS - (end - start), _MAX_READ_CHARS // 2) // 2
    low = max(0, start - margin)
    # From a line that is not indented, so that the piece parses by itself.
    outer = re.compile(r"^(?=[^\s})\]])", re.MULTILINE).search(text, low, start) if low else None
    low = outer.start() if outer else (text.rfind("\n", 0, low) + 1)
    newline = text.find("\n", min(len(text), end + margin))
    return low, len(text) if newline < 0 else newline


def _bodies(source: Source, start: int, end: int) -> Iterator[Hole]:
    """Runs of stubs and TODO comments on lines of their own."""
    # A run that begins above the range or ends below it is one hole all the same.
    number = _run_start(source, source.line_of(start))
    last = source.line_of(end)
    num_runs = 0
    while number <= last and num_runs < _MAX_RUNS:
        run = _run_at(source, number)
        num_runs += bool(run) and run[0].kind in ("stub", "pass", "todo")
        number = (run[-1].last if run else number) + 1
        hole = _body_of(source, run) if run else None
        if hole is not None:
            yield hole
        elif len(run) == 1 and run[0].kind == "other":
            yield from _one_liner(source, run[0])


def _run_start(source: Source, number: int) -> int:
    """The first of the lines around `number` that could belong to one run with it."""
    limit = max(0, number - 40)
    while number > limit and source.line(number - 1).strip():
        number -= 1
    return number


def _run_at(source: Source, number: int) -> list[_Line]:
    """The line, and those below that form one hole with it; blank lines form none."""
    first = _classify(source, number)
    if first is None:
        return []
    if first.kind not in ("stub", "pass", "todo"):
        return [first]
    run = [first]
    while (line := _classify(source, run[-1].last + 1)) is not None:
        same_block = source.width_of(line.number) == source.width_of(first.number)
        is_more = line.kind in ("stub", "pass", "todo")
        # A comment goes on after the line that the marker is on.
        is_more |= line.kind == "comment" and run[-1].kind in ("todo", "comment")
        if not same_block or not is_more:
            break
        run.append(line)
    return run


def _classify(source: Source, number: int) -> _Line | None:
    """What the line is; None for a blank one and beyond the text."""
    content = source.line(number)
    if not content.strip():
        return None
    start = source.line_starts[number] + len(blank_start(content))
    end = source.line_starts[number] + len(content.rstrip())
    span = source.span_at(start)
    if span is not None:
        is_own = span[0] == start and span[1] >= end and "\n" not in source.text[start : span[1]]
        if not is_own or not source.is_comment(span):
            return _Line("other", number, number, start, end)
        comment = source.text[start:end]
        kind: LineKind = "todo" if TODO.search(comment) else "comment"
        return _Line(kind, number, number, start, end, (comment,))
    stub_end = stub_at(source, start)
    is_pass = source.language.name == "python" and source.text.startswith("pass", start)
    if stub_end is None and not is_pass:
        return _Line("other", number, number, start, end)
    code_end = start + len("pass") if stub_end is None else stub_end
    last = source.line_of(code_end)
    end = source.line_starts[last] + len(source.line(last).rstrip())
    behind = _comment_behind(source, code_end, end)
    if behind is None:
        return _Line("other", number, number, start, end)
    kind = "pass" if stub_end is None else "stub"
    return _Line(kind, number, last, start, end, (behind,) if behind else ())


def _comment_behind(source: Source, start: int, end: int) -> str | None:
    """The comment between `start` and `end`; None when there is something else but a semicolon."""
    rest = source.text[start:end]
    lead = len(rest) - len(rest.lstrip(" \t;"))
    span = source.span_at(start + lead) if lead < len(rest) else None
    if lead == len(rest):
        return ""
    is_comment = span is not None and source.is_comment(span) and span[1] >= end
    return source.text[start + lead : end] if is_comment else None


def _body_of(source: Source, run: list[_Line]) -> Hole | None:
    kinds = {line.kind for line in run}
    has_todo = any(line.has_todo for line in run)
    stub = next((line for line in run if line.kind in ("stub", "pass")), None)
    if "stub" not in kinds and not has_todo:
        return None
    if stub is None and not _stands_alone(source, run):
        return None
    is_python = source.language.name == "python"
    if stub is not None:
        if is_python and not is_open_statement(source, stub.start, has_todo=has_todo):
            return None
        if not is_python and source.is_in_brackets(stub.start, "(["):
            return None
    indent = blank_start(source.line(run[0].number))
    kept = [text for line in run for comment in line.comments if (text := described(comment))]
    lead = "".join(f"{comment}\n{indent}" for comment in kept)
    return Hole(run[0].start, run[-1].end, "body", lead=lead)


def _stands_alone(source: Source, run: list[_Line]) -> bool:
    """Whether the comments are all there is in their block."""
    indent = source.width_of(run[0].number)
    above = run[0].number - 1
    while above >= 0 and not source.line(above).strip():
        above -= 1
    if above < 0:
        return False
    below = run[-1].last + 1
    while below < len(source.line_starts) and not source.line(below).strip():
        below += 1
    is_last = below >= len(source.line_starts) or source.width_of(below) < indent
    return is_last and (source.width_of(above) < indent or _is_docstring_end(source, above))


def _is_docstring_end(source: Source, number: int) -> bool:
    """Whether a Python docstring ends on the line, right below the line that opens its block."""
    end = source.line_starts[number] + len(source.line(number).rstrip())
    span = source.span_at(end - 1)
    if span is None or span[2] not in ('"""', "'''") or span[1] != end:
        return False
    first = source.line_of(span[0])
    above = first - 1
    return source.line(above).rstrip().endswith(":") and source.width_of(above) < source.width_of(
        first
    )


def _one_liner(source: Source, line: _Line) -> Iterator[Hole]:
    """``def area(self): ...`` and ``total = ...``, the stubs at the end of a line of Python."""
    if source.language.name != "python":
        return
    content = source.text[line.start : line.end]
    head = _ONE_LINER.match(content)
    stub_start = line.start + head.end() if head else line.start
    if head:
        stub_end = stub_at(source, stub_start)
        is_pass = source.text.startswith("pass", stub_start)
        code_end = stub_start + len("pass") if is_pass else stub_end
        comment = None if code_end is None else _comment_behind(source, code_end, line.end)
        has_todo = comment is not None and TODO.search(comment) is not None
        if comment is None or (is_pass and not has_todo):
            return
        if is_open_statement(source, stub_start, has_todo=has_todo):
            indent = blank_start(source.line(line.number)) + _indent_unit(source)
            kept = described(comment)
            lead = f"\n{indent}" + (f"{kept}\n{indent}" if kept else "")
            colon = line.start + len(head.group().rstrip())
            yield Hole(colon, line.end, "body", lead=lead)
        return
    value = _ELLIPSIS_VALUE.match(content)
    if value and is_open_statement(source, line.start + value.end(), has_todo=True):
        yield Hole(line.start + value.end(), line.end, "value")


def _indent_unit(source: Source) -> str:
    """What one step of indentation is here: that of the first indented line, else four spaces."""
    match = re.search(r"^([ \t]+)\S", source.text, re.MULTILINE)
    if match is None:
        return "    "
    return "\t" if match.group(1).startswith("\t") else match.group(1)


def _values(source: Source, start: int, end: int) -> Iterator[Hole]:
    """Markers among other code: ``__``, ``todo!()``, ``/* TODO */``."""
    start = source.line_starts[source.line_of(start)]
    for match in _MARKER.finditer(source.text, start, end):
        if source.is_code(match.start()) and wants_expression(source, *match.span()):
            yield Hole(*match.span(), "value")
    if source.language.name != "python":
        for match in _BRACED_ELLIPSIS.finditer(source.text, start, end):
            if source.is_code(match.start(1)):
                yield Hole(*match.span(1), "value")
    for stub_start, stub_end in inline_stubs(source, start, end):
        yield Hole(stub_start, stub_end, "value")
    for first, last, opening in source.scan.spans:
        comment = source.text[first:last]
        if opening == "/*" and last > start and first < end and TODO.search(comment):
            kept = described(comment)
            if kept and not kept.endswith("*/"):
                kept += " */"
            yield Hole(first, last, "value", lead=f"{kept} " if kept else "")
