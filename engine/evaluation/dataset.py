"""Rows of a suite, read and checked: a text with a hole in it and what belongs in the hole.

Two formats are known: HumanEval-Infilling (github.com/openai/human-eval-infilling, MIT), whose rows
bring tests, and the files of `nemodiff eval cut`, whose rows do not. Knows nothing of engines or
sandboxes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import keyword
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import EngineError
from engine.messages.completion import CompletionRequest, FieldError, Snippet

_GZIP_MAGIC = b"\x1f\x8b"
_BASE_TASK = re.compile(r"(?:^|/)(HumanEval/\d+)(?:/|$)")
_INFILLING_FIELDS = ("task_id", "entry_point", "prompt", "suffix", "canonical_solution", "test")
# Where a task_id begins with the name of its split.
_INFILLING_KINDS = {
    "SingleLineInfilling": "single-line",
    "MultiLineInfilling": "multi-line",
    "RandomSpanInfilling": "random-span",
    "RandomSpanInfillingLight": "random-span-light",
}
_CUT_FIELDS = ("task_id", "cluster", "language", "kind", "prompt", "suffix", "gold")

T = TypeVar("T")


class DatasetError(EngineError):
    """A file of rows that cannot be used; one sentence with the file and the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRow:
    """One hole between prompt and suffix.

    cluster: what the hole was cut from (a base task, a package); rows of one cluster are not
    independent. gold: the text that belongs in the hole, "" where nothing does. tests: Python
    source that raises behind the rightly filled text only if that is wrong; None without tests.
    context, path: as in CompletionRequest; cut rows may bring them.
    """

    task_id: str
    cluster: str
    language: str
    kind: str
    prompt: str
    suffix: str
    gold: str
    tests: str | None = None
    context: tuple[Snippet, ...] = ()
    path: str | None = None

    def filled(self, text: str) -> str:
        """The document with `text` in the hole."""
        return f"{self.prompt}{text}{self.suffix}"

    def program(self, text: str) -> str:
        """Source that raises, or ends early, unless `text` passes the tests; ValueError without
        tests."""
        if self.tests is None:
            raise ValueError(f"{self.task_id} has no tests")
        return self.filled(text) + self.tests


@dataclass(frozen=True, slots=True)
class Dataset:
    """name: the file's name without its endings. sha256: of the file as it lies on the disk."""

    name: str
    sha256: str
    rows: tuple[EvalRow, ...]


def read_infilling(path: Path) -> Dataset:
    """Rows of HumanEval-Infilling as ``.jsonl`` or ``.jsonl.gz``. Raises DatasetError."""
    return _read(path, _infilling_row)


def read_fresh(path: Path) -> Dataset:
    """Holes of `nemodiff eval cut --suite fresh`. Raises DatasetError."""
    return _read(path, _fresh_row)


def read_silent(path: Path) -> Dataset:
    """Cursors of `nemodiff eval cut --suite silent`. Raises DatasetError."""
    return _read(path, _silent_row)


def evenly_spaced(items: Sequence[T], limit: int | None) -> tuple[T, ...]:
    """`limit` items in their order, the first one included, at equal steps; all if None.

    Raises ValueError for a limit below 1.
    """
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 1:
        raise ValueError("limit must be at least 1")
    return tuple(items[number * len(items) // limit] for number in range(limit))


def _read(path: Path, parse: Callable[[str, dict[str, Any]], EvalRow]) -> Dataset:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"The benchmark file {path} does not exist.") from None
    except OSError as error:
        raise DatasetError(
            f"The benchmark file {path} cannot be read ({error.strerror})."
        ) from None
    rows = tuple(_rows(path, _text(path, raw), parse))
    if not rows:
        raise DatasetError(f"The benchmark file {path} holds no rows.")
    return Dataset(path.name.split(".")[0], hashlib.sha256(raw).hexdigest(), rows)


def _text(path: Path, raw: bytes) -> str:
    try:
        if raw.startswith(_GZIP_MAGIC):
            raw = gzip.decompress(raw)
        return raw.decode("utf-8")
    except (OSError, EOFError, zlib.error):
        raise DatasetError(
            f"The benchmark file {path} is damaged or cut short (gzip); fetch it again."
        ) from None
    except UnicodeDecodeError:
        raise DatasetError(f"The benchmark file {path} is neither gzip nor UTF-8 text.") from None


def _rows(
    path: Path, text: str, parse: Callable[[str, dict[str, Any]], EvalRow]
) -> Iterator[EvalRow]:
    seen: set[str] = set()
    # Not splitlines(): it would also cut at U+2028 and others, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = parse(where, _object(where, line))
        if row.task_id in seen:
            raise DatasetError(f"{where}: task_id {row.task_id} occurs twice.")
        seen.add(row.task_id)
        yield row


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: not valid JSON ({error.msg}).") from None
    if not isinstance(body, dict):
        raise DatasetError(f"{where}: must be a JSON object.")
    return body


def _strings(where: str, body: dict[str, Any], names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in body:
            raise DatasetError(f"{where}: the field {name} is missing.")
        if not isinstance(body[name], str):
            raise DatasetError(f"{where}: the field {name} must be a string.")
    return [body[name] for name in names]


def _infilling_row(where: str, body: dict[str, Any]) -> EvalRow:
    task_id, entry_point, prompt, suffix, gold, test = _strings(where, body, _INFILLING_FIELDS)
    if not entry_point.isidentifier() or keyword.iskeyword(entry_point):
        raise DatasetError(f"{where}: entry_point is not the name of a function.")
    base_task = _BASE_TASK.search(task_id)
    if base_task is None:
        raise DatasetError(f"{where}: task_id must name its base task, as in HumanEval/12.")
    return EvalRow(
        task_id=task_id,
        cluster=base_task[1],
        language="python",
        kind=_INFILLING_KINDS.get(task_id.partition("/")[0], "infilling"),
        prompt=prompt,
        suffix=suffix,
        gold=gold,
        tests=f"\n{test}\ncheck({entry_point})\n",
    )


def _fresh_row(where: str, body: dict[str, Any]) -> EvalRow:
    row = _cut_row(where, body)
    if not row.gold.strip():
        raise DatasetError(
            f"{where}: the field gold is blank; such rows belong to `nemodiff eval silent`."
        )
    return row


def _silent_row(where: str, body: dict[str, Any]) -> EvalRow:
    row = _cut_row(where, body)
    if row.gold:
        raise DatasetError(
            f"{where}: the field gold must be empty; holes belong to `nemodiff eval fresh`."
        )
    return row


def _cut_row(where: str, body: dict[str, Any]) -> EvalRow:
    values = dict(zip(_CUT_FIELDS, _strings(where, body, _CUT_FIELDS), strict=True))
    for name in ("task_id", "cluster", "language", "kind"):
        if not values[name]:
            raise DatasetError(f"{where}: the field {name} is empty.")
    context: tuple[Snippet, ...] = ()
    path = body.get("path")
    if "context" in body:
        try:
            asked = CompletionRequest.from_json(
                {"prompt": "", "context": body["context"], "path": path}
            )
        except FieldError as error:
            raise DatasetError(f"{where}: {error}") from None
        context, path = asked.context, asked.path
    else:
        # Where there are no other files, a path would change the prompt for nothing.
        path = None
    return EvalRow(**values, context=context, path=path)
