"""What one setting is: its documentation, its scope, and the check of a value from outside.

`settings.py` declares each setting with `setting()`; `settings_table.py` reads the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, Literal

Scope = Literal["machine", "workspace"]
"""machine: only the user's own places may set it; workspace: the opened folder's file may too."""

MAX_LIST_ITEMS = 1_000
MAX_TEXT_CHARS = 4_096

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_SPEC = "nemodiff"


class ValueProblem(ValueError):
    """A value that cannot be used; the message ends the sentence "the setting ... "."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a setting takes.

    check: the value as the dataclass keeps it; raises ValueProblem. read_text: the decoded form of
    an environment variable's text, for `check`; raises ValueProblem. bounds: for the table.
    """

    name: str
    bounds: str
    schema: dict[str, Any]
    check: Callable[[object], Any]
    read_text: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Spec:
    """The facts on one setting beside its name, type and default."""

    doc: str
    kind: Kind
    scope: Scope
    automatic: str

    def automatic_default(self) -> str:
        """What the default None means, in words."""
        return self.automatic or "automatic"


def setting(
    default: Any, doc: str, kind: Kind, *, scope: Scope = "workspace", automatic: str = ""
) -> Any:
    """A dataclass field that carries its facts. automatic: what a default of None stands for."""
    return field(default=default, metadata={_SPEC: Spec(doc, kind, scope, automatic)})


def spec_of(known: Field[Any]) -> Spec:
    """The facts that `setting()` has put on the field."""
    spec: Spec = known.metadata[_SPEC]
    return spec


def boolean() -> Kind:
    """true or false."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueProblem("must be true or false")
        return value

    def read_text(text: str) -> object:
        folded = text.strip().casefold()
        if folded in _TRUE + _FALSE:
            return folded in _TRUE
        raise ValueProblem("must be true or false")

    return Kind("boolean", "", {"type": "boolean"}, check, read_text)


def choice(known: tuple[str, ...]) -> Kind:
    """One of a few words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueProblem(f"must be one of {', '.join(known)}")
        return value

    bounds = ", ".join(f"`{each}`" for each in known)
    return Kind("word", bounds, {"type": "string", "enum": list(known)}, check, str.strip)


def whole(low: int, high: int) -> Kind:
    """A whole number from `low` to `high`, both included."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueProblem(f"must be a whole number between {low} and {high}")
        return value

    def read_text(text: str) -> object:
        try:
            return int(text)
        except ValueError:
            raise ValueProblem(f"must be a whole number between {low} and {high}") from None

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind("whole number", _span(low, high), schema, check, read_text)


def real(low: float, high: float) -> Kind:
    """A number from `low` to `high`, both included."""
    problem = f"must be a number between {low:.12g} and {high:.12g}"

    def check(value: object) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared before it is converted: JSON allows whole numbers that no float can hold. NaN
        # lies between nothing.
        if not is_number or not low <= value <= high:  # type: ignore[operator]
            raise ValueProblem(problem)
        return float(value)  # type: ignore[arg-type]

    def read_text(text: str) -> object:
        try:
            return float(text)
        except ValueError:
            raise ValueProblem(problem) from None

    schema = {"type": "number", "minimum": low, "maximum": high}
    return Kind("number", _span(low, high), schema, check, read_text)


def text() -> Kind:
    """A piece of text that is not empty."""

    def check(value: object) -> str:
        if not isinstance(value, str) or not _is_plain(value):
            raise ValueProblem(f"must be a text of 1 to {MAX_TEXT_CHARS} characters")
        return value

    schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS}
    return Kind("text", "", schema, check, str.strip)


def texts(known: tuple[str, ...] = ()) -> Kind:
    """A list of texts; with `known` only of these words."""
    problem = "must be a list of texts of one line each"
    if known:
        problem = f"must be a list of words out of {', '.join(known)}"

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or len(value) > MAX_LIST_ITEMS:
            raise ValueProblem(problem)
        for each in value:
            if not isinstance(each, str) or not _is_plain(each) or (known and each not in known):
                raise ValueProblem(problem)
        return tuple(dict.fromkeys(value))

    def read_text(text: str) -> object:
        if not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        try:
            return json.loads(text)
        except ValueError:
            raise ValueProblem(problem) from None

    items: dict[str, Any] = {"type": "string", **({"enum": list(known)} if known else {})}
    bounds = ", ".join(f"`{each}`" for each in known)
    schema = {"type": "array", "items": items, "maxItems": MAX_LIST_ITEMS}
    return Kind("list", bounds, schema, check, read_text)


def _is_plain(value: str) -> bool:
    """Whether it is text of a bearable length that fits into one line."""
    return 0 < len(value) <= MAX_TEXT_CHARS and value.isprintable()


def _span(low: float, high: float) -> str:
    return f"{low:,} to {high:,}" if isinstance(low, int) else f"{low:,.12g} to {high:,.12g}"
