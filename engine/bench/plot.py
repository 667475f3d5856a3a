"""The pictures of a report, drawn with matplotlib (extra ``eval``), which is imported when used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.bench.panels import PANELS, Panel
from engine.errors import EngineError

_PANEL_INCHES = (6.4, 4.6)
_DPI = 120
_MOST_ACROSS = 3


def draw(report: Mapping[str, Any], path: Path) -> None:
    """A panel for everything in `report` that can be drawn.

    Raises EngineError without matplotlib or for a name that is no picture's, OSError when `path`
    cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EngineError(
            "A picture needs matplotlib: install the extra with `pip install 'nemodiff[eval]'`."
        ) from None
    panels = panels_of(report)
    across = min(_MOST_ACROSS, max(1, len(panels)))
    down = max(1, -(-len(panels) // across))
    size = (_PANEL_INCHES[0] * across, _PANEL_INCHES[1] * down)
    picture = Figure(figsize=size, dpi=_DPI, layout="constrained")
    places = list(picture.subplots(down, across, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        axes.set_title(panel.title)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        panel.draw(axes, report["cases"][panel.case], report)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize="x-small")
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    if not panels:
        places[0].text(0.5, 0.5, "nothing was measured", ha="center")
    try:
        picture.savefig(path)
    except ValueError as error:
        raise EngineError(f"{path.name} cannot be drawn ({error}).") from None


def panels_of(report: Mapping[str, Any]) -> list[Panel]:
    """Those that have something to draw."""
    cases = report["cases"]
    return [each for each in PANELS if each.case in cases and each.has_any(cases[each.case])]
