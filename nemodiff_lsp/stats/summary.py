"""Summary: the figures of `nemodiff stats`, worked out from the counts once for table and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nemodiff_lsp.stats.counts import Counts, merge, number_of, quantile_ms
from nemodiff_lsp.stats.recorder import SURVIVAL_TIMES_S
from nemodiff_lsp.stats.store import EARLIER

SOURCES = ("engine", "speculation", "offer", "cache", "none")
SOURCE_NAMES = {
    "engine": "by the engine",
    "speculation": "by work begun before they came",
    "offer": "from the offer on the screen",
    "cache": "from recent answers",
    "none": "with nothing",
}
_QUANTILES = (0.5, 0.9, 0.99)
# The order in which a request meets them; others follow by name.
_STAGES = ("total", "wait", "context", "engine", "prefill", "decode", "finish")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's times in milliseconds. num: how many were measured."""

    name: str
    num: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Survived:
    """What was left `after_s` seconds after offers had been taken."""

    after_s: int
    num_checked: int
    num_kept: int
    num_chars: int
    num_kept_chars: int


@dataclass(frozen=True, slots=True)
class Language:
    """What became of the offers in one language."""

    name: str
    num_asked: int
    num_shown: int
    num_accepted: int
    num_accepted_chars: int


@dataclass(frozen=True, slots=True)
class Summary:
    """days: the single days, each with its counts; total: all of them and what is older."""

    days: Mapping[str, Counts]
    total: Counts

    @classmethod
    def of(cls, days: Mapping[str, Counts]) -> Summary:
        """The summary of what a StatsStore holds."""
        total: Counts = {}
        for counts in days.values():
            merge(total, counts)
        return cls({day: counts for day, counts in days.items() if day != EARLIER}, total)

    def number(self, *names: str) -> int:
        """A count of the total."""
        return number_of(self.total, *names)

    @property
    def is_empty(self) -> bool:
        return not self.total

    def share_without_engine(self) -> float | None:
        """The share of answers that hold something and needed no forward when they were asked."""
        reused = self.number("answered", "offer") + self.number("answered", "cache")
        held = sum(self.number("answered", source) for source in SOURCES if source != "none")
        return reused / held if held else None

    def stages(self) -> list[Stage]:
        """Times of each stage, in the order of a request."""
        known: Mapping[str, Any] = self.total.get("stages", {})
        names = [name for name in _STAGES if name in known]
        names += sorted(name for name in known if name not in _STAGES)
        return [stage for name in names if (stage := _stage(name, known[name])) is not None]

    def survival(self) -> list[Survived]:
        """One line for each time after which taken texts are looked at."""
        return [
            Survived(
                after_s,
                *(
                    self.number("survival", str(after_s), name)
                    for name in ("checked", "kept", "chars", "kept_chars")
                ),
            )
            for after_s in SURVIVAL_TIMES_S
        ]

    def languages(self) -> list[Language]:
        """Languages, those with most offers first."""
        found = [
            Language(
                name,
                *(
                    self.number("languages", name, kind)
                    for kind in ("asked", "shown", "accepted", "accepted_chars")
                ),
            )
            for name in self.total.get("languages", {})
        ]
        return sorted(found, key=lambda language: (-language.num_shown, language.name))

    def reasons(self) -> list[tuple[str, int]]:
        """Why nothing was offered, the commonest first."""
        found: Mapping[str, Any] = self.total.get("nothing_because", {})
        numbers = [(why, number_of(found, why)) for why in found]
        return sorted(numbers, key=lambda each: (-each[1], each[0]))


def percent(part: float, whole: float) -> str:
    """A share in words, a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _stage(name: str, histogram: object) -> Stage | None:
    if not isinstance(histogram, Mapping):
        return None
    times = [quantile_ms(histogram, share) for share in _QUANTILES]
    if None in times:
        return None
    return Stage(name, number_of(histogram), *(each or 0.0 for each in times))
