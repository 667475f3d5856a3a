"""What was measured row by row, and RunLog: the JSON-lines file from which a run is resumed.

The file is the user's own result: unlike any log of this project it holds completions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from engine.errors import EngineError
from engine.evaluation.sandbox import Verdict

LOG_VERSION = 1


class RecordsError(EngineError):
    """A file of results that cannot be continued or written; one sentence."""


@dataclass(frozen=True, slots=True)
class GoldResult:
    """How the canonical solution of a row fared in the sandbox."""

    task_id: str
    base_task: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One answer of the engine and its verdict.

    mode: as asked for; decoding_mode: the one that ran. tokens, forwards, num_near_ties: as in
    `engine.messages.completion.Facts`. wall_ms: from sending the request to the whole answer;
    engine_ms: the engine's own total. matches: the text equals the canonical solution;
    matches_trimmed: it does when final newlines are left out on both sides.
    """

    task_id: str
    base_task: str
    mode: str
    text: str
    verdict: Verdict
    detail: str
    matches: bool
    matches_trimmed: bool
    tokens: int
    forwards: int
    num_near_ties: int
    wall_ms: float
    engine_ms: float
    finish_reason: str
    decoding_mode: str
    route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a row's result depends on; runs that differ in it must not share a file.

    engine: the facts of /health about the model that shape its answers.
    """

    suite: str
    data_sha256: str
    max_tokens: int
    stop_rules: bool
    engine: dict[str, Any]

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> RunSettings:
        """Raises KeyError for a missing field."""
        return cls(**{each.name: body[each.name] for each in fields(cls)})

    def differences(self, other: RunSettings) -> str:
        """``max_tokens (64, now 32)`` for each field in which `other` is not the same."""
        mine, others = asdict(self), asdict(other)
        return ", ".join(
            f"{name} ({mine[name]}, now {others[name]})"
            for name in mine
            if mine[name] != others[name]
        )


@dataclass(slots=True)
class RunLog:
    """Results in memory and, with a path, on the disk: one line each, flushed at once.

    Made by `create` or `resume`; `begin` must be called once before results are added.
    """

    path: Path | None
    settings: RunSettings | None = None
    gold: dict[str, GoldResult] = field(default_factory=dict)
    rows: dict[tuple[str, str], RowResult] = field(default_factory=dict)
    """By (mode, task_id)."""
    _file: IO[str] | None = None

    @classmethod
    def create(cls, path: Path | None) -> RunLog:
        """An empty log; None keeps results in memory only. Raises RecordsError."""
        if path is not None and path.exists():
            raise RecordsError(
                f"{path} holds results already; continue them with --resume, "
                "or choose another --out."
            )
        return cls(path)

    @classmethod
    def resume(cls, path: Path) -> RunLog:
        """The log at `path` as far as it got; an empty one if there is none.

        A last line that was cut short (the machine went down) is dropped. Raises RecordsError.
        """
        log = cls(path)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return log
        except OSError as error:
            raise RecordsError(f"{path} cannot be read ({error.strerror}).") from None
        whole = raw[: raw.rfind(b"\n") + 1]
        try:
            for line in whole.decode("utf-8").split("\n")[:-1]:
                log._take(json.loads(line))
            if whole and log.settings is None:
                raise KeyError("header")
            if whole != raw:
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        except (ValueError, KeyError, TypeError):
            raise RecordsError(
                f"{path} is not a file of results of this version; choose another --out."
            ) from None
        except OSError as error:
            raise RecordsError(f"{path} cannot be written ({error.strerror}).") from None
        return log

    def check(self, settings: RunSettings) -> None:
        """Raises RecordsError when the results so far were made with other settings."""
        if self.settings is not None and self.settings != settings:
            raise RecordsError(
                f"{self.path} was made with other settings: "
                f"{self.settings.differences(settings)}; choose another --out."
            )

    def begin(self, settings: RunSettings) -> None:
        """Open the file for adding. Raises RecordsError, also as `check` does."""
        self.check(settings)
        is_new = self.settings is None
        self.settings = settings
        if self.path is None:
            return
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise RecordsError(f"{self.path} cannot be written ({error.strerror}).") from None
        if is_new:
            self._write({"kind": "header", "version": LOG_VERSION, "settings": asdict(settings)})

    def add_gold(self, result: GoldResult) -> None:
        self.gold[result.task_id] = result
        self._write({"kind": "gold", **asdict(result)})

    def add_row(self, result: RowResult) -> None:
        self.rows[result.mode, result.task_id] = result
        self._write({"kind": "row", **asdict(result)})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def results_of(self, mode: str, task_ids: Iterable[str]) -> list[RowResult]:
        """The results of `mode` for those of `task_ids` that have one, in their order."""
        return [self.rows[mode, name] for name in task_ids if (mode, name) in self.rows]

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.pop("kind")
        if kind == "header":
            if line["version"] != LOG_VERSION:
                raise ValueError("another version")
            self.settings = RunSettings.from_json(line["settings"])
        elif kind == "gold":
            gold = GoldResult(**line)
            self.gold[gold.task_id] = gold
        elif kind == "row":
            row = RowResult(**line)
            self.rows[row.mode, row.task_id] = row
        else:
            raise ValueError("an unknown kind of line")

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise RecordsError(f"{self.path} cannot be written ({error.strerror}).") from None
