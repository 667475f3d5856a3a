"""The pictures of a report, drawn with matplotlib (extra ``eval``), which is imported when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.bench.rounds import best_ms
from engine.errors import EngineError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES = (16.0, 5.0)
_DPI = 130
_MARKERS = "osD^vPX*<>"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Roofline; a forward against the cached length; tokens per forward against the threshold.

    Raises EngineError without matplotlib or for a name that is no picture's, OSError when `path`
    cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EngineError(
            "A picture needs matplotlib: install the extra with `pip install 'nemodiff[eval]'`."
        ) from None
    picture = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    panels: list[tuple[Callable[[Axes, Mapping[str, Any]], bool], str]] = [
        (_roofline, "forwards on the roofline"),
        (_prefix, "one forward against the cached length"),
        (_threshold, "tokens per forward against the threshold"),
    ]
    for axes, (drawn, title) in zip(picture.subplots(1, len(panels)), panels, strict=True):
        axes.set_title(title)
        axes.grid(alpha=0.3)
        if drawn(axes, report):
            axes.legend(fontsize="small")
        else:
            axes.text(0.5, 0.5, "not measured in this run", ha="center", transform=axes.transAxes)
    try:
        picture.savefig(path)
    except ValueError as error:
        raise EngineError(f"{path.name} cannot be drawn ({error}).") from None


def _roofline(axes: Axes, report: Mapping[str, Any]) -> bool:
    """GFLOP/s reached against operations per byte, below what bandwidth and matrix rate allow."""
    rows = [row for row in report["cases"].get("forward", []) if row.get("flops")]
    if not rows:
        return False
    ceilings = report["ceilings"]
    intensities = [row["flops"] / row["num_bytes"] for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 4
    for rate, gflops in ceilings["product_gflop_per_s"].items():
        ridge = gflops / ceilings["copy_gb_per_s"]
        across = sorted({low, min(max(ridge, low), high), high})
        up = [min(x * ceilings["copy_gb_per_s"], gflops) for x in across]
        axes.plot(across, up, label=f"ceiling {rate}", linestyle="--")
    labels = list(dict.fromkeys((row["path"], row["mode"]) for row in rows))
    for number, label in enumerate(labels):
        mine = [row for row in rows if (row["path"], row["mode"]) == label]
        axes.plot(
            [row["flops"] / row["num_bytes"] for row in mine],
            [row["flops"] / best_ms(row) / 1e6 for row in mine],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            label=" ".join(label),
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GFLOP/s")
    return True


def _prefix(axes: Axes, report: Mapping[str, Any]) -> bool:
    """One line for each path and peer: the block size that was taken at most cached lengths."""
    rows = [
        row
        for row in report["cases"].get("forward", [])
        if row["mode"] == "verify" and row["rows"] == 1
    ]
    if not rows:
        return False
    lengths: dict[int, set[int]] = {}
    for row in rows:
        lengths.setdefault(row["block"], set()).add(row["cached"])
    block = max(lengths, key=lambda size: len(lengths[size]))
    for number, path in enumerate(dict.fromkeys(row["path"] for row in rows)):
        mine = [row for row in rows if row["path"] == path and row["block"] == block]
        mine.sort(key=lambda row: int(row["cached"]))
        _line(axes, number, path, [r["cached"] for r in mine], [best_ms(r) for r in mine])
        floors = [row for row in mine if row.get("floor_ms")]
        if floors:
            xs, ys = [row["cached"] for row in floors], [row["floor_ms"] for row in floors]
            axes.plot(xs, ys, linestyle=":", label=f"{path}, floor")
    axes.set_xlabel("cached tokens")
    axes.set_ylabel(f"ms for a block of {block}")
    axes.set_ylim(bottom=0)
    return True


def _threshold(axes: Axes, report: Mapping[str, Any]) -> bool:
    rows = report["cases"].get("threshold", [])
    for number, mode in enumerate(dict.fromkeys(row["mode"] for row in rows)):
        mine = [row for row in rows if row["mode"] == mode]
        xs = [row["threshold"] for row in mine]
        _line(axes, number, mode, xs, [row["tokens_per_forward"] for row in mine])
    axes.set_xlabel("confidence threshold")
    axes.set_ylabel("tokens per forward")
    return bool(rows)


def _line(
    axes: Axes, number: int, label: str, across: Sequence[float], up: Sequence[float]
) -> None:
    axes.plot(across, up, marker=_MARKERS[number % len(_MARKERS)], label=label)
