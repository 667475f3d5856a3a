"""Single fields of a config.json: read, checked, and refused with one sentence naming them.

Used by `engine.models.config` alone.
"""

from __future__ import annotations

import math
from typing import Any

_LARGEST_NUMBER = 2.0**53


class ConfigError(Exception):
    """A config.json that cannot be used; the message is one sentence naming the field."""


def number(raw: dict[str, Any], key: str, default: float | None = None) -> float:
    value = raw.get(key, default)
    if value is None:
        raise ConfigError(f"config.json: {key} is missing.")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"config.json: {key} must be a number, not {value!r}.")
    if not math.isfinite(value) or abs(value) > _LARGEST_NUMBER:
        raise ConfigError(f"config.json: {key} must be a finite number, not {str(value)[:40]}.")
    return float(value)


def positive(raw: dict[str, Any], key: str, default: float | None = None) -> float:
    value = number(raw, key, default)
    if value <= 0:
        raise ConfigError(f"config.json: {key} must be greater than 0, not {value:g}.")
    return value


def theta(raw: dict[str, Any], default: float | None = None) -> float:
    theta = number(raw, "rope_theta", default)
    if theta <= 1:
        raise ConfigError(f"config.json: rope_theta must be greater than 1, not {theta:g}.")
    return theta


def token_id(raw: dict[str, Any], key: str, default: int) -> int:
    value = number(raw, key, default)
    if value != int(value) or value < 0:
        raise ConfigError(f"config.json: {key} must be a token id, not {raw.get(key)!r}.")
    return int(value)


def refuse_unsupported(raw: dict[str, Any], neutral: dict[str, tuple[Any, ...]]) -> None:
    """Settings that would change what the model computes, at values that are not implemented."""
    for key, allowed in neutral.items():
        if raw.get(key, allowed[0]) not in allowed:
            raise ConfigError(f"config.json: {key} {raw[key]!r} is not supported.")


def count(raw: dict[str, Any], key: str, default: int | None = None) -> int:
    value = number(raw, key, default)
    if value != int(value) or value < 1:
        raise ConfigError(f"config.json: {key} must be a positive integer, not {raw.get(key)!r}.")
    return int(value)


def token_ids(value: Any, key: str) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if not ids or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
        raise ConfigError(f"config.json: {key} must be a token id or a list of them.")
    return tuple(ids)


def bos(raw: dict[str, Any]) -> int | None:
    return None if raw.get("bos_token_id") is None else token_id(raw, "bos_token_id", 0)
