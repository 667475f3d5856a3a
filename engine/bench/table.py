"""Lines of a report: what was measured, its floor, and how it stands to the others of its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.bench.ceilings import Ceilings
from engine.bench.costs import Work
from engine.bench.rounds import Measured, best_ms


@dataclass(frozen=True, slots=True)
class Line:
    """name: of the variant. keys: what tells the line from others, for the report. group: lines of
    one group do the same and are set against each other. work: None where no floor is known, as of
    a peer, whose storage is its own."""

    name: str
    keys: dict[str, Any]
    group: str
    work: Work | None = None
    rate: str = "bfloat16"
    is_peer: bool = False
    label: str | None = None
    """By which the others of the group name it; None: its path."""

    @property
    def known_as(self) -> str:
        return self.label or str(self.keys["path"])


def line_rows(
    lines: Sequence[Line], measured: Measured, ceilings: Ceilings
) -> list[dict[str, Any]]:
    """One JSON object for each line that has samples: keys, figures, floor, ratios.

    x_floor: time over floor. versus: time over that of each other line of the group, by its label,
    the median of the quotients within the rounds; below 1 = this one is quicker.
    """
    rows: list[dict[str, Any]] = []
    for line in lines:
        if not measured.samples.get(line.name):
            continue
        figures = measured.figures(line.name)
        row = {
            "name": line.name,
            "label": line.known_as,
            **line.keys,
            "is_peer": line.is_peer,
            **figures,
        }
        if line.work is not None:
            row.update(floor_figures(line.work, line.rate, best_ms(figures), ceilings))
        row["versus"] = {
            other.known_as: measured.ratio(line.name, other.name)
            for other in lines
            if other.group == line.group and other.name != line.name
        }
        rows.append(row)
    return rows


def floor_figures(work: Work, rate: str, ms: float, ceilings: Ceilings) -> dict[str, Any]:
    """The floor of `work` and how `ms` stands to it: by the bandwidth of copying, and by that of
    reading alone (`read`)."""
    floor, read_ms = ceilings.floor(work, rate), ceilings.read_ms(work)
    read_floor_ms = None if read_ms is None else max(read_ms, floor.compute_ms)
    return {
        "num_bytes": int(work.num_bytes),
        "flops": int(work.flops),
        "rate": rate,
        "floor_memory_ms": round(floor.memory_ms, 5),
        "floor_compute_ms": round(floor.compute_ms, 5),
        "floor_ms": round(floor.ms, 5),
        "bound": floor.bound,
        "x_floor": round(ms / floor.ms, 3) if floor.ms > 0 else None,
        "floor_read_ms": None if read_floor_ms is None else round(read_floor_ms, 5),
        "x_read_floor": round(ms / read_floor_ms, 3) if read_floor_ms else None,
    }
