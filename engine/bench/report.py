"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.bench.compare_case import headlines
from engine.bench.relative import relative_cells

_NONE = "-"
_TITLES = {
    "forward": "Block forward",
    "cycles": "A warm completion by linear self-speculation, acceptance given",
    "prefill": "Prefill of a cold prompt",
    "completion": "Time to a completion",
    "compare": "Like with like: as many tokens on the same prompts",
    "contention": "Beside busy processes",
    "profile": "What a pass launches",
    "threshold": "Tokens per forward against the confidence threshold",
    "cancel": "From the cancel flag to an idle loop",
    "memory": "Memory",
    "lsp": "The language server end to end",
    "kernels": "Each kernel beside plain torch (rounded weights: beside a bfloat16 product)",
}
_KEYS = {
    "forward": {"mode": "mode", "block": "block", "rows": "rows", "cached": "cached"},
    "cycles": {
        "tokens": "tokens",
        "block": "block",
        "cached": "cached",
        "accepted": "accepted per cycle",
        "passes": "passes",
    },
    "prefill": {"length": "tokens"},
    "completion": {"mode": "mode", "max_tokens": "at most", "prefix": "prefix"},
    "compare": {"mode": "mode", "max_tokens": "at most", "prefix": "prefix"},
    "contention": {"work": "what", "busy": "busy processes"},
}
_MORE = {
    "completion": {"tokens": "tokens", "forwards": "forwards"},
    "compare": {"tokens": "tokens", "forwards": "forwards"},
    "contention": {"slow_down": "x quiet"},
}
_FLOOR = {
    "floor_ms": "floor ms",
    "bound": "bound",
    "x_floor": "x floor",
    "x_read_floor": "x floor by reading",
}
_PLAIN = {
    "profile": {
        "path": "path",
        "pass": "pass",
        "device": "device",
        "kernel": "kernel",
        "count": "times in a pass",
        "us": "µs",
        "share": "share of the pass",
    },
    "threshold": {
        "path": "path",
        "mode": "mode",
        "threshold": "threshold",
        "tokens": "tokens",
        "forwards": "forwards",
        "tokens_per_forward": "tokens per forward",
    },
    "cancel": {
        "path": "path",
        "phase": "phase",
        "num_cancelled": "cancelled",
        "num_over_before": "over before",
        "max_forwards": "forwards finished after the flag, at most",
        "median_ms": "ms: p50",
        "p90_ms": "p90",
        "max_ms": "most",
    },
    "memory": {
        "path": "path",
        "stage": "stage",
        "rss_mb": "RSS MiB",
        "anonymous_mb": "of it no file's",
        "kv_mb": "of it KV MiB",
        "device_mb": "device MiB",
    },
    "lsp": {
        "what": "what",
        "p50_ms": "ms: p50",
        "p90_ms": "p90",
        "p99_ms": "p99",
        "num": "times",
    },
    "kernels": {
        "kernel": "kernel",
        "shape": "shape",
        "tokens": "tokens",
        "equal": "equal",
        "median_ms": "ms: p50",
        "p10_ms": "p10",
        "p90_ms": "p90",
        "twin_median_ms": "torch",
        "ratio": "/ torch",
        "num_bytes": "bytes",
        "floor_ms": "floor ms",
        "bound": "bound",
        "x_floor": "x floor",
    },
}


def markdown(report: Mapping[str, Any]) -> str:
    """Everything a reader of figures needs beside them, then a table for each case."""
    parts = [_head(report)]
    for case, rows in report["cases"].items():
        body = _timed(case, rows) if case in _KEYS else _table(_PLAIN[case], rows)
        parts.append(f"\n## {_TITLES[case]}\n\n")
        parts += [f"{line}\n\n" for line in headlines(rows)] if case == "compare" else []
        parts.append(body if rows else "Nothing was measured.\n")
        parts.append(_relative(rows) if case == "forward" else "")
    if "lsp" not in report["cases"]:
        parts.append("\nThe language server end to end: `nemodiff bench lsp --engine real`.\n")
    return "".join(parts)


def _relative(rows: Sequence[Mapping[str, Any]]) -> str:
    found = relative_cells(rows)
    if found is None:
        return ""
    base = next(row["relative_to"] for row in rows if row.get("relative") is not None)
    tokens = "1 token" if base == 1 else f"{base} tokens"
    title = f"\n### Cost of a pass beside one of {tokens}, by path\n\n"
    return title + _lines(*found)


def _head(report: Mapping[str, Any]) -> str:
    machine, settings = report["machine"], report["settings"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    lines = [
        "# nemodiff bench\n\n",
        f"{machine['date']}; {where}, {machine['num_cpus']} CPUs, {machine['memory_gb']} GiB, load "
        f"{_cell(machine['load_average'])}; torch {machine['torch']}, Python {machine['python']}. "
        f"{settings['num_rounds']} rounds, seed {settings['seed']}.\n\n",
    ]
    for subject in report["subjects"]:
        lines.append(
            f"- Path `{subject['path']}`: {subject['model']}, up to {subject['num_threads']} "
            f"thread(s), {subject['bytes_per_weight']:.4g} bytes per weight. "
            f"{' '.join(subject['facts'])}\n"
        )
    for name, sentence in report.get("peers", {}).items():
        lines.append(f"- {name}: {sentence}\n")
    if "ceilings" in report:
        lines.append(_ceilings(report["ceilings"]))
    spent = ", ".join(f"{case} {s:.0f}" for case, s in report.get("spent_s", {}).items())
    lines.append(f"- Seconds spent: {spent}.\n" if spent else "")
    if not report["tells_waiting"]:
        lines.append("- This system does not tell waiting times: no sample is marked as noisy.\n")
    return "".join(lines)


def _ceilings(ceilings: Mapping[str, Any]) -> str:
    rates = ", ".join(
        f"{name} {rate:.0f} GFLOP/s" for name, rate in ceilings["product_gflop_per_s"].items()
    )
    read = ceilings.get("read_gb_per_s")
    reading = "" if read is None else f"read {read:.1f} GB/s, "
    return (
        f"- Ceilings of this run, {ceilings['num_threads']} thread(s): copy "
        f"{ceilings['copy_gb_per_s']:.1f} GB/s, {reading}{rates}.\n"
    )


def _timed(case: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each variant: times, floor, and the ratio to the other paths and peers."""
    others = list(dict.fromkeys(row["label"] for row in rows))
    others = others if len(others) > 1 else []
    keys, extra = _KEYS[case], _MORE.get(case, {})
    floor = any(row.get("floor_ms") for row in rows)
    head = ["path", *keys.values(), *extra.values(), "ms: clean p50", "p50", "p10", "p90", "noisy"]
    head += _FLOOR.values() if floor else []
    head += [f"/ {name}" for name in others]
    lines = []
    for row in rows:
        cells = [row["path"], *(row[key] for key in keys), *(row.get(name) for name in extra)]
        cells += [row["clean_median_ms"], row["median_ms"], row["p10_ms"], row["p90_ms"]]
        cells += [f"{row['num_noisy']}/{row['num_samples']}"]
        cells += [row.get(name) for name in _FLOOR] if floor else []
        cells += [row["versus"].get(name) for name in others]
        lines.append(cells)
    return _lines(head, lines)


def _table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    return _lines(list(columns.values()), [[row.get(key) for key in columns] for row in rows])


def _lines(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
