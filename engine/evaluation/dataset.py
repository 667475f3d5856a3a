"""Rows of HumanEval-Infilling (github.com/openai/human-eval-infilling, MIT), read and checked.

A row is a function with a hole in it and the tests that the filled function must pass. Read by
`engine.cli.evaluate`; knows nothing of engines or sandboxes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import keyword
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from engine.errors import EngineError

_GZIP_MAGIC = b"\x1f\x8b"
_BASE_TASK = re.compile(r"(?:^|/)(HumanEval/\d+)(?:/|$)")

T = TypeVar("T")


class DatasetError(EngineError):
    """A benchmark file that cannot be used; one sentence with the file and the line."""


@dataclass(frozen=True, slots=True)
class InfillingRow:
    """One hole. The reference answer is canonical_solution; test defines ``check(candidate)``."""

    task_id: str
    entry_point: str
    prompt: str
    suffix: str
    canonical_solution: str
    test: str

    @property
    def base_task(self) -> str:
        """The HumanEval task that the hole was cut from; rows of one task are not independent."""
        found = _BASE_TASK.search(self.task_id)
        if found is None:
            raise ValueError(f"no HumanEval task in {self.task_id!r}")
        return found[1]

    def program(self, completion: str) -> str:
        """Source text that raises, or ends early, unless `completion` passes the row's tests."""
        return f"{self.prompt}{completion}{self.suffix}\n{self.test}\ncheck({self.entry_point})\n"


@dataclass(frozen=True, slots=True)
class Dataset:
    """name: the file's name without its endings. sha256: of the file as it lies on the disk."""

    name: str
    sha256: str
    rows: tuple[InfillingRow, ...]


def read_infilling(path: Path) -> Dataset:
    """Read a ``.jsonl`` or ``.jsonl.gz`` file of rows. Raises DatasetError."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"The benchmark file {path} does not exist.") from None
    except OSError as error:
        raise DatasetError(
            f"The benchmark file {path} cannot be read ({error.strerror})."
        ) from None
    rows = tuple(_rows(path, _text(path, raw)))
    if not rows:
        raise DatasetError(f"The benchmark file {path} holds no rows.")
    return Dataset(path.name.split(".")[0], hashlib.sha256(raw).hexdigest(), rows)


def evenly_spaced(items: Sequence[T], limit: int | None) -> tuple[T, ...]:
    """`limit` items in their order, the first one included, at equal steps; all if None.

    Raises ValueError for a limit below 1.
    """
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 1:
        raise ValueError("limit must be at least 1")
    return tuple(items[number * len(items) // limit] for number in range(limit))


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


def _rows(path: Path, text: str) -> Iterator[InfillingRow]:
    seen: set[str] = set()
    # Not splitlines(): it would also cut at U+2028 and others, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _row(f"{path}, line {number}", line)
        if row.task_id in seen:
            raise DatasetError(f"{path}, line {number}: task_id {row.task_id} occurs twice.")
        seen.add(row.task_id)
        yield row


def _row(where: str, line: str) -> InfillingRow:
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: not valid JSON ({error.msg}).") from None
    if not isinstance(body, dict):
        raise DatasetError(f"{where}: must be a JSON object.")
    for field in fields(InfillingRow):
        if field.name not in body:
            raise DatasetError(f"{where}: the field {field.name} is missing.")
        if not isinstance(body[field.name], str):
            raise DatasetError(f"{where}: the field {field.name} must be a string.")
    row = InfillingRow(**{field.name: body[field.name] for field in fields(InfillingRow)})
    if not row.entry_point.isidentifier() or keyword.iskeyword(row.entry_point):
        raise DatasetError(f"{where}: entry_point is not the name of a function.")
    if _BASE_TASK.search(row.task_id) is None:
        raise DatasetError(f"{where}: task_id must name its base task, as in HumanEval/12.")
    return row
