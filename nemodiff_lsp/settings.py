"""Settings: what the user may choose in the editor, and the only home of the defaults.

Parsed by `server.py` from initializationOptions and workspace/didChangeConfiguration. A value that
cannot be used is named to the user and its default taken; the server goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.messages.completion import CompletionRequest, FieldError, Mode

SECTION = "nemodiff"
"""Name of our part of the client's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys are the camelCase forms of these names (`maxTokens`), directly or under `nemodiff`.

    deadline_ms / invoked_deadline_ms: when the best draft so far is shown, for a completion that
    came by itself / that was asked for by a key. num_alternatives: how many are asked for by a
    key. max_prefix_chars / max_suffix_chars: how much text around the cursor is sent to the engine
    (characters; the engine takes fewer tokens of it, by its own settings).
    """

    enabled: bool = True
    mode: Mode = "auto"
    max_tokens: int = 64
    block_size: int | None = None
    confidence_threshold: float | None = None
    max_denoising_steps: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    deadline_ms: float = 5_000.0
    invoked_deadline_ms: float = 20_000.0
    num_alternatives: int = 3
    max_prefix_chars: int = 16_000
    max_suffix_chars: int = 4_000


# Settings that are request fields of another name; all the others bear the field's own name.
_REQUEST_FIELD = {"invoked_deadline_ms": "deadline_ms", "num_alternatives": "n"}
_MIN_CHARS, _MAX_CHARS = 100, 1_000_000


def parse_settings(values: object) -> tuple[Settings, list[str]]:
    """Settings of a decoded JSON object, and one sentence for each key that cannot be used.

    `values` holds the keys directly or under `nemodiff`; None means all defaults.
    """
    given = section_of(values)
    if given is None:
        given = values if values is not None else {}
    if not isinstance(given, Mapping):
        return Settings(), ["NemoDiff's settings must be an object; the defaults are used."]
    names = {_camel_case(field.name): field for field in fields(Settings)}
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in given.items():
        field = names.get(key)
        if field is None:
            problems.append(f"NemoDiff setting {key!r} is not known and ignored.")
        elif value is not None:
            try:
                chosen[field.name] = _checked(field.name, value)
            except FieldError as error:
                problem = str(error).removeprefix(f"{error.field}: ").rstrip(".")
                default = "automatic" if field.default is None else repr(field.default)
                problems.append(f"NemoDiff setting {key!r} {problem}; {default} is used instead.")
    return Settings(**chosen), problems


def section_of(values: object) -> object | None:
    """Our section of a client's whole configuration, or None when it has none."""
    return values.get(SECTION) if isinstance(values, Mapping) else None


def _checked(name: str, value: object) -> Any:
    """The value as the setting's type. Raises FieldError when it cannot be used."""
    if name == "enabled":
        if not isinstance(value, bool):
            raise FieldError(name, "must be true or false.")
        return value
    if name in ("max_prefix_chars", "max_suffix_chars"):
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not _MIN_CHARS <= int(str(value)) <= _MAX_CHARS:
            problem = f"must be a whole number between {_MIN_CHARS} and {_MAX_CHARS}."
            raise FieldError(name, problem)
        return value
    # The ranges of the engine's own fields live in one place: the request class.
    field = _REQUEST_FIELD.get(name, name)
    request = CompletionRequest.from_json({"prompt": "", field: value})
    return getattr(request, field)


def _camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
