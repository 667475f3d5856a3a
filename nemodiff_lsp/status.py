"""Status: what the language server is doing, for the editor's status line.

Told by the engine link (loading, ready, error), the pipeline (busy, excluded, nothing to show) and
the commands (paused). Sends `didChangeStatus` to clients that know Copilot's protocol and our own
`nemodiff/didChangeStatus` to those that ask for it; the rest ask by `nemodiff.showStatus`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from lsprotocol import types

from nemodiff_lsp.link.engine_state import EngineState

Kind = Literal["loading", "ready", "busy", "paused", "excluded", "error"]
Notify = Callable[[str, object], None]

COPILOT_METHOD = "didChangeStatus"
METHOD = "nemodiff/didChangeStatus"

BUSY_DELAY_S = 0.25
"""Work that ends sooner is not told: the status line would flicker with every keystroke."""

_COPILOT_KINDS: dict[Kind, str] = {
    "loading": "Normal",
    "ready": "Normal",
    "busy": "Normal",
    "paused": "Inactive",
    "excluded": "Inactive",
    "error": "Error",
}


class Timer(Protocol):
    """What `Later` returns."""

    def cancel(self) -> object: ...


Later = Callable[[float, Callable[[], None]], Timer]


@dataclass(frozen=True, slots=True)
class State:
    """kind: see `Kind`. message: one sentence, without text, path or file name of the user's.
    fraction: of the loading that is done, 0 to 1. nothing_because: why the last request that came
    to nothing did; empty after one that showed something."""

    kind: Kind
    message: str
    fraction: float | None = None
    nothing_because: str = ""

    @property
    def per_cent(self) -> int | None:
        return None if self.fraction is None else round(100 * min(1.0, max(0.0, self.fraction)))

    def headline(self) -> str:
        """The state in words."""
        is_said = self.per_cent is None or "%" in self.message
        per_cent = "" if is_said else f" ({self.per_cent} %)"
        return f"{self.message.rstrip('.')}{per_cent}."

    def sentence(self) -> str:
        """The state in words, the last reason for silence included."""
        headline = self.headline()
        if self.nothing_because in ("", self.message, headline):
            return headline
        return f"{headline} Nothing was shown for the last request: {self.nothing_because}"

    def for_copilot(self) -> dict[str, Any]:
        """Params of `didChangeStatus`: busy, message, kind."""
        return {
            "busy": self.kind in ("loading", "busy"),
            "message": self.sentence(),
            "kind": _COPILOT_KINDS[self.kind],
        }

    def for_us(self) -> dict[str, Any]:
        """Params of `nemodiff/didChangeStatus`.

        kind (see `Kind`), message (a sentence), perCent (whole number or null, while loading),
        nothingBecause (a sentence or null).
        """
        return {
            "kind": self.kind,
            "message": self.headline(),
            "perCent": self.per_cent,
            "nothingBecause": self.nothing_because or None,
        }


class Status:
    """The current state; used from the event loop's thread only.

    Of several that hold at a time the user is told the one that matters: paused, else excluded,
    else an engine that loads or fails, else busy, else ready. notify(method, params): sends a
    notification. later: as the event loop's `call_later`. Nothing is sent before `announce`, nor
    twice in a row.
    """

    def __init__(self, notify: Notify, *, later: Later | None = None) -> None:
        self._notify = notify
        self._later = later
        self._engine = State("loading", "NemoDiff is starting.")
        self._over: dict[Kind, State] = {}
        self._nothing_because = ""
        self._methods: tuple[str, ...] = ()
        self._sent: dict[str, dict[str, Any]] = {}
        self._timer: Timer | None = None
        self._is_busy_told = False

    @property
    def state(self) -> State:
        """What is so now; ``busy`` included, whether it has been told or not."""
        return self._seen(is_busy_told=True)

    def announce(self, *, knows_copilots: bool, knows_ours: bool) -> None:
        """From now on tell the client, who knows these notifications; begins with the present."""
        known = ((COPILOT_METHOD, knows_copilots), (METHOD, knows_ours))
        self._methods = tuple(method for method, is_known in known if is_known)
        self._send()

    def set_state(self, kind: Kind, message: str, *, fraction: float | None = None) -> None:
        """Change the engine's state (loading, ready, error), or put another one over it.

        ``busy`` and ``excluded`` hold until `rest`, ``paused`` until `resume`. ``busy`` is told
        only when it lasts (BUSY_DELAY_S).
        """
        state = State(kind, message, fraction)
        if kind in ("loading", "ready", "error"):
            self._engine = state
            self._send()
            return
        self._over[kind] = state
        if kind != "busy":
            self._send()
        elif self._timer is None and not self._is_busy_told and self._methods:
            self._timer = self._call_later(BUSY_DELAY_S, self._tell_busy)

    def follow_engine(self, state: EngineState) -> None:
        """Show what the engine link tells; subscribe it there."""
        self.set_state(state.status_kind, state.message, fraction=state.fraction)

    def rest(self) -> None:
        """Neither busy any more, nor in an excluded document."""
        self._over.pop("busy", None)
        self._over.pop("excluded", None)
        self._is_busy_told = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send()

    def resume(self) -> None:
        """Paused no more."""
        self._over.pop("paused", None)
        self._send()

    def nothing(self, reason: str) -> None:
        """The last request came to nothing: `reason` is a sentence, empty when it showed text."""
        self._nothing_because = reason
        self._send()

    def sentence(self) -> str:
        """The state in words."""
        return self.state.sentence()

    def close(self) -> None:
        """Tell nothing any more."""
        self._methods = ()
        self.rest()

    def _seen(self, *, is_busy_told: bool) -> State:
        over = self._over
        state = over.get("paused") or over.get("excluded") or self._engine
        if state.kind == "ready" and "busy" in over and is_busy_told:
            state = over["busy"]
        return replace(state, nothing_because=self._nothing_because)

    def _call_later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        if self._later is not None:
            return self._later(delay_s, action)
        return asyncio.get_running_loop().call_later(delay_s, action)

    def _tell_busy(self) -> None:
        self._timer = None
        self._is_busy_told = True
        self._send()

    def _send(self) -> None:
        state = self._seen(is_busy_told=self._is_busy_told)
        bodies = {METHOD: state.for_us, COPILOT_METHOD: state.for_copilot}
        for method in self._methods:
            params = bodies[method]()
            if self._sent.get(method) != params:
                self._sent[method] = params
                self._notify(method, params)


def wants_our_status(params: types.InitializeParams) -> bool:
    """Whether the client asks for `nemodiff/didChangeStatus`.

    By `nemodiff.status: true` or `nemodiff: {status: true}` among its initializationOptions, or by
    the experimental capability `nemodiff: {status: true}`.
    """
    options, experimental = params.initialization_options, params.capabilities.experimental
    return any(_says_status(values) for values in (options, experimental))


def _says_status(values: object) -> bool:
    if not isinstance(values, Mapping):
        return False
    section = values.get("nemodiff")
    return values.get("nemodiff.status") is True or (
        isinstance(section, Mapping) and section.get("status") is True
    )
