"""Paths: ways in which one engine can compute the same, compared side by side in one run.

A path is a set of engine options. Some have a name; any other is written as the options
themselves, ``dtype=float32+num_threads=2``. Of several kernels a ``/`` stands between the names:
``graphs=on+kernels=rope_store/attention``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from engine.config import EngineConfig
from engine.errors import EngineError

_NAMED: dict[str, dict[str, Any]] = {
    "auto": {},
    "bf16": {"dtype": "bfloat16", "weights": "full"},
    "fp32": {"dtype": "float32", "weights": "full"},
    "int8": {"weights": "int8"},
}
_NUMBERS = ("num_threads", "prefill_chunk_tokens")
_TEXTS = ("device", "dtype", "weights", "graphs", "kernels")


@dataclass(frozen=True, slots=True)
class EnginePath:
    """options: fields of EngineConfig."""

    name: str
    options: dict[str, Any]

    def config(self, common: EngineConfig) -> EngineConfig:
        """`common` with the options of this path."""
        return replace(common, **self.options)


def parse_paths(text: str) -> list[EnginePath]:
    """Paths of a list such as ``auto,bf16,dtype=float32+num_threads=2``. Raises EngineError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise EngineError("Paths must be a list of different names, such as auto,bf16.")
    return [_path(name) for name in names]


def _path(name: str) -> EnginePath:
    if "=" in name:
        return EnginePath(name, dict(_option(part) for part in name.split("+")))
    if name not in _NAMED:
        raise EngineError(
            f"Path {name!r} is not known; use {', '.join(_NAMED)} or options such as "
            "dtype=float32+num_threads=2."
        )
    return EnginePath(name, dict(_NAMED[name]))


def _option(part: str) -> tuple[str, Any]:
    key, _, value = part.partition("=")
    if key not in (*_NUMBERS, *_TEXTS):
        usable = ", ".join((*_TEXTS, *_NUMBERS))
        raise EngineError(f"{key!r} is no option of a path; use {usable}.")
    if key in _TEXTS:
        return key, value.replace("/", ",") if key == "kernels" else value
    if not value.isdigit() or not int(value):
        raise EngineError(f"{key} of a path must be a positive whole number, not {value!r}.")
    return key, int(value)
