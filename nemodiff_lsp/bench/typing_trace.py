"""Typing traces: what was edited in real files, kept as JSON lines. Read by `replay.py`.

Made from a repository by `trace_from_git.py`; the one that comes with the package is made from this
project's own history. A trace holds edits, not keys: `typist.py` knows which keys make an edit.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError

SHIPPED = Path(__file__).with_name("typing_trace.jsonl.gz")
FORMAT = 1


class TraceError(EngineError):
    """A trace that cannot be read or made; one sentence."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`num_deleted` characters behind `offset` make way for `inserted`.

    offset: into the text as the edits before this one have left it.
    """

    offset: int
    num_deleted: int
    inserted: str


@dataclass(frozen=True, slots=True)
class Sitting:
    """The edits of one file in one commit, top to bottom. base: the file's text before them."""

    commit: str
    path: str
    language_id: str
    base: str
    edits: tuple[Edit, ...]

    def result(self) -> str:
        """The text after all edits."""
        text = self.base
        for edit in self.edits:
            end = edit.offset + edit.num_deleted
            text = text[: edit.offset] + edit.inserted + text[end:]
        return text


@dataclass(frozen=True, slots=True)
class Trace:
    """Sittings in the order of the history. source: where they come from, in words."""

    source: str
    sittings: tuple[Sitting, ...]


def write_trace(path: Path, trace: Trace) -> None:
    """Write `trace`, compressed if the name ends in ``.gz``; equal traces give equal bytes."""
    head = {"format": FORMAT, "source": trace.source, "num_sittings": len(trace.sittings)}
    lines = [head, *(_to_json(sitting) for sitting in trace.sittings)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def read_trace(path: Path) -> Trace:
    """The trace in `path`. Raises TraceError."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        head, *lines = [json.loads(line) for line in text.splitlines()]
        if head["format"] != FORMAT:
            raise TraceError(f"{path} is a trace of format {head['format']}, not {FORMAT}.")
        return Trace(str(head["source"]), tuple(_from_json(line) for line in lines))
    except (ValueError, KeyError, TypeError, EOFError, gzip.BadGzipFile, zlib.error):
        raise TraceError(f"{path} is no typing trace.") from None
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}).") from None


def spread(sittings: Sequence[Sitting], max_num: int | None) -> tuple[Sitting, ...]:
    """At most `max_num` sittings, evenly spaced over the history (None: all)."""
    if max_num is None or len(sittings) <= max_num:
        return tuple(sittings)
    return tuple(sittings[index * len(sittings) // max_num] for index in range(max_num))


def _to_json(sitting: Sitting) -> dict[str, Any]:
    body = asdict(sitting)
    body["edits"] = [[edit.offset, edit.num_deleted, edit.inserted] for edit in sitting.edits]
    return body


def _from_json(body: dict[str, Any]) -> Sitting:
    edits: Iterable[tuple[int, int, str]] = body["edits"]
    text = str(body["base"])
    checked: list[Edit] = []
    length = len(text)
    for offset, num_deleted, inserted in edits:
        if not 0 <= offset <= offset + num_deleted <= length or not isinstance(inserted, str):
            raise ValueError("an edit outside its text")
        checked.append(Edit(offset, num_deleted, inserted))
        length += len(inserted) - num_deleted
    names = ("commit", "path", "language_id")
    commit, path, language_id = (str(body[name]) for name in names)
    return Sitting(commit, path, language_id, text, tuple(checked))
