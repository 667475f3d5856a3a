"""Checks of the single fields of a request's JSON, shared by all kinds of requests.

Each check takes a field's name and its value and returns what the request holds; a value that
cannot be used raises FieldError, which names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

Check = Callable[[str, object], Any]


class FieldError(ValueError):
    """A request field that cannot be used. `field` is its name; the message names it too."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def text(name: str, value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise FieldError(name, f"must be a string, not {kind(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FieldError(name, "holds a lone surrogate, which is not text.") from None
    return value


def boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError(name, f"must be true or false, not {kind(value)}.")
    return value


def whole(low: int, high: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise FieldError(name, f"must be a whole number, not {kind(value)}.")
        if not low <= value <= high:
            raise FieldError(name, f"must lie between {low} and {high}, not {value}.")
        return value

    return check


def real(low: float, high: float) -> Callable[[str, object], float]:
    def check(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FieldError(name, f"must be a number, not {kind(value)}.")
        # Compared before it is converted: JSON allows whole numbers that no float can hold.
        if not low <= value <= high:
            raise FieldError(name, f"must lie between {low:g} and {high:g}, not {str(value)[:40]}.")
        return float(value)

    return check


def one_of(known: tuple[str, ...]) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        if value not in known:
            raise FieldError(name, f"must be one of {', '.join(known)}.")
        return str(value)

    return check


def kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "null")


def checked_fields(
    kind_of_request: type, body: object, checks: Mapping[str, Check], required: str
) -> dict[str, Any]:
    """The fields of a decoded JSON body, each checked; null means "use the default"."""
    if not isinstance(body, dict):
        raise FieldError("body", "must be a JSON object.")
    known = {known.name for known in fields(kind_of_request)}
    values: dict[str, Any] = {}
    for name, value in body.items():
        if name not in known:
            raise FieldError(str(name), "is not a field of this interface.")
        if value is not None:
            values[name] = checks[name](name, value)
    if required not in values:
        raise FieldError(required, "is missing.")
    return values
