"""Case compare: the same prompts and as many tokens for the engine's modes and for the peers.

A completion that a model ends by itself is as long as that model likes. Here only holes are taken
that every mode fills to the same length, behind a prefix that everybody knows already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.bench.completion_case import Asked, Tally, ask, completion_lines
from engine.bench.peers import Peer
from engine.bench.prompts import CodeHole
from engine.bench.rounds import Measured, Variant
from engine.bench.subject import Subject
from engine.bench.table import Line
from engine.messages.completion import Mode

MODES: tuple[Mode, ...] = ("auto", "ar")
NUM_TOKENS = 16


def compare_lines(
    subjects: Sequence[Subject],
    peers: Sequence[Peer],
    holes: Sequence[CodeHole],
    num_tokens: int,
) -> tuple[list[tuple[Line, Variant]], dict[str, Tally]]:
    """Like `completion_lines`, warm, in MODES; nothing without `holes`, which are even ones."""
    if not holes:
        return [], {}
    return completion_lines(subjects, peers, Asked(holes, MODES, [num_tokens], ["warm"]))


def even_holes(
    subjects: Sequence[Subject], candidates: Sequence[CodeHole], num: int, num_tokens: int
) -> list[CodeHole]:
    """The first `num` of `candidates` that all modes on all paths fill to the same length."""
    found: list[CodeHole] = []
    for hole in candidates:
        if len(found) < num and _is_even(subjects, hole, num_tokens):
            found.append(hole)
    return found


def _is_even(subjects: Sequence[Subject], hole: CodeHole, num_tokens: int) -> bool:
    lengths: set[int] = set()
    for subject in subjects:
        assert subject.engine is not None
        for mode in MODES:
            answer = ask(subject.engine, hole, mode, num_tokens)
            if answer.choices[0].finish_reason != "length":
                return False
            lengths.add(answer.facts.tokens)
    return len(lengths) == 1


def compare_figures(
    rows: Sequence[dict[str, Any]], measured: Measured, tallies: Mapping[str, Tally]
) -> None:
    """Adds to each row: `versus_total`, time of all rounds over that of each other row; and
    `same_text`, the share of rounds in which a mode wrote what `ar` on its path did."""
    for row in rows:
        row["versus_total"] = {
            other["label"]: measured.total_ratio(row["name"], other["name"])
            for other in rows
            if other is not row
        }
        plain = [each for each in rows if each["path"] == row["path"] and each["mode"] == "ar"]
        if not row["is_peer"] and plain:
            row["same_text"] = _same_text(tallies[row["name"]], tallies[plain[0]["name"]])


def _same_text(one: Tally, other: Tally) -> float:
    pairs = list(zip(one.answers, other.answers, strict=True))
    same = sum(a.choices[0].text == b.choices[0].text for a, b in pairs)
    return round(same / max(1, len(pairs)), 3)


def headlines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each row of mode ``auto``: its time, over `ar`, over each peer."""
    lines = []
    for row in rows:
        if row["is_peer"] or row["mode"] != "auto":
            continue
        rivals = [other for other in rows if _is_rival(row, other)]
        parts = [
            f"/ {other['label']} = {_ratio(row['versus'].get(other['label']))} "
            f"(all rounds together {_ratio(row['versus_total'].get(other['label']))})"
            for other in rivals
        ]
        lines.append(
            f"**{row['label']}: {row['median_ms']:.4g} ms for {row['tokens']:.4g} tokens behind a "
            f"warm prefix; {'; '.join(parts)}.** In {row['same_text']:.0%} of the rounds its text "
            f"is that of `ar`; forwards {row['forwards']:.3g}."
        )
    return lines


def _is_rival(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(other["is_peer"]) or (other["path"] == row["path"] and other["mode"] == "ar")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
