"""What a pass costs beside one over a single token: what decides how many drafts are worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.bench.rounds import Measured


def add_relative(rows: Sequence[dict[str, Any]], measured: Measured) -> None:
    """To each row of case forward `relative`, its time over that of the smallest causal block of
    one sequence on its path behind as many cached tokens, and `relative_to`, that block."""
    for row in rows:
        bases = [other for other in rows if _is_base(other, row)]
        if bases:
            base = min(bases, key=lambda other: int(other["block"]))
            row["relative"] = measured.ratio(row["name"], base["name"])
            row["relative_to"] = base["block"]


def _is_base(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    plain = other["mode"] == "verify" and other["rows"] == 1
    return plain and all(other[key] == row[key] for key in ("path", "cached"))


def relative_cells(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[list[Any]]] | None:
    """Head and lines of a table: a line for each pass behind the cached length that most passes
    have, a column for each path; None where there is nothing to compare."""
    known = [row for row in rows if row.get("relative") is not None]
    lengths = [row["cached"] for row in known]
    if not known:
        return None
    cached = max(lengths, key=lengths.count)
    known = [row for row in known if row["cached"] == cached]
    shapes = sorted({(_order(row["mode"]), row["rows"], row["block"]) for row in known})
    if len(shapes) < 2:
        return None
    paths = list(dict.fromkeys(str(row["path"]) for row in known))
    table = {(row["mode"], row["rows"], row["block"], row["path"]): row for row in known}
    lines = []
    for (_, mode), num_rows, block in shapes:
        cells = [table.get((mode, num_rows, block, path)) for path in paths]
        told = [None if cell is None else cell["relative"] for cell in cells]
        lines.append([mode, num_rows, block, num_rows * block, *told])
    return ["mode", "rows", "block", "tokens", *paths], lines


def _order(mode: str) -> tuple[int, str]:
    """`verify` first."""
    return (0 if mode == "verify" else 1), mode
