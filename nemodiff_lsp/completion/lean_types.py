"""lean_types: the protocol's types, made in three quarters of the time and without a repr.

Used by `__main__.py` before anything else imports them. A class generated for each of some 550
types is almost half of what the server needs to start. A repr for each is part of that, and one
that nobody may want: it would show the user's text. One comparison serves them all, and without
slots no class is made twice.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import attrs


def load_lean_types() -> None:
    """Import `lsprotocol.types` with less generated code, unless it has been imported already."""
    if "lsprotocol.types" in sys.modules:
        return
    define = attrs.define

    def define_lean(maybe_cls: type | None = None, **options: Any) -> Any:
        made = define(maybe_cls, **{"repr": False, "eq": False, "slots": False, **options})
        if isinstance(made, type) and "__eq__" not in made.__dict__:
            made.__eq__ = _equals  # type: ignore[method-assign, assignment]
            # What can be changed cannot be hashed: as attrs has it.
            made.__hash__ = None  # type: ignore[method-assign, assignment]
        return made

    # Only while that one module is executed, and before there is any other thread.
    attrs.define = define_lean
    try:
        importlib.import_module("lsprotocol.types")
    finally:
        attrs.define = define


def _equals(self: Any, other: object) -> Any:
    """As attrs compares: things of one class by their fields, and no others."""
    if other.__class__ is not self.__class__:
        return NotImplemented
    kind: Any = type(self)
    names = (field.name for field in attrs.fields(kind))
    return all(getattr(self, name) == getattr(other, name) for name in names)
