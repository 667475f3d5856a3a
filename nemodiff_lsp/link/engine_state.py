"""EngineState: how things stand with the engine, as the editor's status and progress show it.

Made by `engine_link.py`, which tells each change to whoever has subscribed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["joining", "starting", "loading", "ready", "lost", "paused", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class EngineState:
    """message: one sentence for the user, without any text, path or name of theirs.

    phase, fraction: of the load, 0 to 1 or None when unknown. lost: the engine went away and comes
    back with the next request. paused: it has failed again and again and is left alone for a while.
    """

    kind: Kind
    message: str
    phase: str = ""
    fraction: float | None = None

    @property
    def is_loading(self) -> bool:
        """Whether an engine is on its way and its progress is worth showing."""
        return self.kind in ("starting", "loading")

    @property
    def status_kind(self) -> Literal["loading", "ready", "error"]:
        """The same in the words of `status.py`."""
        if self.kind == "ready":
            return "ready"
        return "error" if self.kind in ("lost", "paused", "failed", "closed") else "loading"


Listener = Callable[[EngineState], None]
