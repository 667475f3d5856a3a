"""lean_types: the protocol's types, made in two thirds of the time and without a repr.

Used by `__main__.py` before anything else imports them. A class generated for each of some 550
types is half of what the server needs to start; a repr for each is a third of that, and one that
nobody may want: it would show the user's text.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import attrs


def load_lean_types() -> None:
    """Import `lsprotocol.types` without generated reprs, unless it has been imported already."""
    if "lsprotocol.types" in sys.modules:
        return
    define = attrs.define

    def define_without_repr(*args: Any, **options: Any) -> Any:
        return define(*args, **{"repr": False, **options})

    # Only while that one module is executed, and before there is any other thread.
    attrs.define = define_without_repr
    try:
        importlib.import_module("lsprotocol.types")
    finally:
        attrs.define = define
