"""VirtualLoop: an event loop whose time passes when nothing else is left to do, and at once."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _SkippingSelector(selectors.SelectSelector):
    """Never waits: where a real one would, the loop's clock moves on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        self.loop.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Timers fire in their order, whatever the machine's speed."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        selector = _SkippingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s
