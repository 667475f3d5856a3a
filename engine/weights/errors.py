"""WeightsError: what is wrong with a model's files or source; raised all over this package."""

from __future__ import annotations

from engine.errors import EngineError


class WeightsError(EngineError):
    """The message is one sentence that names the file, tensor or source and what to do."""
