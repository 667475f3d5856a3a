"""CompletionRequest and Completion: OpenAI's completions schema plus NemoDiff's own fields.

Validated here once, for the HTTP interface, the command line and the language server alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from engine.messages.fields import FieldError as FieldError
from engine.messages.fields import boolean, one_of, real, text, whole

Mode = Literal["auto", "ar", "diffusion", "linear_spec", "quad_spec"]
Priority = Literal["interactive", "speculative"]
FinishReason = Literal["stop", "length", "deadline", "cancelled"]
MODES: tuple[str, ...] = get_args(Mode)
PRIORITIES: tuple[str, ...] = get_args(Priority)

MIN_BLOCK_SIZE, MAX_BLOCK_SIZE = 8, 32
MAX_TOKENS_LIMIT = 4096
MAX_CHOICES = 8
MAX_STOP_STRINGS = 16
MAX_SNIPPETS = 64

# Fields that OpenAI clients send as a matter of course. Each is accepted only at the value that
# means "do nothing", because the engine does not implement it.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, 0, False),
    "presence_penalty": (None, 0),
    "stream_options": (None,),
}
_IGNORED = ("user", "stream_options")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file that may help; path: as a reader of the project would name it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One completion asked for.

    prompt / suffix: text before / after the cursor. block_size, confidence_threshold and
    max_denoising_steps default to the engine's own choice (None). deadline_ms counts from the
    arrival of the request; when it passes, the best draft so far is returned. document is an
    opaque id under which the engine may keep the KV of this prompt for the next request.
    stop_rules switches the rules of `engine.infill.stops` off (end tokens and `stop` stay on).
    gate: in mode ``auto``, offer nothing (an empty text) where `engine.infill.gate` judges so;
    false = text is wanted in any case, so the first new token is no end token.
    priority: ``speculative`` work runs only while nothing ``interactive`` waits, and is the first
    to be dropped. draft: what the caller thinks the answer will be; it saves forwards where it is
    right and, but in mode ``diffusion``, changes nothing where it is not (`engine.decoding.hint`;
    unused at a temperature and where lengths are searched). context: pieces of other files, best
    first; path: of the completed file, named in the prompt beside them. While typing only appends
    to a prompt of `document`, it keeps the context it began with. client: an opaque id; clients
    share the engine fairly.
    """

    prompt: str
    suffix: str = ""
    model: str | None = None
    mode: Mode = "auto"
    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    stream: bool = False
    block_size: int | None = None
    confidence_threshold: float | None = None
    max_denoising_steps: int | None = None
    deadline_ms: float | None = None
    document: str | None = None
    stop_rules: bool = True
    gate: bool = True
    priority: Priority = "interactive"
    draft: str = ""
    context: tuple[Snippet, ...] = ()
    path: str | None = None
    client: str | None = None

    @classmethod
    def from_json(cls, body: object) -> CompletionRequest:
        """Validate a decoded JSON body. Raises FieldError naming the first field that is wrong."""
        if not isinstance(body, dict):
            raise FieldError("body", "must be a JSON object.")
        known = {known.name for known in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in body.items():
            if name in known:
                # OpenAI's schema allows null for "use the default".
                if value is not None:
                    values[name] = _CHECKS[name](name, value)
            elif name in _NEUTRAL or name in _IGNORED:
                if name not in _IGNORED and value not in _NEUTRAL[name]:
                    raise FieldError(name, f"is not supported (only {_NEUTRAL[name][-1]!r}).")
            else:
                raise FieldError(str(name), "is not a field of this interface.")
        if "prompt" not in values:
            raise FieldError("prompt", "is missing.")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The JSON body that `from_json` reads back to an equal request."""
        body = {known.name: getattr(self, known.name) for known in fields(self)}
        body["stop"] = list(self.stop)
        body["context"] = [{"path": each.path, "text": each.text} for each in self.context]
        return {name: value for name, value in body.items() if value is not None}


def _snippets(name: str, value: object) -> tuple[Snippet, ...]:
    if not isinstance(value, (list, tuple)):
        raise FieldError(name, "must be a list of objects with path and text.")
    if len(value) > MAX_SNIPPETS:
        raise FieldError(name, f"must hold at most {MAX_SNIPPETS} pieces.")
    return tuple(_snippet(name, each) for each in value)


def _snippet(name: str, value: object) -> Snippet:
    if not isinstance(value, dict) or set(value) != {"path", "text"}:
        raise FieldError(name, "must be a list of objects with path and text.")
    return Snippet(text(name, value["path"]), text(name, value["text"]))


def _stop(name: str, value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(s, str) and s for s in items):
        raise FieldError(name, "must be a non-empty string or a list of them.")
    if len(items) > MAX_STOP_STRINGS:
        raise FieldError(name, f"must hold at most {MAX_STOP_STRINGS} strings.")
    return tuple(text(name, item) for item in items)


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "prompt": text,
    "suffix": text,
    "model": text,
    "mode": one_of(MODES),
    "max_tokens": whole(1, MAX_TOKENS_LIMIT),
    "temperature": real(0.0, 2.0),
    "top_p": real(1e-6, 1.0),
    "seed": whole(-(2**63), 2**63 - 1),
    "n": whole(1, MAX_CHOICES),
    "stop": _stop,
    "stream": boolean,
    "block_size": whole(MIN_BLOCK_SIZE, MAX_BLOCK_SIZE),
    "confidence_threshold": real(0.0, 1.0),
    "max_denoising_steps": whole(1, 4096),
    "deadline_ms": real(1.0, 3_600_000.0),
    "document": text,
    "stop_rules": boolean,
    "gate": boolean,
    "priority": one_of(PRIORITIES),
    "draft": text,
    "context": _snippets,
    "path": text,
    "client": text,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How an answer came about; sent as the ``nemodiff`` object.

    mode: the decoding mode that ran (never ``auto``). route: ``fim`` or ``left_to_right``;
    route_reason says why in one sentence. Both are ``none`` when the deadline passed before the
    engine could begin. forwards: model passes after the prefill, whose own
    passes are prefill_forwards; tokens: tokens emitted, end tokens included, over all choices.
    score: mean log-probability per emitted token under the pass that chose it, the causal one in
    every verified mode (None when no token was emitted). num_near_ties: emitted tokens whose two
    best logits lay within the rounding of the dtype in use, where another batch shape might choose
    differently. num_cycles: verify passes of speculation over all choices; of num_drafted_tokens
    laid before them they agreed with num_accepted_tokens. num_hinted_tokens: tokens of the
    request's own draft that were judged; num_right_hints of them are part of the answer. gated: a
    text was withheld by the gate; gate_features: what it looks at, of the first choice, whether it
    is in force or not.
    """

    mode: str
    route: str
    route_reason: str
    forwards: int
    prefill_forwards: int
    tokens: int
    score: float | None
    num_near_ties: int
    cached_tokens: int
    timings_ms: dict[str, float]
    num_cycles: int = 0
    num_drafted_tokens: int = 0
    num_accepted_tokens: int = 0
    num_hinted_tokens: int = 0
    num_right_hints: int = 0
    gated: bool = False
    gate_features: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_no_work(cls, reason: str, queue_ms: float) -> Facts:
        """Of an answer that the engine never began; reason: why, in one sentence."""
        return cls(
            mode="none",
            route="none",
            route_reason=reason,
            forwards=0,
            prefill_forwards=0,
            tokens=0,
            score=None,
            num_near_ties=0,
            cached_tokens=0,
            timings_ms={"queue": round(queue_ms, 3)},
        )

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / self.forwards if self.forwards else 0.0

    @property
    def tokens_per_cycle(self) -> float:
        """Acceptance length: the accepted drafts of a cycle and the verify pass's own token."""
        return 1 + self.num_accepted_tokens / self.num_cycles if self.num_cycles else 0.0

    def to_json(self) -> dict[str, Any]:
        body = {known.name: getattr(self, known.name) for known in fields(self)}
        body["tokens_per_forward"] = round(self.tokens_per_forward, 3)
        body["tokens_per_cycle"] = round(self.tokens_per_cycle, 3)
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Facts:
        return cls(**{known.name: body[known.name] for known in fields(cls)})


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate text. With finish_reason ``deadline`` it is the best draft so far."""

    index: int
    text: str
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The whole answer to one CompletionRequest."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    facts: Facts

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                {
                    "index": choice.index,
                    "text": choice.text,
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in self.choices
            ],
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens + self.completion_tokens,
            },
            "nemodiff": self.facts.to_json(),
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Completion:
        return cls(
            id=body["id"],
            created=body["created"],
            model=body["model"],
            choices=tuple(
                Choice(c["index"], c["text"], c["finish_reason"]) for c in body["choices"]
            ),
            prompt_tokens=body["usage"]["prompt_tokens"],
            completion_tokens=body["usage"]["completion_tokens"],
            facts=Facts.from_json(body["nemodiff"]),
        )
