"""Reports of the benches as Markdown tables. Called by `__main__.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_NONE = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def comparison_markdown(report: dict[str, Any]) -> str:
    """The variants side by side."""
    variants: dict[str, dict[str, Any]] = report["variants"]
    first = next(iter(variants.values()))
    pace = report["keys_per_s"]
    how = "each key after the reply" if pace is None else f"{pace:g} keys/s"
    lines = [
        f"{first['keys']} keystrokes in {report['num_sittings']} sittings, {report['style']}, "
        f"{how}; engine: {report['engine'].get('model', 'unknown')}.\n\n"
    ]
    head = ["", *variants]
    rows: list[list[object]] = [
        ["keystrokes", *(v["keys"] for v in variants.values())],
        ["answered without a forward", *(_share(v, "without_forward") for v in variants.values())],
        ["of answers with text", *(_of_texts(v) for v in variants.values())],
        ["answered by background work", *(_share(v, "speculation") for v in variants.values())],
        ["answered by the engine", *(_share(v, "engine") for v in variants.values())],
        ["nothing to show, no forward", *(_share(v, "nothing_to_show") for v in variants.values())],
        ["overtaken", *(_share(v, "overtaken") for v in variants.values())],
        ["keystroke to reply, ms: p50 / p90 / p99", *_times(variants, "latency_ms")],
        ["with text", *_times(variants, "latency_with_text_ms")],
        ["without a forward", *_times(variants, "latency_without_forward_ms")],
        ["characters accepted", *(_accepted(v) for v in variants.values())],
        ["forwards", *(v["forwards"] for v in variants.values())],
        ["per keystroke", *(v["forwards_per_key"] for v in variants.values())],
        ["per accepted character", *(v["forwards_per_accepted_char"] for v in variants.values())],
        ["requests to the engine", *(_requests(v) for v in variants.values())],
    ]
    return "".join(lines) + table(head, rows) + _messages(variants)


def figures_markdown(title: str, figures: dict[str, Any]) -> str:
    """A flat report: one line for each figure, nested ones by their path."""
    return f"{title}\n\n" + table(["figure", "value"], list(_flat(figures)))


def _flat(figures: dict[str, Any], path: str = "") -> list[list[object]]:
    rows: list[list[object]] = []
    for name, value in figures.items():
        label = f"{path}{name}".replace("_", " ")
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{label}: "))
        else:
            rows.append([label, value])
    return rows


def _share(variant: dict[str, Any], source: str) -> str:
    return f"{variant['sources'][source] / max(1, variant['asked']):.1%}"


def _of_texts(variant: dict[str, Any]) -> str:
    share = variant["share_of_texts_without_forward"]
    return _NONE if share is None else f"{share:.1%}"


def _accepted(variant: dict[str, Any]) -> str:
    share = variant["share_accepted_chars"] or 0.0
    return f"{variant['accepted_chars']} ({share:.1%})"


def _requests(variant: dict[str, Any]) -> str:
    asked = variant["engine_requests"]
    return f"{asked['interactive']} + {asked['speculative']} in the background"


def _times(variants: dict[str, dict[str, Any]], name: str) -> list[str]:
    return [
        " / ".join(_cell(figures[part]) for part in ("p50", "p90", "p99"))
        for figures in (variant[name] for variant in variants.values())
    ]


def _messages(variants: dict[str, dict[str, Any]]) -> str:
    told = {text: name for name, variant in variants.items() for text in variant["messages"]}
    if not told:
        return ""
    return "\nMessages of the servers:\n\n" + "".join(f"- {text}\n" for text in told)


def _cell(value: object) -> str:
    if value is None:
        return _NONE
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)
