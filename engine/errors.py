"""EngineError: what went wrong in one sentence fit for a user; raised anywhere in the engine."""

from __future__ import annotations


class EngineError(Exception):
    """The message is one sentence that names what is wrong and what to do; no traceback needed."""


class PassAbandoned(Exception):
    """A model pass was given up between two layers, as nobody wants its result any more."""
