"""Settings: what the user may choose, and the only home of the defaults.

`settings_sources.py` gathers the values from every place they may come from; a value that cannot
be used is named to the user and its default taken; the server goes on. `docs/settings.md` is
written from this class by `python -m nemodiff_lsp.settings.table`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Literal, get_args

from engine.messages.completion import (
    MAX_BLOCK_SIZE,
    MAX_CHOICES,
    MAX_TOKENS_LIMIT,
    MIN_BLOCK_SIZE,
    MODES,
    Mode,
)
from nemodiff_lsp.settings.values import (
    ValueProblem,
    boolean,
    choice,
    real,
    setting,
    spec_of,
    text,
    texts,
    whole,
)

SECTION = "nemodiff"
"""Name of our part of the client's configuration."""

Multiline = Literal["auto", "always", "never"]
OnBattery = Literal["reduce", "same"]
CONTEXT_SOURCES = ("imports", "recent", "neighbours")

_MIN_CHARS, _MAX_CHARS = 100, 1_000_000
_MAX_DEADLINE_MS = 3_600_000.0
_CLOSE_ENOUGH = 0.75

# What clients put beside our settings into initializationOptions. `trust.py` reads isTrusted.
_NOT_SETTINGS = (
    *("isTrusted", "editorInfo", "editorPluginInfo", "copilotIntegrationId"),
    *("status", "nemodiff.status"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys are the camelCase forms of these names (`maxTokens`), directly or under `nemodiff`.

    None stands for a choice that is made elsewhere: by the client's profile for the three times in
    milliseconds, by the engine for the decoding options and the model.
    """

    # setting() returns a field that carries its facts, which the linter cannot know.

    enabled: bool = setting(True, "offer completions at all", boolean())
    enabled_languages: tuple[str, ...] = setting(
        (), "language ids that get completions; an empty list means all", texts()
    )
    disabled_languages: tuple[str, ...] = setting(
        (), "language ids that get none, whatever `enabledLanguages` says", texts()
    )
    mode: Mode = setting("auto", "how the engine decodes", choice(MODES))  # noqa: RUF009
    multiline: Multiline = setting(  # noqa: RUF009
        "auto",
        "more than one line: where the grammar asks for it, always, or never",
        choice(get_args(Multiline)),
    )
    max_tokens: int = setting(64, "longest completion, in tokens", whole(1, MAX_TOKENS_LIMIT))
    num_alternatives: int = setting(
        3, "candidates when a completion is asked for by key", whole(1, MAX_CHOICES)
    )
    deadline_ms: float | None = setting(
        None,
        "after this the best draft so far is shown, for a completion that comes by itself",
        real(1.0, _MAX_DEADLINE_MS),
        automatic="by the editor's profile, mostly 400",
    )
    invoked_deadline_ms: float | None = setting(
        None,
        "the same for a completion that is asked for by key",
        real(1.0, _MAX_DEADLINE_MS),
        automatic="by the editor's profile, mostly 2000",
    )
    debounce_ms: float | None = setting(
        None,
        "how long the server waits for the next key before it asks the engine",
        real(0.0, 5_000.0),
        automatic="by the editor's profile and the engine's measured speed",
    )
    max_requests_per_second: float = setting(
        10.0, "upper bound of requests to the engine", real(0.1, 1_000.0)
    )
    speculative_start: bool = setting(
        True, "begin to work at a change, while the editor still waits", boolean()
    )
    prefetch: bool = setting(
        True, "prepare what follows a completion that has been shown or taken", boolean()
    )
    on_battery: OnBattery = setting(  # noqa: RUF009
        "reduce",
        "without mains power: no speculative work, or the same as ever",
        choice(get_args(OnBattery)),
    )
    reuse: bool = setting(
        True, "answer from the offer while it is typed out, and from recent answers", boolean()
    )
    context: bool = setting(
        False, "use pieces of other files of the project: a longer prompt", boolean()
    )
    context_sources: tuple[str, ...] = setting(
        ("neighbours",), "where these pieces may come from", texts(CONTEXT_SOURCES)
    )
    max_context_chars: int = setting(
        6_000, "how much of other files is sent to the engine", whole(0, _MAX_CHARS)
    )
    max_prefix_chars: int = setting(
        16_000,
        "text before the cursor that is sent to the engine",
        whole(_MIN_CHARS, _MAX_CHARS),
    )
    max_suffix_chars: int = setting(
        4_000,
        "text after the cursor that is sent to the engine",
        whole(_MIN_CHARS, _MAX_CHARS),
    )
    max_file_chars: int = setting(
        1_000_000,
        "longer files get no completions and are no context",
        whole(_MIN_CHARS, 100_000_000),
    )
    max_line_chars: int = setting(
        5_000,
        "files with a longer line count as generated: no completions, no context",
        whole(_MIN_CHARS, _MAX_CHARS),
    )
    exclude_patterns: tuple[str, ...] = setting(
        (),
        "files to leave out, as in `.gitignore`; the lists of all places are joined",
        texts(),
    )
    statistics: bool = setting(True, "count shown and taken completions, on disk here", boolean())
    block_size: int | None = setting(
        None,
        "tokens that are denoised together",
        whole(MIN_BLOCK_SIZE, MAX_BLOCK_SIZE),
        automatic="the engine's choice",
    )
    confidence_threshold: float | None = setting(
        None,
        "how sure the model must be of a token",
        real(0.0, 1.0),
        automatic="the engine's choice",
    )
    max_denoising_steps: int | None = setting(
        None, "passes per block", whole(1, 4_096), automatic="the engine's choice"
    )
    temperature: float = setting(0.0, "0 takes the likeliest token", real(0.0, 2.0))
    seed: int | None = setting(
        None, "for sampling", whole(-(2**63), 2**63 - 1), automatic="a new one each time"
    )
    model: str | None = setting(
        None,
        "name, folder or hub id of the model for an engine that is started",
        text(),
        scope="machine",
        automatic="the engine's default",
    )
    engine_socket: str | None = setting(
        None,
        "Unix socket of the engine",
        text(),
        scope="machine",
        automatic="the user's own engine",
    )
    engine_url: str | None = setting(
        None,
        "an engine elsewhere; your code goes there",
        text(),
        scope="machine",
        automatic="the user's own engine",
    )
    engine_token_file: str | None = setting(
        None,
        "file with the token for `engineUrl`",
        text(),
        scope="machine",
        automatic="the variable `NEMODIFF_ENGINE_TOKEN`",
    )
    trusted: bool | None = setting(
        None,
        "false: the opened folder's `.nemodiff.toml` is not read",
        boolean(),
        scope="machine",
        automatic="what the editor says; if it says nothing, true",
    )

    def is_enabled_for(self, language_id: str | None) -> bool:
        """Whether documents of this language get completions at all."""
        if not self.enabled or language_id in self.disabled_languages:
            return False
        return not self.enabled_languages or language_id in self.enabled_languages


FIELDS: dict[str, Field[Any]] = {}
"""The dataclass's fields by their keys."""


def key_of(name: str) -> str:
    """The key of a field: `maxTokens` of `max_tokens`."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


FIELDS.update({key_of(known.name): known for known in fields(Settings)})


@dataclass(frozen=True, slots=True)
class Layer:
    """The usable values of one place, by field name, and a sentence for each unusable one."""

    values: Mapping[str, Any]
    problems: tuple[str, ...] = ()


def parse_settings(values: object) -> tuple[Settings, list[str]]:
    """Settings of a decoded JSON object alone, and one sentence for each key that is unusable.

    `values` holds the keys directly or under `nemodiff`; None means all defaults.
    """
    layer = read_layer(values)
    return Settings(**layer.values), list(layer.problems)


def read_layer(values: object, *, place: str = "") -> Layer:
    """The values of one place, checked. `place` ends the sentences: "in your settings.toml"."""
    given = section_of(values)
    if given is None:
        given = values if values is not None else {}
    if not isinstance(given, Mapping):
        return Layer({}, (f"NemoDiff's settings{_in(place)} must be an object; they are ignored.",))
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in given.items():
        known = FIELDS.get(key) if isinstance(key, str) else None
        if known is None:
            if key not in _NOT_SETTINGS:
                problems.append(_unknown(str(key), place))
        elif value is not None:
            try:
                chosen[known.name] = spec_of(known).kind.check(value)
            except ValueProblem as problem:
                problems.append(wrong_value(key, place, problem))
    return Layer(chosen, tuple(problems))


def wrong_value(key: str, place: str, problem: ValueProblem) -> str:
    """The sentence for a value that cannot be used. It does not repeat the value."""
    known = FIELDS[key]
    default = known.default
    shown = spec_of(known).automatic_default() if default is None else repr(default)
    if isinstance(default, tuple):
        shown = repr(list(default))
    return f"NemoDiff setting {key!r}{_in(place)} {problem}; it is ignored (default: {shown})."


def section_of(values: object) -> object | None:
    """Our section of a client's whole configuration, or None when it has none."""
    return values.get(SECTION) if isinstance(values, Mapping) else None


def nearest_key(key: str) -> str | None:
    """The key that was probably meant: the same letters, or nearly."""
    plain = {_letters(known): known for known in FIELDS}
    close = difflib.get_close_matches(_letters(key), plain, n=1, cutoff=_CLOSE_ENOUGH)
    return plain[close[0]] if close else None


def _unknown(key: str, place: str) -> str:
    near = nearest_key(key)
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"NemoDiff setting {key[:80]!r}{_in(place)} is not known and ignored{hint}."


def _letters(key: str) -> str:
    return "".join(each for each in key[:80].casefold() if each.isalnum())


def _in(place: str) -> str:
    return f" {place}" if place else ""
