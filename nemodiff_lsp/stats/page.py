"""write_page(): the statistics as one HTML file, drawn as SVG, that loads nothing from anywhere.

Used by `report.py`. The page's own policy forbids scripts and connections.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nemodiff_lsp.stats.counts import number_of
from nemodiff_lsp.stats.summary import SOURCE_NAMES, SOURCES, Summary, percent

_WIDTH, _HEIGHT = 640, 180
_LEFT, _BOTTOM, _TOP = 48, 24, 8
_MAX_DAYS_DRAWN = 60

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>NemoDiff statistics</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .9rem .15rem 0; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child { text-align: left }
svg { width: 100%; height: auto } text { font-size: 11px; fill: currentColor }
.a { fill: #3b7dd8 } .b { fill: #4fae6b } .c { fill: #d8923b } .axis { stroke: #8888 }
:root { color-scheme: light dark }
</style></head><body><h1>NemoDiff statistics</h1>
<p>Counts of this machine; no text, no file names.</p>
"""


@dataclass(frozen=True, slots=True)
class Bars:
    """A group of bars beside each other over one name; one value for each series."""

    name: str
    values: tuple[float, ...]


def write_page(summary: Summary, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(page_of(summary), encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def page_of(summary: Summary) -> str:
    """The page's text."""
    shown = summary.number("shown")
    rows = [("asked for", f"{summary.number('asked'):,}", "")]
    for name in ("shown", "accepted", "partly_accepted", "typed_through", "dismissed"):
        number = summary.number(name)
        rows.append((name.replace("_", " "), f"{number:,}", percent(number, shown)))
    for kind in ("forwards_spent", "forwards_saved"):
        rows.append((kind.replace("_", " "), f"{summary.number(kind):,}", ""))
    days = [
        Bars(day[5:], tuple(float(number_of(counts, name)) for name in ("shown", "accepted")))
        for day, counts in list(summary.days.items())[-_MAX_DAYS_DRAWN:]
    ]
    sources = [
        Bars(SOURCE_NAMES[source], (float(summary.number("answered", source)),))
        for source in SOURCES
    ]
    survival = [
        Bars(f"{each.after_s} s", (_share(each.num_kept, each.num_checked),))
        for each in summary.survival()
    ]
    stages = [
        Bars(stage.name, (stage.p50_ms, stage.p90_ms, stage.p99_ms)) for stage in summary.stages()
    ]
    languages = [
        Bars(each.name, (float(each.num_shown), float(each.num_accepted)))
        for each in summary.languages()[:12]
    ]
    reasons = [(why, f"{number:,}") for why, number in summary.reasons()]
    sections = (
        _table(("completions", "number", "of shown"), rows),
        _plot("Day by day: shown and accepted", days, ("shown", "accepted")),
        _plot("How requests were answered", sources, ("answers",)),
        _plot("Accepted text that is still there, per cent", survival, ("kept",)),
        _plot("Times by stage, milliseconds", stages, ("p50", "p90", "p99")),
        _plot("Languages: shown and accepted", languages, ("shown", "accepted")),
        _table(("why nothing was offered", "times"), reasons) if reasons else "",
    )
    return f"{_HEAD}{''.join(sections)}</body></html>\n"


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f"<table>{''.join(lines)}</table>\n"


def _plot(title: str, groups: Sequence[Bars], series: Sequence[str]) -> str:
    """A bar chart with its values as tooltips, and a word where there is nothing to draw."""
    highest = max((value for bars in groups for value in bars.values), default=0.0)
    if highest <= 0:
        return f"<h2>{escape(title)}</h2><p>Nothing yet.</p>\n"
    legend = " ".join(
        f'<tspan class="{"abc"[index]}">\u25a0</tspan> {escape(name)}'
        for index, name in enumerate(series)
    )
    slot = (_WIDTH - _LEFT) / len(groups)
    # Every so many names, so that they do not run into each other.
    stride = max(1, round(44 / slot))
    parts = [f'<text x="{_LEFT}" y="{_TOP + 4}">{legend}</text>', _axis(highest)]
    for index, bars in enumerate(groups):
        left = _LEFT + index * slot
        parts.append(_bars(bars, series, left=left, slot=slot, highest=highest))
        if index % stride == 0:
            name = escape(bars.name if slot * stride > 8 * len(bars.name) else bars.name[:12])
            middle = left + slot / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{name}</text>'
            )
    return (
        f'<h2>{escape(title)}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>\n'
    )


def _axis(highest: float) -> str:
    base = _HEIGHT - _BOTTOM
    return (
        f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_WIDTH}" y2="{base}"/>'
        f'<text x="{_LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 20}" text-anchor="end">{highest:,.3g}</text>'
    )


def _bars(bars: Bars, series: Sequence[str], *, left: float, slot: float, highest: float) -> str:
    width = 0.8 * slot / len(series)
    room = _HEIGHT - _BOTTOM - _TOP - 12
    drawn = []
    for index, (value, name) in enumerate(zip(bars.values, series, strict=True)):
        height = room * value / highest
        x, y = left + 0.1 * slot + index * width, _HEIGHT - _BOTTOM - height
        tip = escape(f"{bars.name}, {name}: {value:,.4g}")
        drawn.append(
            f'<rect class="{"abc"[index]}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}"><title>{tip}</title></rect>'
        )
    return "".join(drawn)
