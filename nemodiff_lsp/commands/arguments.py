"""Arguments of a command: read by name or by place, each checked, wrong ones named in a sentence.

Used by the commands. A client may send ``[{"uri": ..., "range": ...}]`` or ``[uri, range]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lsprotocol import types

T = TypeVar("T")

# As in the protocol; a position beyond it would be no number that a client can mean.
_MAX_UINT = 2**31 - 1


class ArgumentError(ValueError):
    """An argument that cannot be used; the message is one sentence for the user."""


class Arguments:
    """The arguments of one call of `command`.

    Raises ArgumentError for more of them than `names`, and for names that are not among these.
    """

    def __init__(self, command: str, given: Sequence[Any] | None, names: Sequence[str]) -> None:
        self.command = command
        given = given or ()
        if len(given) == 1 and isinstance(given[0], Mapping):
            unknown = [str(name) for name in given[0] if name not in names]
            if unknown:
                known = ", ".join(names) or "none"
                raise self.error(f"does not know the argument {unknown[0][:40]!r} (known: {known})")
            self._values: dict[str, Any] = dict(given[0])
        elif len(given) > len(names):
            raise self.error(f"takes at most {len(names)} arguments, not {len(given)}")
        else:
            self._values = dict(zip(names, given, strict=False))

    def error(self, problem: str) -> ArgumentError:
        return ArgumentError(f"{self.command} {problem}.")

    def optional(self, name: str, read: Callable[[Any], T]) -> T | None:
        """The argument as `read` has it; None when it is missing or null. Raises ArgumentError."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = str(error) if isinstance(error, Unreadable) else "something else"
            raise self.error(f"needs {what} as its argument {name!r}") from None

    def required(self, name: str, read: Callable[[Any], T]) -> T:
        """As `optional`, but missing is wrong, too."""
        value = self.optional(name, read)
        if value is None:
            raise self.error(f"needs the argument {name!r}")
        return value


class Unreadable(ValueError):
    """The message says what was wanted: "a string"."""


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable("a string")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("true or false")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise Unreadable(f"one of {', '.join(choices)}")
        return str(value)

    return read


def number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise Unreadable(f"a number from {low:g} to {high:g}")
        return float(value)

    return read


def position(value: Any) -> types.Position:
    """{"line": ..., "character": ...}"""
    try:
        line, character = value["line"], value["character"]
    except (KeyError, TypeError):
        raise Unreadable("a position (line and character)") from None
    if not (_is_index(line) and _is_index(character)):
        raise Unreadable("a position (line and character)")
    return types.Position(line, character)


def a_range(value: Any) -> types.Range:
    """{"start": position, "end": position}"""
    try:
        return types.Range(position(value["start"]), position(value["end"]))
    except (KeyError, TypeError, Unreadable):
        raise Unreadable("a range (start and end)") from None


def list_of(read: Callable[[Any], T], what: str) -> Callable[[Any], list[T]]:
    def read_all(value: Any) -> list[T]:
        if not isinstance(value, (list, tuple)):
            raise Unreadable(f"a list of {what}")
        return [read(each) for each in value]

    return read_all


def diagnostic_range(value: Any) -> types.Range:
    """The range of a diagnostic, or a bare range."""
    return a_range(value.get("range", value) if isinstance(value, Mapping) else value)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_UINT
