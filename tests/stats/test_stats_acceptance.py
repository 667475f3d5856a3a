"""What becomes of an offer, read off the document: typed, taken, left, and how it lasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.documents.positions import split_lines
from nemodiff_lsp.stats.acceptance import Acceptance
from nemodiff_lsp.stats.recorder import SURVIVAL_TIMES_S, Recorder
from nemodiff_lsp.stats.store import StatsStore
from nemodiff_lsp.stats.survival import Survival, num_lost_chars

URI = "file:///a.py"


class Spy(Recorder):
    """Notes the calls instead of counting."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_enabled = True

    def shown(self, offer_id: str, num_chars: int, language_id: str | None) -> None:
        self.calls.append(("shown", offer_id, num_chars))

    def typed_through(self, offer_id: str, num_chars: int) -> None:
        self.calls.append(("typed", offer_id, num_chars))

    def partly_accepted(self, offer_id: str, num_chars: int) -> None:
        self.calls.append(("partly", offer_id, num_chars))

    def accepted(self, offer_id: str, num_chars: int) -> None:
        self.calls.append(("accepted", offer_id, num_chars))

    def dismissed(self, offer_id: str) -> None:
        self.calls.append(("dismissed", offer_id))

    def survived(self, after_s: int, num_chars: int, num_kept_chars: int, *, is_kept: bool) -> None:
        self.calls.append(("survived", after_s, num_chars, num_kept_chars, is_kept))


class Desk:
    """A document, an offer in it, and a clock that is turned by hand."""

    def __init__(self, before: str, after: str = "") -> None:
        self.before, self.after = before, after
        self.texts: dict[str, str] = {URI: before + after}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.recorder = Spy()
        survival = Survival(self.recorder, self.lines, self.schedule)
        self.acceptance = Acceptance(self.recorder, survival, self.lines)

    def lines(self, uri: str) -> list[str] | None:
        return split_lines(self.texts[uri]) if uri in self.texts else None

    def schedule(self, after_s: float, call: Callable[[], None]) -> None:
        self.timers.append((after_s, call))

    def offer(self, text: str, offer_id: str = "1") -> None:
        *_, last = self.before.split("\n")
        self.acceptance.shown(offer_id, URI, self.before.count("\n"), len(last), text, "python")

    def write(self, inserted: str) -> list[tuple[Any, ...]]:
        """The document with `inserted` at the cursor; what was recorded because of it."""
        return self.become(self.before + inserted + self.after)

    def become(self, text: str) -> list[tuple[Any, ...]]:
        num_before = len(self.recorder.calls)
        self.texts[URI] = text
        self.acceptance.changed(URI)
        return self.recorder.calls[num_before:]

    def run_timers(self, until_s: float) -> list[tuple[Any, ...]]:
        num_before = len(self.recorder.calls)
        due = [timer for timer in self.timers if timer[0] <= until_s]
        self.timers = [timer for timer in self.timers if timer[0] > until_s]
        for _, call in sorted(due, key=lambda timer: timer[0]):
            call()
        return self.recorder.calls[num_before:]


def test_taken_whole() -> None:
    desk = Desk("x = ", "\ny = 2\n")
    desk.offer("compute(a)\n    + 1")
    assert desk.write("compute(a)\n    + 1") == [("accepted", "1", 18)]
    assert desk.write("compute(a)\n    + 1 ") == [], "it is over"


def test_typed_along_and_then_taken() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("compute(a)")
    assert desk.write("c") == [("typed", "1", 1)]
    assert desk.write("com") == [("typed", "1", 3)]
    assert desk.write("co") == []
    assert desk.write("com") == [("typed", "1", 3)], "the recorder counts only what is further on"
    desk.offer("compute(a)")
    assert desk.write("compute(a)") == [("accepted", "1", 10)]


def test_typed_to_the_end() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("ab")
    assert [desk.write("a"), desk.write("ab")] == [[("typed", "1", 1)], [("typed", "1", 2)]]


def test_a_word_is_taken() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("compute(alpha)")
    assert desk.write("compute") == [("partly", "1", 7)]
    assert desk.write("compute(") == [("typed", "1", 8)]


def test_gone_another_way() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("compute(a)")
    assert desk.write("d") == [("dismissed", "1")]
    assert desk.write("compute(a)") == []


def test_a_new_offer_takes_the_place_of_the_old_one() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("one")
    desk.offer("one")
    desk.offer("two", "2")
    calls = [("shown", "1", 3), ("dismissed", "1"), ("shown", "2", 3)]
    assert desk.recorder.calls == calls


def test_what_follows_is_not_taken_for_typed() -> None:
    """The offer begins like the text that stands behind it already."""
    desk = Desk("f(", ") + 1\n")
    desk.offer(") + 2")
    assert desk.write("") == []
    assert desk.write(")") == [("typed", "1", 1)]
    assert desk.write(") + 2") == [("accepted", "1", 5)]


def test_brackets_that_the_editor_closes() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("compute(a)")
    desk.write("compute")
    assert desk.become("x = compute()\n") == [("typed", "1", 8)]


def test_other_edits() -> None:
    between = "a line between the two\n"
    desk = Desk("a\nx = ", f"\n{between}last\n")
    desk.offer("compute(a)")
    assert desk.become(f"a\nx = \n{between}last line\n") == [], "beyond what is looked at"
    assert desk.become(f"a\ny = \n{between}last line\n") == [("dismissed", "1")]
    desk.offer("compute(a)", "2")
    desk.texts.clear()
    desk.acceptance.changed(URI)
    desk.acceptance.closed(URI)
    desk.texts[URI] = "a\nx = compute(a)\n"
    desk.acceptance.changed(URI)
    assert desk.recorder.calls[-1] == ("shown", "2", 10)


def test_line_ends_do_not_matter() -> None:
    desk = Desk("x = ", "\r\ny\r\n")
    desk.offer("a(\n    b)")
    assert desk.write("a(\r\n    b)") == [("accepted", "1", 9)]


def test_a_client_that_tells_by_command() -> None:
    desk = Desk("x = ", "\n")
    desk.offer("compute(a)")
    desk.texts[URI] = "x = compute(a)\n"
    desk.acceptance.accepted(URI, "other")
    desk.acceptance.accepted(URI, "1")
    desk.acceptance.changed(URI)
    assert desk.recorder.calls == [("shown", "1", 10), ("accepted", "1", 10)]


@given(
    before=st.text(alphabet="ab(\n ", max_size=12),
    after=st.text(alphabet="ab)\n ", max_size=12),
    text=st.text(alphabet="ab()\n ", min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=5),
)
def test_typing_an_offer_through_never_dismisses_it(
    before: str, after: str, text: str, cuts: list[int]
) -> None:
    desk = Desk(before, after)
    desk.offer(text)
    for cut in sorted(cuts):
        desk.write(text[:cut])
    desk.write(text)
    kinds = [call[0] for call in desk.recorder.calls]
    assert "dismissed" not in kinds
    assert kinds[0] == "shown"


def test_survival_is_looked_at_at_five_times() -> None:
    text = "compute(alpha, beta)"
    desk = Desk("x = ", "\nz = 3\n")
    desk.offer(text)
    desk.write(text)
    assert [timer[0] for timer in desk.timers] == list(SURVIVAL_TIMES_S)
    assert desk.run_timers(15) == [("survived", 15, 20, 20, True)]
    desk.become("import os\nimport re\nx = compute(gamma, beta)\nz = 3\n")
    (looked,) = desk.run_timers(30)
    assert looked[:3] == ("survived", 30, 20) and looked[4] and 14 <= looked[3] < 20
    desk.become("import os\nx = None\n")
    assert [call[4] for call in desk.run_timers(120)] == [False]
    desk.texts.clear()
    desk.acceptance.closed(URI)
    assert desk.run_timers(600) == []


def test_nothing_is_held_when_switched_off() -> None:
    desk = Desk("x = ", "\n")
    desk.recorder.is_enabled = False
    desk.offer("compute(a)")
    desk.write("compute(a)")
    assert desk.timers == []


@pytest.mark.parametrize("num_above", [0, 3, 300])
def test_a_shifted_text_is_found(num_above: int) -> None:
    text = "for item in items:\n    total += item"
    head = [f"line {index}\n" for index in range(50)]
    tail = [f"tail {index}\n" for index in range(50)]
    added = [f"new {index}\n" for index in range(num_above)]
    lines = [*head, *added, *split_lines(f"{text}\n")[:-1], *tail]
    assert num_lost_chars(text, 50, 102, lines) == 0
    assert num_lost_chars(text, 50, 102, [*head, *tail]) > len(text) / 2


@given(text=st.text(min_size=1, max_size=40), document=st.text(max_size=80), line=st.integers(0, 5))
def test_what_is_lost_lies_between_nothing_and_all(text: str, document: str, line: int) -> None:
    assert 0 <= num_lost_chars(text, line, 3, split_lines(document)) <= len(text)


def test_the_whole_way_into_the_file(tmp_path: Path) -> None:
    recorder = Recorder(StatsStore(tmp_path), today=lambda: "d")
    desk = Desk("x = ", "\n")
    survival = Survival(recorder, desk.lines, desk.schedule)
    desk.acceptance = Acceptance(recorder, survival, desk.lines)
    desk.offer("compute(a)")
    desk.write("com")
    desk.write("compute(a)")
    desk.run_timers(600)
    recorder.close()
    counts = StatsStore(tmp_path).days()["d"]
    assert (counts["shown"], counts["typed_chars"], counts["accepted_chars"]) == (1, 3, 10)
    assert counts["survival"]["600"] == {"checked": 1, "kept": 1, "chars": 10, "kept_chars": 10}
    assert "compute" not in (tmp_path / "statistics.json").read_text()
