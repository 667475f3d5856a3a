"""RepairRequest and Repair: doubtful tokens of a selection written anew, over POST /v1/repair.

Validated here for the HTTP interface and the language server alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from engine.messages.completion import PRIORITIES, Facts, FinishReason, Priority
from engine.messages.fields import Check, FieldError, checked_fields, one_of, real, text, whole

MAX_SPANS = 64
MAX_SELECTION_CHARS = 20_000
Span = tuple[int, int]
"""Characters [start, end) of a text, in code points."""


class Confidence(NamedTuple):
    """Mean probability per token of what stood in a span, and of what stands there now."""

    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRequest:
    """A selection in which some tokens are to be judged and written anew.

    text: the selection; prefix and suffix stand left and right of it. spans: the parts of it that
    are in doubt, in any order; None = the least likely tokens, at most the share `max_share` of
    all, but at least one. deadline_ms counts from the arrival of the request; when it passes, the
    repairs accepted so far are returned. The other fields are those of CompletionRequest.
    """

    text: str
    prefix: str = ""
    suffix: str = ""
    spans: tuple[Span, ...] | None = None
    max_share: float = 0.2
    max_tokens: int = 64
    model: str | None = None
    deadline_ms: float | None = None
    document: str | None = None
    priority: Priority = "interactive"
    client: str | None = None

    def __post_init__(self) -> None:
        for start, end in self.spans or ():
            if not 0 <= start <= end <= len(self.text):
                raise FieldError("spans", f"[{start}, {end}] does not lie within text.")

    @classmethod
    def from_json(cls, body: object) -> RepairRequest:
        """Validate a decoded JSON body. Raises FieldError naming the first field that is wrong."""
        return cls(**checked_fields(cls, body, _CHECKS, "text"))

    def to_json(self) -> dict[str, Any]:
        """The JSON body that `from_json` reads back to an equal request."""
        body = {known.name: getattr(self, known.name) for known in fields(self)}
        if self.spans is not None:
            body["spans"] = [list(span) for span in self.spans]
        return {name: value for name, value in body.items() if value is not None}

    def unrepaired(self, model: str, why: FinishReason, reason: str, queue_ms: float) -> Repair:
        """The answer when the engine never began: the text as it is. reason: one sentence."""
        return Repair(
            model=model,
            text=self.text,
            spans=(),
            confidences=(),
            score_before=None,
            score_after=None,
            finish_reason=why,
            facts=Facts.of_no_work(reason, queue_ms),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The answer: the selection with what was found better.

    spans: what has changed, in the new text and in its order (an empty span = text was only taken
    out), each with its confidences. score_before / score_after: mean log-probability per token of
    the selection under a causal pass, None when there was no time to judge it; the latter is never
    the lower one.
    """

    model: str
    text: str
    spans: tuple[Span, ...]
    confidences: tuple[Confidence, ...]
    score_before: float | None
    score_after: float | None
    finish_reason: FinishReason
    facts: Facts

    def to_json(self) -> dict[str, Any]:
        return {
            "object": "repair",
            "model": self.model,
            "text": self.text,
            "spans": [list(span) for span in self.spans],
            "confidences": [list(confidence) for confidence in self.confidences],
            "score_before": self.score_before,
            "score_after": self.score_after,
            "finish_reason": self.finish_reason,
            "nemodiff": self.facts.to_json(),
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Repair:
        return cls(
            model=body["model"],
            text=body["text"],
            spans=tuple((int(start), int(end)) for start, end in body["spans"]),
            confidences=tuple(Confidence(*pair) for pair in body["confidences"]),
            score_before=body["score_before"],
            score_after=body["score_after"],
            finish_reason=body["finish_reason"],
            facts=Facts.from_json(body["nemodiff"]),
        )


def _selection(name: str, value: object) -> str:
    found = text(name, value)
    if len(found) > MAX_SELECTION_CHARS:
        raise FieldError(name, f"must hold at most {MAX_SELECTION_CHARS} characters.")
    return found


def _spans(name: str, value: object) -> tuple[Span, ...]:
    if not isinstance(value, (list, tuple)):
        raise FieldError(name, "must be a list of [start, end] pairs.")
    if len(value) > MAX_SPANS:
        raise FieldError(name, f"must hold at most {MAX_SPANS} pairs.")
    return tuple(_span(name, pair) for pair in value)


def _span(name: str, value: object) -> Span:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise FieldError(name, "must be a list of [start, end] pairs.")
    index = whole(0, MAX_SELECTION_CHARS)
    start, end = index(name, value[0]), index(name, value[1])
    return start, end


_CHECKS: dict[str, Check] = {
    "text": _selection,
    "prefix": text,
    "suffix": text,
    "spans": _spans,
    "max_share": real(0.0, 1.0),
    "max_tokens": whole(1, 256),
    "model": text,
    "deadline_ms": real(1.0, 3_600_000.0),
    "document": text,
    "priority": one_of(PRIORITIES),
    "client": text,
}
