"""The pictures of reports, drawn with matplotlib (extra ``eval``), which is imported when used.

Called by `engine.cli.evaluate`, `engine.cli.eval_gate` and `engine.cli.eval_trend`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evaluation.figures import BY_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES = (7.0, 5.0)
_DPI = 150
# So that a marker at 0 or 100 % is whole, and no axis shows shares that cannot be.
_ROOM_PERCENT = 2.0
_MARKERS = "osD^vPX*<>"


def draw_quality(report: dict[str, Any], path: Path) -> None:
    """Headline figure against forwards per completion, one point per configuration, 95 % bars.

    Raises ImportError without matplotlib and OSError when `path` cannot be written.
    """
    from matplotlib.figure import Figure

    picture = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = picture.subplots()
    for number, line in enumerate(report["configurations"]):
        _point(axes, line, report["headline"], _MARKERS[number % len(_MARKERS)])
    settings = report["settings"]
    axes.set_title(f"{settings['suite']}, {settings['data']}: {report['num_rows']} rows")
    axes.set_xlabel("forwards per completion")
    axes.set_ylabel(f"{BY_NAME[report['headline']].title}, %")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -_ROOM_PERCENT), min(high, 100 + _ROOM_PERCENT))
    axes.grid(alpha=0.3)
    axes.legend()
    picture.savefig(path)


def _point(axes: Axes, line: dict[str, Any], headline: str, marker: str) -> None:
    across, up = line["figures"]["forwards_per_completion"], line["figures"][headline]
    if across is None or up is None:
        return
    axes.errorbar(
        [across["value"]],
        [100 * up["value"]],
        xerr=_bars(across, 1),
        yerr=_bars(up, 100),
        marker=marker,
        linestyle="none",
        capsize=3,
        label=line["label"],
    )


def _bars(estimate: dict[str, Any], scale: float) -> list[list[float]] | None:
    """Lengths below and above the value; None where there is no interval."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if low is None:
        return None
    return [[max(0.0, value - low) * scale], [max(0.0, high - value) * scale]]


def draw_gate(gate: dict[str, Any], path: Path) -> None:
    """Silence against lost correct completions: the curve, the goal, the chosen threshold, and the
    same on rows held out. Raises as `draw_quality` does."""
    from matplotlib.figure import Figure

    found = gate["calibration"]
    picture = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = picture.subplots()
    axes.plot(
        [100 * point["lost"] for point in found["curve"]],
        [100 * point["silence"] for point in found["curve"]],
        label="every threshold",
    )
    goal = found["goal"]
    axes.axvspan(0, 100 * goal["max_lost"], ymin=goal["min_silence"], alpha=0.15, label="goal")
    for key, title, marker in (("chosen", "chosen", "o"), ("held_out", "held out", "s")):
        lost, silence = found[key]["lost"], found[key]["silence"]
        axes.errorbar(
            [100 * lost["value"]],
            [100 * silence["value"]],
            xerr=_bars(lost, 100),
            yerr=_bars(silence, 100),
            marker=marker,
            linestyle="none",
            capsize=3,
            label=title,
        )
    axes.set_title(f"gate of {found['configuration']}")
    axes.set_xlabel("correct completions lost, %")
    axes.set_ylabel("silence on stay-silent rows, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend()
    picture.savefig(path)


def draw_trend(trend: dict[str, Any], path: Path) -> None:
    """A figure against training tokens, one curve per configuration, 95 % bars. Raises as
    `draw_quality` does."""
    from matplotlib.figure import Figure

    figure, settings = BY_NAME[trend["figure"]], trend["settings"]
    scale = 100.0 if figure.is_percent else 1.0
    picture = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = picture.subplots()
    for number, (label, points) in enumerate(trend["lines"].items()):
        bars = [_bars(point, scale) or [[0.0], [0.0]] for point in points]
        axes.errorbar(
            [point["num_tokens"] for point in points],
            [scale * point["value"] for point in points],
            yerr=[[below[0] for below, _ in bars], [above[0] for _, above in bars]],
            marker=_MARKERS[number % len(_MARKERS)],
            capsize=3,
            label=label,
        )
    axes.set_title(f"{settings['suite']}, {settings['data']}: {trend['num_rows']} rows")
    axes.set_xlabel("training tokens")
    axes.set_ylabel(figure.title + (", %" if figure.is_percent else ""))
    axes.grid(alpha=0.3)
    axes.legend()
    picture.savefig(path)
