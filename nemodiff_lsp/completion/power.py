"""Whether the machine runs on battery. Asked by `completion.py` before it works ahead."""

from __future__ import annotations

import time
from collections.abc import Callable

_FRESH_S = 30.0


class Power:
    """The answer is read anew after half a minute. read: whether mains power is off."""

    def __init__(
        self, read: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read or _is_unplugged
        self._clock = clock
        self._read_s = float("-inf")
        self._is_on_battery = False

    def is_on_battery(self) -> bool:
        """False where there is no battery, or nothing is known of it."""
        now_s = self._clock()
        if now_s - self._read_s >= _FRESH_S:
            self._read_s = now_s
            self._is_on_battery = self._read()
        return self._is_on_battery


def _is_unplugged() -> bool:
    import psutil

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError, ValueError):
        # Not known for this system, or the files of a driver hold something odd.
        return False
    return battery is not None and battery.power_plugged is False
