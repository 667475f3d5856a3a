"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NONE = "-"
_TITLES = {
    "forward": "Block forward",
    "prefill": "Prefill of a cold prompt",
    "completion": "Time to a completion",
    "threshold": "Tokens per forward against the confidence threshold",
    "cancel": "From the cancel flag to an idle loop",
    "memory": "Memory",
}
_KEYS = {
    "forward": {"mode": "mode", "block": "block", "rows": "rows", "cached": "cached"},
    "prefill": {"length": "tokens"},
    "completion": {"mode": "mode", "max_tokens": "at most", "prefix": "prefix"},
}
_PLAIN = {
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
        "kv_mb": "of it KV MiB",
        "device_mb": "device MiB",
    },
}


def markdown(report: Mapping[str, Any]) -> str:
    """Everything a reader of figures needs beside them, then a table for each case."""
    parts = [_head(report)]
    for case, rows in report["cases"].items():
        title = f"\n## {_TITLES[case]}\n\n"
        body = _timed(case, rows) if case in _KEYS else _table(_PLAIN[case], rows)
        parts.append(title + (body if rows else "Nothing was measured.\n"))
    parts.append("\nThe language server end to end: `nemodiff bench lsp --engine real`.\n")
    return "".join(parts)


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
    if not report["tells_waiting"]:
        lines.append("- This system does not tell waiting times: no sample is marked as noisy.\n")
    return "".join(lines)


def _ceilings(ceilings: Mapping[str, Any]) -> str:
    rates = ", ".join(
        f"{name} {rate:.0f} GFLOP/s" for name, rate in ceilings["product_gflop_per_s"].items()
    )
    return (
        f"- Ceilings of this run, {ceilings['num_threads']} thread(s): copy "
        f"{ceilings['copy_gb_per_s']:.1f} GB/s, {rates}.\n"
    )


def _timed(case: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each variant: times, floor, and the ratio to the other paths and peers."""
    others = list(dict.fromkeys(row["label"] for row in rows))
    others = others if len(others) > 1 else []
    keys = _KEYS[case]
    extra = ("tokens", "forwards") if case == "completion" else ()
    head = ["path", *keys.values(), *extra, "ms: clean p50", "p50", "p10", "p90", "noisy"]
    head += ["floor ms", "bound", "x floor", *(f"/ {name}" for name in others)]
    lines = []
    for row in rows:
        cells = [row["path"], *(row[key] for key in keys), *(row.get(name) for name in extra)]
        cells += [row["clean_median_ms"], row["median_ms"], row["p10_ms"], row["p90_ms"]]
        cells += [f"{row['num_noisy']}/{row['num_samples']}", row.get("floor_ms")]
        cells += [row.get("bound"), row.get("x_floor")]
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
