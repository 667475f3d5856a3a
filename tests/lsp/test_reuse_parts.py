"""The parts of reuse against slow oracles: what was typed, what is left, what is kept."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from nemodiff_lsp.completion.pacing import Pacer
from nemodiff_lsp.completion.power import Power
from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.snapshot import Snapshot, take_snapshot
from nemodiff_lsp.reuse.cache import CompletionCache, Entry
from nemodiff_lsp.reuse.offers import Alternative, Offer, Offers
from nemodiff_lsp.reuse.speculation import cursor_after
from nemodiff_lsp.reuse.typed import carry_over, typed_since

CODE = st.text(alphabet="ab (\n", max_size=12)
NEWLINES = st.sampled_from(["\n", "\r\n"])


def snapshot(before: str, after: str, newline: str = "\n", max_chars: int = 400) -> Snapshot:
    """The snapshot of `before` + `after` with the cursor in between."""
    text = (before + after).replace("\n", newline)
    document = Document("file:///a.py", text, 1, "python", PositionCodec("utf-16"))
    last_line = before.rpartition("\n")[2]
    position = types.Position(before.count("\n"), len(last_line))
    return take_snapshot(
        document, position, None, max_prefix_chars=max_chars, max_suffix_chars=max_chars
    )


@given(before=CODE, typed=CODE, after=CODE, newline=NEWLINES, filler=st.integers(0, 60))
def test_what_was_typed_is_found(
    before: str, typed: str, after: str, newline: str, filler: int
) -> None:
    """Also when the windows have moved on in between."""
    before = "line of text\n" * filler + before
    then = snapshot(before, after, newline)
    assert typed_since(then, snapshot(before + typed, after, newline)) == typed


@given(before=CODE, typed=CODE, after=CODE, other_before=CODE, other_after=CODE)
@example(before="a", typed="", after="b", other_before="a", other_after="a")
@example(before="aa", typed="a", after="", other_before="ba", other_after="")
def test_any_other_edit_is_no_typing(
    before: str, typed: str, after: str, other_before: str, other_after: str
) -> None:
    found = typed_since(snapshot(before, after), snapshot(other_before + typed, other_after))
    if found is None:
        assert (other_before, other_after) != (before, after)
    else:
        assert other_before + typed == before + found
        closed = other_after[: len(other_after) - len(after)]
        assert closed + after == other_after
        assert set(closed) <= set(" \n)]}>\"'`;,") and (found or not closed)


@given(before=CODE, offered=st.text(alphabet="ab \n", min_size=1, max_size=12), after=CODE)
def test_what_is_left_completes_the_offer_however_much_is_typed(
    before: str, offered: str, after: str
) -> None:
    """The oracle: the text after taking it is the text with the offer inserted as it was made."""
    offers = Offers()
    base = snapshot(before, after)
    offers.remember(Offer(id="1", base=base, alternatives=(Alternative(offered, shown=offered),)))
    for num_typed in [*range(len(offered)), *reversed(range(len(offered)))]:
        now = snapshot(before + offered[:num_typed], after)
        match = offers.match(now, is_invoked=False)
        assert match is not None
        (left,) = match[1]
        assert left is not None
        assert now.prefix + left.text + now.suffix == before + offered + after
    assert offers.match(snapshot(before + offered, after), is_invoked=False) is None
    assert offers.match(snapshot(before + offered[:-1] + "z", after), is_invoked=False) is None


@given(offered=CODE, num_typed=st.integers(0, 12))
def test_what_agrees_is_carried_over_whole(offered: str, num_typed: int) -> None:
    assert carry_over(offered, offered[:num_typed]) == offered[num_typed:]


@given(offered=CODE, typed=CODE)
def test_what_is_carried_over_is_an_end_of_the_offer(offered: str, typed: str) -> None:
    assert offered.endswith(carry_over(offered, typed))


def test_only_what_conflicts_is_dropped() -> None:
    offered = "for i in range(n):\n    total += i"
    for typed, left in [
        ("for idx", " in range(n):\n    total += i"),
        ("for idx in ", "range(n):\n    total += i"),
        ("for idx in ra", "nge(n):\n    total += i"),
        ("for  i", " in range(n):\n    total += i"),
        ("while", " i in range(n):\n    total += i"),
        (offered + " and more", ""),
    ]:
        assert carry_over(offered, typed) == left


@given(
    puts=st.lists(st.tuples(st.text(alphabet="ab", max_size=3), st.text(max_size=40)), max_size=40)
)
def test_the_cache_stays_within_its_bounds(puts: list[tuple[str, str]]) -> None:
    cache = CompletionCache(max_entries=5, max_bytes=4_000)
    for place, text in puts:
        at = snapshot(place, "")
        cache.put(at, "scope", Entry((text,)), is_invoked=False)
        assert len(cache) <= 5 and 0 <= cache.num_bytes <= 4_000
        hit = cache.find(at, "scope", is_invoked=False)
        assert hit is not None
        assert [each.text for each in hit.alternatives] == ([text] if text else [])
    cache.clear()
    assert (len(cache), cache.num_bytes) == (0, 0)


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache = CompletionCache(max_entries=2)
    for place in ("a", "b"):
        cache.put(snapshot(place, ""), "", Entry(("x",)), is_invoked=False)
    assert cache.find(snapshot("a", ""), "", is_invoked=False) is not None
    cache.put(snapshot("c", ""), "", Entry(("x",)), is_invoked=False)
    found = {at: cache.find(snapshot(at, ""), "", is_invoked=False) is not None for at in "abc"}
    assert found == {"a": True, "b": False, "c": True}


def test_the_cache_tells_scopes_suffixes_and_keys_apart() -> None:
    cache = CompletionCache()
    at = snapshot("x = ", "\ny")
    cache.put(at, "one", Entry(("a",)), is_invoked=False)
    assert cache.find(at, "one", is_invoked=False) is not None
    assert cache.find(at, "two", is_invoked=False) is None
    assert cache.find(at, "one", is_invoked=True) is None
    assert cache.find(snapshot("x = ", "\nz"), "one", is_invoked=False) is None
    assert cache.find(snapshot("y = ", "\ny"), "one", is_invoked=False) is None


def partial(line: int, character: int, text: str) -> types.TextDocumentContentChangePartial:
    place = types.Position(line, character)
    return types.TextDocumentContentChangePartial(types.Range(place, place), text)


def test_the_cursor_follows_a_change() -> None:
    for change, place in [
        (partial(3, 4, "ab"), (3, 6)),
        (partial(3, 4, ""), (3, 4)),
        (partial(3, 4, "\U0001f600"), (3, 6)),
        (partial(3, 4, "a\n  b"), (4, 3)),
        (partial(3, 4, "\r\n\t"), (4, 1)),
        (partial(3, 4, "()"), (3, 5)),
    ]:
        assert cursor_after([change], "utf-16") == types.Position(*place)
    whole = types.TextDocumentContentChangeWholeDocument("text")
    for changes in ([], [whole], [partial(0, 0, "a"), partial(1, 0, "b")]):
        assert cursor_after(changes, "utf-16") is None


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_quick_idle_engine_is_asked_at_once_and_a_slow_one_after_a_pause() -> None:
    clock = Clock()
    pacer = Pacer(clock=clock)
    assert pacer.wait_ms(75, 0, is_idle=True) == 0, "nothing is known of it yet"
    pacer.note_latency(20)
    assert pacer.wait_ms(75, 0, is_idle=True) == 0
    assert pacer.wait_ms(75, 0, is_idle=False) == 20, "never longer than the work that it may save"
    for _ in range(40):
        pacer.note_latency(1_000)
    assert pacer.wait_ms(75, 0, is_idle=True) == 75
    for _ in range(40):
        clock.now_s += 0.15
        pacer.note_key()
    assert pacer.wait_ms(75, 50, is_idle=True) == 75, "what it begins survives typing along"
    assert pacer.wait_ms(75, 50, is_idle=False) == pytest.approx(1.2 * 150 - 50)


@given(
    latency_ms=st.floats(0, 1e5),
    distances_ms=st.lists(st.floats(0, 5_000), max_size=10),
    base_ms=st.floats(0, 1_000),
    client_ms=st.floats(0, 2_000),
)
def test_waits_are_bounded(
    latency_ms: float, distances_ms: list[float], base_ms: float, client_ms: float
) -> None:
    clock = Clock()
    pacer = Pacer(clock=clock)
    pacer.note_latency(latency_ms)
    for distance_ms in distances_ms:
        clock.now_s += distance_ms / 1000
        pacer.note_key()
    wait_ms = pacer.wait_ms(base_ms, client_ms, is_idle=False)
    assert 0 <= wait_ms <= min(200, latency_ms)


def test_fast_typing_is_waited_out() -> None:
    clock = Clock()
    pacer = Pacer(clock=clock)
    pacer.note_latency(500)
    for _ in range(5):
        clock.now_s += 0.1
        pacer.note_key()
    assert round(pacer.wait_ms(0, 0, is_idle=False)) == 120
    assert round(pacer.wait_ms(0, 50, is_idle=False)) == 70, "the client has waited already"
    clock.now_s += 2.0
    pacer.note_key()
    assert pacer.wait_ms(0, 0, is_idle=False) == 0


def test_the_battery_is_looked_at_now_and_then() -> None:
    clock, seen = Clock(), [True, False]
    power = Power(lambda: seen.pop(0), clock)
    assert power.is_on_battery() and power.is_on_battery()
    clock.now_s += 60
    assert not power.is_on_battery()
