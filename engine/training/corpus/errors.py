"""CorpusError: what is wrong with a corpus, a registry or a list; raised in this package."""

from __future__ import annotations

from engine.errors import EngineError


class CorpusError(EngineError):
    """The message is one sentence that names the folder, registry or file and what to do."""
