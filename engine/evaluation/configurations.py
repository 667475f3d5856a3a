"""Configurations: what one line of a report's table is, an engine and a way of asking it.

Called by `engine.cli.evaluate`, which parses the names, and by `run.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from engine.messages.completion import MODES, Mode

EngineName = Literal["engine", "bare base"]
"""``engine``: the one the user asked for. ``bare base``: the same model without its adapters."""

BARE_BASE_FLAGS = ("--causal-adapter=none", "--draft-adapter=none")
_THRESHOLD_MODE = "diffusion"


@dataclass(frozen=True, slots=True)
class Point:
    """A decoding mode, written ``diffusion@0.9`` when confidence_threshold is not the engine's."""

    mode: Mode
    confidence_threshold: float | None = None

    @property
    def label(self) -> str:
        if self.confidence_threshold is None:
            return self.mode
        return f"{self.mode}@{self.confidence_threshold:g}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One line of the table; `label` is its name in the report and in the file of rows."""

    point: Point
    engine: EngineName = "engine"

    @property
    def label(self) -> str:
        is_bare = self.engine == "bare base"
        return f"{self.point.label}, {self.engine}" if is_bare else self.point.label


AR = Point("ar")
BARE_AR = Configuration(AR, "bare base")


def parse_points(text: str) -> tuple[Point, ...]:
    """``ar,diffusion@0.9`` as points, in this order. Raises ValueError with what is wrong."""
    points = tuple(_point(name) for name in text.split(","))
    if len({point.label for point in points}) != len(points):
        raise ValueError(f"{text!r} names a mode twice")
    return points


def configurations(
    points: Iterable[Point], facts: Mapping[str, Any], *, with_bare_base: bool
) -> tuple[Configuration, ...]:
    """The lines of the table for an engine of which /health tells `facts`.

    Where it has a causal adapter, `ar` of the bare base (if wanted) and `ar` of the base with that
    adapter come first, whether asked for or not: all else is to be read against them.
    """
    points = tuple(points)
    if facts.get("causal_adapter") is None:
        return tuple(Configuration(point) for point in points)
    first = (BARE_AR,) if with_bare_base else ()
    others = (Configuration(point) for point in points if point != AR)
    return (*first, Configuration(AR), *others)


def _point(name: str) -> Point:
    mode, at, threshold = name.partition("@")
    if mode not in MODES:
        raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
    if not at:
        return Point(cast(Mode, mode))
    if mode != _THRESHOLD_MODE:
        raise ValueError(f"{name!r}: only {_THRESHOLD_MODE} takes a threshold")
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name!r}: the threshold must be a number from 0 to 1")
    return Point(cast(Mode, mode), value)
