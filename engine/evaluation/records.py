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

LOG_VERSION = 2


class RecordsError(EngineError):
    """A file of results that cannot be continued, read or written; one sentence."""


@dataclass(frozen=True, slots=True)
class GoldResult:
    """How the right text of a row fared in the sandbox."""

    task_id: str
    cluster: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One answer of an engine: its text, and how it came about. Figures are made from it later.

    configuration: label of the `Configuration` that was asked; decoding_mode: the mode that ran.
    verdict: None in suites without tests. tokens to gate_features: as in
    `engine.messages.completion.Facts`. wall_ms: from sending the request to the whole answer;
    engine_ms: the engine's own total.
    """

    configuration: str
    task_id: str
    cluster: str
    language: str
    kind: str
    text: str
    gold: str
    verdict: Verdict | None
    detail: str
    tokens: int
    forwards: int
    num_near_ties: int
    num_cycles: int
    num_drafted_tokens: int
    num_accepted_tokens: int
    gated: bool
    gate_features: dict[str, float]
    wall_ms: float
    engine_ms: float
    finish_reason: str
    decoding_mode: str
    route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a row's result depends on; runs that differ in it must not share a file."""

    suite: str
    data: str
    data_sha256: str
    max_tokens: int
    stop_rules: bool
    gate: bool
    shares_prefill: bool

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> RunSettings:
        """Raises KeyError for a missing field."""
        return cls(**{each.name: body[each.name] for each in fields(cls)})

    def differences(self, other: RunSettings) -> str:
        """``max_tokens (64, now 32)`` for each field in which `other` is not the same."""
        return _differences(asdict(self), asdict(other))


@dataclass(slots=True)
class RunLog:
    """Results in memory and, with a path, on the disk: one line each, flushed at once.

    Made by `create`, `resume` or `read`; `begin` must be called once before results are added.
    """

    path: Path | None
    settings: RunSettings | None = None
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of an engine -> the facts of its /health that shape its answers."""
    gold: dict[str, GoldResult] = field(default_factory=dict)
    rows: dict[tuple[str, str], RowResult] = field(default_factory=dict)
    """By (configuration, task_id)."""
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
        num_whole_bytes = log._take_all(raw)
        try:
            if num_whole_bytes < len(raw):
                with path.open("r+b") as file:
                    file.truncate(num_whole_bytes)
        except OSError as error:
            raise RecordsError(f"{path} cannot be written ({error.strerror}).") from None
        return log

    @classmethod
    def read(cls, path: Path) -> RunLog:
        """The results at `path`, which is left as it is. Raises RecordsError."""
        log = cls(path)
        try:
            log._take_all(path.read_bytes())
        except OSError as error:
            raise RecordsError(f"{path} cannot be read ({error.strerror}).") from None
        return log

    def check(self, settings: RunSettings) -> None:
        """Raises RecordsError when the results so far were made with other settings."""
        if self.settings is not None and self.settings != settings:
            raise RecordsError(
                f"{self.path} was made with other settings: "
                f"{self.settings.differences(settings)}; choose another --out."
            )

    def begin(self, settings: RunSettings) -> None:
        """Open the file for adding, once. Raises RecordsError, also as `check` does."""
        self.check(settings)
        if self._file is not None:
            return
        is_new = self.settings is None
        self.settings = settings
        if self.path is None:
            return
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise RecordsError(f"{self.path} cannot be written ({error.strerror}).") from None
        if is_new:
            self._write({"line": "header", "version": LOG_VERSION, "settings": asdict(settings)})

    def begin_engine(self, name: str, facts: dict[str, Any]) -> None:
        """Say what engine answers under `name` from here on. Raises RecordsError when results of
        another one are there under the same name."""
        known = self.engines.get(name)
        if known is None:
            self.engines[name] = facts
            self._write({"line": "engine", "name": name, "facts": facts})
        elif known != facts:
            raise RecordsError(
                f"{self.path} was made with another engine: {_differences(known, facts)}; "
                "choose another --out."
            )

    def add_gold(self, result: GoldResult) -> None:
        self.gold[result.task_id] = result
        self._write({"line": "gold", **asdict(result)})

    def add_row(self, result: RowResult) -> None:
        self.rows[result.configuration, result.task_id] = result
        self._write({"line": "row", **asdict(result)})

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

    def results_of(self, configuration: str, task_ids: Iterable[str]) -> list[RowResult]:
        """Its results for those of `task_ids` that have one, in their order."""
        keys = ((configuration, name) for name in task_ids)
        return [self.rows[key] for key in keys if key in self.rows]

    def _take_all(self, raw: bytes) -> int:
        """Read whole lines; returns how many bytes they are. Raises RecordsError."""
        whole = raw[: raw.rfind(b"\n") + 1]
        try:
            for line in whole.decode("utf-8").split("\n")[:-1]:
                self._take(json.loads(line))
            if whole and self.settings is None:
                raise KeyError("header")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RecordsError(
                f"{self.path} is not a file of results of this version; choose another file."
            ) from None
        return len(whole)

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.pop("line")
        if kind == "header":
            if line["version"] != LOG_VERSION:
                raise ValueError("another version")
            self.settings = RunSettings.from_json(line["settings"])
        elif kind == "engine":
            self.engines[line["name"]] = dict(line["facts"])
        elif kind == "gold":
            gold = GoldResult(**line)
            self.gold[gold.task_id] = gold
        elif kind == "row":
            row = RowResult(**line)
            self.rows[row.configuration, row.task_id] = row
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


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} ({old.get(name)}, now {new.get(name)})"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )
