"""FillRequest and Fill: several holes of one text filled jointly, over POST /v1/fill.

Validated here for the HTTP interface and the language server alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from engine.messages.completion import (
    MAX_TOKENS_LIMIT,
    MODES,
    PRIORITIES,
    Facts,
    FinishReason,
    Mode,
    Priority,
)
from engine.messages.fields import Check, FieldError, checked_fields, one_of, real, text, whole

MIN_PIECES, MAX_PIECES = 2, 64
MAX_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """All holes of one text to be filled, each in the light of the others.

    pieces: the texts around the holes in their order, one more than there are holes. max_tokens:
    for each hole. num_rounds: how often every hole is filled; from the second round on it sees what
    all others hold, and rounds end early when nothing changes. deadline_ms counts from the arrival
    of the request; when it passes, the best texts so far are returned. The other fields are those
    of CompletionRequest.
    """

    pieces: tuple[str, ...]
    max_tokens: int = 64
    num_rounds: int = 2
    mode: Mode = "auto"
    model: str | None = None
    deadline_ms: float | None = None
    document: str | None = None
    priority: Priority = "interactive"
    client: str | None = None

    @property
    def num_holes(self) -> int:
        return len(self.pieces) - 1

    @classmethod
    def from_json(cls, body: object) -> FillRequest:
        """Validate a decoded JSON body. Raises FieldError naming the first field that is wrong."""
        return cls(**checked_fields(cls, body, _CHECKS, "pieces"))

    def to_json(self) -> dict[str, Any]:
        """The JSON body that `from_json` reads back to an equal request."""
        body = {known.name: getattr(self, known.name) for known in fields(self)}
        body["pieces"] = list(self.pieces)
        return {name: value for name, value in body.items() if value is not None}

    def unfilled(self, model: str, why: FinishReason, reason: str, queue_ms: float) -> Fill:
        """The answer when the engine never began: empty texts. reason: one sentence."""
        return Fill(
            model=model,
            texts=("",) * self.num_holes,
            finish_reasons=(why,) * self.num_holes,
            num_rounds=0,
            facts=Facts.of_no_work(reason, queue_ms),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """The answer: one text per hole. num_rounds: rounds that were begun. A hole whose turn never
    came has an empty text and says ``deadline`` or ``cancelled``. facts: over all holes."""

    model: str
    texts: tuple[str, ...]
    finish_reasons: tuple[FinishReason, ...]
    num_rounds: int
    facts: Facts

    def to_json(self) -> dict[str, Any]:
        return {
            "object": "fill",
            "model": self.model,
            "texts": list(self.texts),
            "finish_reasons": list(self.finish_reasons),
            "num_rounds": self.num_rounds,
            "nemodiff": self.facts.to_json(),
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Fill:
        return cls(
            model=body["model"],
            texts=tuple(body["texts"]),
            finish_reasons=tuple(body["finish_reasons"]),
            num_rounds=body["num_rounds"],
            facts=Facts.from_json(body["nemodiff"]),
        )


def _pieces(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise FieldError(name, "must be a list of strings.")
    if not MIN_PIECES <= len(value) <= MAX_PIECES:
        raise FieldError(
            name, f"must hold {MIN_PIECES} to {MAX_PIECES} strings, one more than there are holes."
        )
    if not all(isinstance(piece, str) for piece in value):
        raise FieldError(name, "must be a list of strings.")
    return tuple(text(name, piece) for piece in value)


_CHECKS: dict[str, Check] = {
    "pieces": _pieces,
    "max_tokens": whole(1, MAX_TOKENS_LIMIT),
    "num_rounds": whole(1, MAX_ROUNDS),
    "mode": one_of(MODES),
    "model": text,
    "deadline_ms": real(1.0, 3_600_000.0),
    "document": text,
    "priority": one_of(PRIORITIES),
    "client": text,
}
