"""Finds training files that share a run of 13 tokens with a benchmark's prompts or solutions.

A token is an identifier or word, a number, or one sign; space and case do not count, comments and
strings are read like code. A run of 13 points to a benchmark when at least two different words of
two letters or more in it are its own: no keywords, builtins or names of `typing`, which every
program has. So ``for i in range(n): for j in range(`` and ``[1, 2, 3, 4, 5, 6, 7]`` give nothing
away. Solutions made of nothing else still count when a file holds one from start to end. Import
lines of the benchmarks are left out. Thirteen is the usual length since GPT-3 (Brown et al. 2020,
appendix C).
"""

from __future__ import annotations

import builtins
import gzip
import json
import keyword
import re
import typing
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.training.corpus.errors import CorpusError

NUM_WINDOW_TOKENS = 13
MIN_OWN_WORDS = 2
MIN_OWN_WORD_CHARS = 2

_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?|[^\w\s]")
_WORD = re.compile(r"[^\W\d]\w*")
_IMPORT = re.compile(r"^[ \t]*(?:from\s+[\w.]+\s+)?import\s.*$", re.MULTILINE)
_COMMON = {name.lower() for name in (*keyword.kwlist, *dir(builtins), *typing.__all__, "self")}
# The fields of a row that hold a task's text, in the order in which they follow one another, and
# what is between them. A hole may lie inside a word, so HumanEval's parts touch; MBPP's do not.
# The second field is the solution.
_ROW_FORMS = (
    (("prompt", "canonical_solution", "suffix"), ""),
    (("text", "code"), "\n"),
    (("prompt", "code"), "\n"),
)
_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)
# A table of bits, looked up by the highest bits of a hash, turns away nearly every window.
_TABLE_BITS = 20
_TABLE_SHIFT = np.uint64(64 - _TABLE_BITS)


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """text: prompt, solution and suffix in one piece, as a finished program has them.

    solution: "" where a row's solution is only the piece that belongs into a hole.
    """

    benchmark: str
    name: str
    text: str
    solution: str


def read_benchmark(path: Path) -> list[BenchmarkTask]:
    """The tasks of one .jsonl or .jsonl.gz file in the form of HumanEval or MBPP.

    Raises CorpusError.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"The benchmark {path} cannot be read ({error.strerror}).") from None
    return parse_benchmark(content, str(path))


def parse_benchmark(content: bytes, name: str) -> list[BenchmarkTask]:
    """The tasks in the content of the file `name`. Raises CorpusError."""
    tasks: list[BenchmarkTask] = []
    benchmark = name.rsplit("/", 1)[-1]
    try:
        data = gzip.decompress(content) if name.endswith(".gz") else content
        for line in data.decode("utf-8").splitlines():
            if line.strip():
                tasks.append(_task(json.loads(line), benchmark, len(tasks)))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, AttributeError) as error:
        raise CorpusError(
            f"{name} cannot be read as a benchmark after {len(tasks)} rows ({error}); it should "
            "hold one JSON object a line with prompt and canonical_solution (or text and code)."
        ) from None
    if not tasks:
        raise CorpusError(f"{name} holds no benchmark rows; leave it out or name the right file.")
    return tasks


def read_benchmarks(path: Path) -> list[BenchmarkTask]:
    """The tasks of a file, or of every .jsonl and .jsonl.gz file below a folder."""
    if not path.is_dir():
        return read_benchmark(path)
    files = sorted([*path.rglob("*.jsonl"), *path.rglob("*.jsonl.gz")])
    if not files:
        raise CorpusError(f"{path} holds no .jsonl or .jsonl.gz file to decontaminate against.")
    return [task for file in files for task in read_benchmark(file)]


def _task(row: dict[str, object], benchmark: str, number: int) -> BenchmarkTask:
    name = str(row.get("task_id", number))
    for names, between in _ROW_FORMS:
        if names[0] in row and names[1] in row:
            text = between.join(str(row.get(part) or "") for part in names)
            solution = "" if row.get("suffix") else str(row[names[1]] or "")
            return BenchmarkTask(benchmark, name, text, solution)
    raise KeyError("prompt")


class Decontaminator:
    """Answers for a text which benchmark task it shares a run of tokens with."""

    def __init__(self, tasks: Iterable[BenchmarkTask]) -> None:
        self._ids: dict[str, int] = {}
        self._windows: dict[_Run, str] = {}
        # By their first window: whole solutions, where the windows themselves say too little.
        self._solutions: dict[_Run, list[tuple[_Run, str]]] = {}
        for task in tasks:
            self._add(task)
        self._table: NDArray[np.bool_] = np.zeros(2**_TABLE_BITS, dtype=np.bool_)
        for window in (*self._windows, *self._solutions):
            self._table[_hashes(np.array(window, dtype=np.int64)) >> _TABLE_SHIFT] = True

    @property
    def num_windows(self) -> int:
        return len(self._windows)

    def match(self, text: str) -> str | None:
        """The name of a benchmark task that `text` has a run in common with, or None."""
        known = self._ids
        ids = [known.get(token, -1) for token in tokens(text)]
        if len(ids) < NUM_WINDOW_TOKENS:
            return None
        hashes = _hashes(np.array(ids, dtype=np.int64))
        for start in np.flatnonzero(self._table[hashes >> _TABLE_SHIFT]).tolist():
            window = tuple(ids[start : start + NUM_WINDOW_TOKENS])
            task = self._windows.get(window)
            if task is not None:
                return task
            for solution, name in self._solutions.get(window, ()):
                if tuple(ids[start : start + len(solution)]) == solution:
                    return name
        return None

    def _add(self, task: BenchmarkTask) -> None:
        name = f"{task.benchmark}: {task.name}"
        words = tokens(_IMPORT.sub("", task.text))
        ids = self._numbered(words)
        for start in range(len(ids) - NUM_WINDOW_TOKENS + 1):
            end = start + NUM_WINDOW_TOKENS
            if is_telling(words[start:end]):
                self._windows.setdefault(ids[start:end], name)
        solution = self._numbered(tokens(_IMPORT.sub("", task.solution)))
        if len(solution) >= NUM_WINDOW_TOKENS:
            self._solutions.setdefault(solution[:NUM_WINDOW_TOKENS], []).append((solution, name))

    def _numbered(self, words: Iterable[str]) -> _Run:
        return tuple(self._ids.setdefault(word, len(self._ids)) for word in words)


_Run = tuple[int, ...]
"""The numbers of consecutive tokens."""


def tokens(text: str) -> list[str]:
    """The tokens of `text` in lower case, as this module's docstring defines them."""
    return _TOKEN.findall(text.lower())


def is_telling(window: Iterable[str]) -> bool:
    """Whether a run of tokens holds enough words of its own to point to one text."""
    words = {
        token
        for token in window
        if len(token) >= MIN_OWN_WORD_CHARS and _WORD.fullmatch(token) and token not in _COMMON
    }
    return len(words) >= MIN_OWN_WORDS


def _hashes(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """ids [N] -> [N - NUM_WINDOW_TOKENS + 1]: a hash for each window."""
    num_windows = len(ids) - NUM_WINDOW_TOKENS + 1
    unsigned = ids.astype(np.uint64)
    hashes = np.zeros(num_windows, dtype=np.uint64)
    for offset in range(NUM_WINDOW_TOKENS):
        hashes = hashes * _HASH_BASE + unsigned[offset : offset + num_windows]
    return hashes
