"""History rows: holes cut from a repository's commits, with what was edited just before them.

`python -m nemodiff_lsp.bench.history_rows --repo FOLDER --out DIR`. A commit's files are taken one
after the other, as if each had been edited in its turn. A hole is the rest of an added line from a
name on that the commit brought into another file before. Writes one file of the same rows for each
source of context, for `nemodiff eval fresh`; no engine is needed here.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pygls.uris import from_fs_path

from engine.errors import EngineError
from nemodiff_lsp.bench.crossfile import MAX_CHARS, with_context, write_arms
from nemodiff_lsp.bench.trace_from_git import sittings_of
from nemodiff_lsp.bench.typing_trace import Edit, Sitting
from nemodiff_lsp.context.collector import ContextCollector, Cursor, Source

_ARMS: dict[str, tuple[Source, ...]] = {
    "none": (),
    "recent": ("recent",),
    "neighbours": ("neighbours",),
    "recent+neighbours": ("recent", "neighbours"),
}
_FOLDER = Path("/project").absolute()
# Files that were edited before, and are still open.
_MAX_BEFORE = 8
_MAX_HOLES_PER_FILE = 2
# Words that are names of this project rather than of the language: two parts, or a camel's hump.
_NAME = re.compile(r"(?=\w*(?:[a-z0-9]_[a-z0-9]|[a-z][A-Z]))[A-Za-z_]\w{6,}")
_MIN_GOLD_CHARS, _MAX_GOLD_CHARS = 6, 80


@dataclass(frozen=True, slots=True)
class Hole:
    """What is missing at a cursor in the file of `sitting`. before: the commit's files that were
    edited already, oldest first."""

    sitting: Sitting
    prompt: str
    gold: str
    suffix: str
    before: tuple[Sitting, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the rows; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nemodiff_lsp.bench.history_rows")
    parser.add_argument("--repo", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--num", type=int, default=60, metavar="N", help="rows (evenly spaced)")
    args = parser.parse_args(argv)
    try:
        found = [hole for commit in _commits(args.repo) for hole in holes_of(commit)]
    except EngineError as error:
        sys.stderr.write(f"nemodiff bench: {error}\n")
        return 1
    step = max(1.0, len(found) / args.num)
    chosen = [found[int(index * step)] for index in range(min(len(found), args.num))]
    rows = {
        name: [asyncio.run(_row(number, hole, sources)) for number, hole in enumerate(chosen)]
        for name, sources in _ARMS.items()
    }
    write_arms(args.out, "history", rows)
    sys.stdout.write(f"{len(chosen)} of {len(found)} holes, in {args.out}\n")
    return 0 if chosen else 1


def _commits(repository: Path) -> Iterator[list[Sitting]]:
    for _, group in groupby(sittings_of(repository), key=lambda sitting: sitting.commit):
        yield list(group)


def holes_of(commit: Sequence[Sitting]) -> Iterator[Hole]:
    """The holes of one commit's files; the text right of a hole is what stood there before."""
    for number, sitting in enumerate(commit):
        same = [each for each in commit[:number] if each.language_id == sitting.language_id]
        before = tuple(same[-_MAX_BEFORE:])
        brought = {
            word for each in before for edit in each.edits for word in _new_words(each, edit)
        }
        found = list(_holes_in(sitting, brought, before))
        yield from found[:: max(1, len(found) // _MAX_HOLES_PER_FILE)][:_MAX_HOLES_PER_FILE]


def _new_words(sitting: Sitting, edit: Edit) -> set[str]:
    return set(_NAME.findall(edit.inserted)) - set(_NAME.findall(sitting.base))


def _holes_in(sitting: Sitting, brought: set[str], before: tuple[Sitting, ...]) -> Iterator[Hole]:
    """At the first word of an added line that is among `brought` and not yet in this file."""
    text = sitting.base
    for edit in sitting.edits:
        left, right = text[: edit.offset], text[edit.offset + edit.num_deleted :]
        at = 0
        for line in edit.inserted.splitlines(keepends=True):
            known = left + edit.inserted[:at]
            body = line.rstrip("\n")
            word = next((each for each in _NAME.finditer(body) if each.group() in brought), None)
            if word is not None and word.group() not in known:
                gold = body[word.start() :]
                ends_here = at + len(body) < len(edit.inserted) or right.startswith("\n")
                if ends_here and _MIN_GOLD_CHARS <= len(gold) <= _MAX_GOLD_CHARS:
                    suffix = right if right.startswith("\n") else "\n" + right
                    yield Hole(sitting, known + body[: word.start()], gold, suffix, before)
            at += len(line)
        text = left + edit.inserted + right


async def _row(number: int, hole: Hole, sources: tuple[Source, ...]) -> dict[str, Any]:
    own = _uri(hole.sitting)
    texts = {_uri(each): each.result() for each in hole.before} | {own: hole.prompt + hole.suffix}
    lines = {uri: text.splitlines(keepends=True) for uri, text in texts.items()}
    collector = ContextCollector(
        [_FOLDER], is_allowed=lambda uri, text: True, lines_of=lines.get, sources=sources
    )
    for each in hole.before:
        collector.opened(_uri(each), each.language_id)
        for edit in each.edits:
            line = each.result().count("\n", 0, edit.offset + len(edit.inserted))
            collector.touched(_uri(each), line)
    collector.opened(own, hole.sitting.language_id)
    cursor = Cursor(own, hole.sitting.language_id, hole.prompt)
    row = {
        "task_id": f"history/{number}",
        "cluster": hole.sitting.commit,
        "language": hole.sitting.language_id,
        "kind": "rest of line",
        "prompt": hole.prompt,
        "suffix": hole.suffix,
        "gold": hole.gold,
        "suffix_scope": "file",
        "path": hole.sitting.path,
    }
    return with_context(row, await collector.snippets(cursor, max_chars=MAX_CHARS))


def _uri(sitting: Sitting) -> str:
    return str(from_fs_path(str(_FOLDER / sitting.path)))


if __name__ == "__main__":
    sys.exit(main())
