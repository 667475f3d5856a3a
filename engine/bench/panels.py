"""What can be drawn of a report, one panel each; matplotlib comes with the axes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.bench.rounds import best_ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
_LABEL_CHARS = 18
_MARKERS = "osD^vPX*<>"


@dataclass(frozen=True, slots=True)
class Panel:
    """case: whose rows it draws. has_any: whether some of them can be drawn."""

    case: str
    title: str
    has_any: Callable[[Rows], bool]
    draw: Callable[[Axes, Rows, Mapping[str, Any]], None]


def _roofline(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    """GFLOP/s reached against operations per byte, below what bandwidth and matrix rate allow."""
    rows = [row for row in rows if row.get("flops")]
    ceilings = report["ceilings"]
    intensities = [row["flops"] / row["num_bytes"] for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 4
    for rate, gflops in ceilings["product_gflop_per_s"].items():
        for kind, style in (("copy", "--"), ("read", ":")):
            speed = ceilings.get(f"{kind}_gb_per_s")
            if speed is None:
                continue
            across = sorted({low, min(max(gflops / speed, low), high), high})
            up = [min(x * speed, gflops) for x in across]
            axes.plot(across, up, label=f"ceiling {rate}, {kind}", linestyle=style)
    for number, label in enumerate(_distinct(rows, "path", "mode")):
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


def _prefix(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    """One line for each path and peer: the block size that was taken at most cached lengths."""
    rows = _plain(rows)
    block = _block_of_lengths(rows)
    for number, (path,) in enumerate(_distinct(rows, "path")):
        mine = [row for row in rows if row["path"] == path and row["block"] == block]
        mine.sort(key=lambda row: int(row["cached"]))
        _line(axes, number, path, [(row["cached"], best_ms(row)) for row in mine])
        _floor(axes, path, [(row["cached"], row.get("floor_ms")) for row in mine])
    axes.set_xscale("symlog", base=2, linthresh=256)
    axes.set_xlabel("cached tokens")
    axes.set_ylabel(f"ms for a block of {block}")
    axes.set_ylim(bottom=0)


def _block_of_lengths(rows: Rows) -> int:
    lengths: dict[int, set[int]] = {}
    for row in rows:
        lengths.setdefault(row["block"], set()).add(row["cached"])
    return max(lengths, key=lambda size: len(lengths[size]))


def _cost(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    """Time over that of one token, against the tokens of the pass."""
    rows = [row for row in _plain(rows) if row.get("relative") is not None]
    for number, (path,) in enumerate(_distinct(rows, "path")):
        mine = [row for row in rows if row["path"] == path]
        cached = min(row["cached"] for row in mine if _num_blocks(mine, row["cached"]) > 1)
        points = [(row["block"], row["relative"]) for row in mine if row["cached"] == cached]
        _line(axes, number, path, sorted(points))
    axes.set_xlabel("tokens of the pass")
    axes.set_ylabel("time over that of the smallest")
    axes.set_ylim(bottom=0)


def _num_blocks(rows: Rows, cached: int) -> int:
    return len({row["block"] for row in rows if row["cached"] == cached})


def _prefill(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    for number, (path,) in enumerate(_distinct(rows, "path")):
        mine = sorted(
            (row for row in rows if row["path"] == path), key=lambda row: int(row["length"])
        )
        _line(axes, number, path, [(row["length"], best_ms(row)) for row in mine])
        _floor(axes, path, [(row["length"], row.get("floor_ms")) for row in mine])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens read")
    axes.set_ylabel("ms")


def _completion(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    """Warm ones drawn through, cold ones broken."""
    for number, (path, mode, prefix) in enumerate(_distinct(rows, "path", "mode", "prefix")):
        mine = [
            row for row in rows if (row["path"], row["mode"], row["prefix"]) == (path, mode, prefix)
        ]
        points = sorted((row["max_tokens"], best_ms(row)) for row in mine)
        label = f"{path} {mode}, {prefix}"
        _line(axes, number, label, points, style="-" if prefix == "warm" else "--")
    axes.set_xlabel("tokens, at most")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)


def _cycles(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    _bars(axes, [(f"{row['path']}: {row['tokens']} tokens", best_ms(row)) for row in rows])
    axes.set_xlabel("ms")


def _compare(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    _bars(axes, [(row["label"], best_ms(row)) for row in rows])
    axes.set_xlabel(f"ms for {rows[0]['max_tokens']} tokens, warm")


def _contention(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    for number, (path, work) in enumerate(_distinct(rows, "path", "work")):
        mine = [row for row in rows if (row["path"], row["work"]) == (path, work)]
        _line(axes, number, f"{path}, {work}", [(row["busy"], row["slow_down"]) for row in mine])
    axes.set_xticks(sorted({row["busy"] for row in rows}))
    axes.set_xlabel("busy processes")
    axes.set_ylabel("time over that without")
    axes.set_ylim(bottom=0)


def _threshold(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    for number, (mode,) in enumerate(_distinct(rows, "mode")):
        mine = [row for row in rows if row["mode"] == mode]
        points = [(row["threshold"], row["tokens_per_forward"]) for row in mine]
        _line(axes, number, mode, points)
    axes.set_xlabel("confidence threshold")
    axes.set_ylabel("tokens per forward")


def _cancel(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    timed = [row for row in rows if row["median_ms"] is not None]
    names = [f"{row['path']}, {row['phase']}" for row in timed]
    parts = {"most": "max_ms", "p90": "p90_ms", "median": "median_ms"}
    _nested(axes, names, {name: [row[key] for row in timed] for name, key in parts.items()})
    axes.set_xlabel("ms from the flag to an idle loop")


def _memory(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    _bars(axes, [(f"{row['path']}: {row['stage']}", row["rss_mb"]) for row in rows])
    names = [_wrapped(f"{row['path']}: {row['stage']}") for row in rows]
    axes.barh(names, [row["anonymous_mb"] or 0 for row in rows], label="without pages of files")
    axes.set_xlabel("MiB resident")


def _lsp(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    timed = [row for row in rows if row["p50_ms"] is not None]
    names = [row["what"] for row in timed]
    parts = {name: f"{name}_ms" for name in ("p99", "p90", "p50")}
    _nested(axes, names, {name: [row[key] for row in timed] for name, key in parts.items()})
    axes.set_xlabel("ms")


def _kernels(axes: Axes, rows: Rows, report: Mapping[str, Any]) -> None:
    """A point for each shape and number of tokens."""
    timed = [row for row in rows if row.get("ratio") is not None]
    for number, (tokens,) in enumerate(_distinct(timed, "tokens")):
        mine = [row for row in timed if row["tokens"] == tokens]
        axes.plot(
            [row["ratio"] for row in mine],
            [row["kernel"] for row in mine],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            label=f"{tokens} tokens",
        )
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("time over that of plain torch")
    _list_downwards(axes)


PANELS = (
    Panel(
        "forward",
        "passes on the roofline",
        lambda rows: any(row.get("flops") for row in rows),
        _roofline,
    ),
    Panel(
        "forward",
        "one pass against the cached length",
        lambda rows: len({row["cached"] for row in _plain(rows)}) > 1,
        _prefix,
    ),
    Panel(
        "forward",
        "one pass against its tokens",
        lambda rows: any(_num_blocks(_plain(rows), row["cached"]) > 1 for row in _plain(rows)),
        _cost,
    ),
    Panel("cycles", "a warm completion, acceptance given", bool, _cycles),
    Panel("prefill", "prefill of a cold prompt", bool, _prefill),
    Panel("completion", "time to a completion", bool, _completion),
    Panel("compare", "as many tokens on the same prompts", bool, _compare),
    Panel("contention", "beside busy processes", bool, _contention),
    Panel("threshold", "tokens per forward against the threshold", bool, _threshold),
    Panel(
        "cancel",
        "cancellation",
        lambda rows: any(row["median_ms"] is not None for row in rows),
        _cancel,
    ),
    Panel("memory", "memory by stage", bool, _memory),
    Panel(
        "kernels",
        "kernels beside plain torch, all shapes",
        lambda rows: any(row.get("ratio") is not None for row in rows),
        _kernels,
    ),
    Panel("lsp", "the language server end to end", bool, _lsp),
)


def _plain(rows: Rows) -> list[Mapping[str, Any]]:
    """Causal passes over one sequence."""
    return [row for row in rows if row["mode"] == "verify" and row["rows"] == 1]


def _distinct(rows: Rows, *keys: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(tuple(row[key] for key in keys) for row in rows))


def _line(
    axes: Axes,
    number: int,
    label: str,
    points: Sequence[tuple[float, float]],
    style: str = "-",
) -> None:
    marker = _MARKERS[number % len(_MARKERS)]
    across, up = [x for x, _ in points], [y for _, y in points]
    axes.plot(across, up, marker=marker, label=label, linestyle=style)


def _floor(axes: Axes, path: str, points: Sequence[tuple[float, float | None]]) -> None:
    """In the colour of the line drawn last."""
    known = [(x, y) for x, y in points if y is not None]
    if known:
        colour = axes.lines[-1].get_color()
        across, up = [x for x, _ in known], [y for _, y in known]
        axes.plot(across, up, linestyle=":", color=colour, label=f"{path}, floor")


def _bars(axes: Axes, bars: Sequence[tuple[str, float]]) -> None:
    """The first on top, each with its number."""
    drawn = axes.barh([_wrapped(name) for name, _ in bars], [value for _, value in bars])
    numbers = [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for _, value in bars]
    axes.bar_label(drawn, numbers, padding=3, fontsize="x-small")
    axes.margins(x=0.15)
    _list_downwards(axes)


def _nested(axes: Axes, names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """Bars over each other, the longest part first."""
    for part, values in parts.items():
        axes.barh([_wrapped(name) for name in names], values, label=part)
    _list_downwards(axes)


def _list_downwards(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize="x-small")


def _wrapped(name: str) -> str:
    return textwrap.fill(name, _LABEL_CHARS)
