"""Regions: where the user edited and looked lately, in documents other than the completed one.

A source of `collector.py`. A ring: the newest region is the most telling, the oldest leaves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MAX_REGIONS = 16
_LINES_AROUND = 10
# An edit this near to a known region belongs to it.
_MERGE_LINES = 20


@dataclass(frozen=True, slots=True)
class Region:
    """Lines around `line` of document `uri`."""

    uri: str
    line: int


class RecentRegions:
    """Bounded; used from the event loop only."""

    def __init__(self) -> None:
        self._regions: OrderedDict[Region, None] = OrderedDict()

    def touched(self, uri: str, line: int) -> None:
        """The user edited or looked at `line`."""
        for region in reversed(self._regions):
            if region.uri == uri and abs(region.line - line) <= _MERGE_LINES:
                del self._regions[region]
                break
        self._regions[Region(uri, line)] = None
        while len(self._regions) > _MAX_REGIONS:
            self._regions.popitem(last=False)

    def forget(self, uri: str) -> None:
        """The document was closed or may not be used any more."""
        for region in [each for each in self._regions if each.uri == uri]:
            del self._regions[region]

    def pieces(
        self, but: str, lines_of: Callable[[str], Sequence[str] | None]
    ) -> list[tuple[str, int, str]]:
        """(uri, first line, text) of the regions outside document `but`, newest first."""
        found = []
        for region in reversed(self._regions):
            lines = None if region.uri == but else lines_of(region.uri)
            if lines:
                first = max(0, region.line - _LINES_AROUND)
                text = "\n".join(
                    line.rstrip("\r\n") for line in lines[first : region.line + _LINES_AROUND + 1]
                )
                if text.strip():
                    found.append((region.uri, first, text))
        return found
