"""Where documents are cut."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.holes import KINDS, HoleText, cut_hole

UNIT = '''
def {name}(items, limit=10):
    """Return the first `limit` items that are not empty."""
    found = []
    for item in items:
        if item is None or not item.strip():
            continue
        found.append(item.strip())
        if len(found) >= limit:
            break
    return found


class {name}Holder:
    def __init__(self, items):
        self.items = list(items)

    def first(self):
        return self.items[0]

'''
SHORT = UNIT.format(name="collect")
LONG = "\n".join(UNIT.format(name=f"collect_{number}") for number in range(20))


def holes_of(text: str, num: int, seed: int = 0) -> list[HoleText]:
    rng = random.Random(seed)
    return [hole for _ in range(num) if (hole := cut_hole(text, rng)) is not None]


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_a_hole_is_an_excerpt(text: str) -> None:
    for hole in holes_of(text, 500):
        assert hole.prefix + hole.middle + hole.suffix in text
        assert (hole.middle == "") == (hole.kind == "empty")
        assert len(hole.middle) <= 500


@given(st.text(alphabet="ab \n\té(", max_size=300), st.integers(0, 2**32))
def test_no_text_is_too_odd(text: str, seed: int) -> None:
    hole = cut_hole(text, random.Random(seed))
    if hole is not None:
        # A unit ends with one line end, which the text may lack.
        assert hole.prefix + hole.middle + hole.suffix in f"{text}\n"


def test_every_kind_occurs_and_most_dice_find_a_place() -> None:
    holes = holes_of(LONG, 1000)
    assert len(holes) > 750
    counts = Counter(hole.kind for hole in holes)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > 30


def test_whole_lines_are_whole() -> None:
    num_of_several = 0
    for hole in holes_of(LONG, 600):
        if hole.kind == "line":
            assert hole.prefix == "" or hole.prefix.endswith("\n")
            assert hole.middle.count("\n") == 1 and hole.middle.endswith("\n")
        elif hole.kind == "line_tail":
            assert "\n" not in hole.middle and hole.middle
        elif hole.kind == "lines":
            # None where the second of two lines is blank and its end was left out.
            assert hole.middle.count("\n") <= 10
            num_of_several += hole.middle.count("\n") > 0
    assert num_of_several > 50


def block_holes(text: str, num_tries: int = 1500) -> list[HoleText]:
    return [hole for hole in holes_of(text, num_tries) if hole.kind == "block"]


PYTHON_BLOCKS = """def first(items):
    for item in items:
        if item:
            return item

    return None


def second():
    pass
"""
BRACES = """function first(items) {
  for (const item of items) {
    if (item) {
      return item;
    }
  }
  return null;
}

const table = [
  1,
  2,
];
"""


@pytest.mark.parametrize("text", [PYTHON_BLOCKS, BRACES], ids=["python", "braces"])
def test_a_block_hole_ends_where_its_block_does(text: str) -> None:
    """What follows is indented no deeper than the line that opened the block."""
    holes = block_holes(text)
    assert len({hole.middle for hole in holes}) > 8
    for hole in holes:
        whole = hole.prefix + hole.middle
        assert hole.suffix.startswith("\n") and not whole.endswith((":", "{", "["))
        ends_with_brace = whole.rstrip()[-1] in "}]"
        last = whole.splitlines()[-1]
        rest = [line for line in hole.suffix.splitlines() if line.strip()]
        if rest and not ends_with_brace:
            assert len(rest[0]) - len(rest[0].lstrip()) < len(last) - len(last.lstrip())


def test_block_holes_start_behind_the_opening_line_and_inside_it() -> None:
    holes = block_holes(PYTHON_BLOCKS)
    prefixes = {hole.prefix.splitlines()[-1] for hole in holes if hole.prefix}
    assert any(line.endswith(":") for line in prefixes)
    assert any(line and not line.endswith(":") for line in prefixes)
    assert any(hole.prefix.endswith(":\n") for hole in holes)
    assert any(hole.prefix.endswith(":") for hole in holes)


def test_a_text_without_blocks_gives_none() -> None:
    assert block_holes("alpha = 1\nbeta = 2\ngamma = 3\ndelta = 4\n" * 3) == []


def test_half_of_the_spans_start_inside_a_word() -> None:
    """Half by intent, and some of the others by chance."""
    spans = [hole for hole in holes_of(LONG, 1500) if hole.kind == "span"]
    inside = [
        (hole.prefix[-1:] + hole.middle[:1]).isalnum() and len(hole.prefix) > 0 for hole in spans
    ]
    share = sum(inside) / len(inside)
    chance = sum(LONG[at - 1 : at + 1].isalnum() for at in range(1, len(LONG))) / len(LONG)
    assert abs(share - (0.5 + 0.5 * chance)) < 0.07
    assert 0.5 <= share < 0.9


def test_long_texts_are_windowed_and_short_ones_shown_whole() -> None:
    long = holes_of(LONG, 800)
    assert max(len(hole.prefix) for hole in long) <= 2000
    assert max(len(hole.suffix) for hole in long) <= 2000
    assert len({len(hole.suffix) for hole in long}) > 100, "suffixes of all lengths"
    for hole in long:
        at = LONG.index(hole.prefix + hole.middle + hole.suffix)
        assert at == 0 or LONG[at - 1] == "\n" or "\n" not in hole.prefix
    whole = [h for h in holes_of(SHORT, 300) if len(h.prefix + h.middle + h.suffix) == len(SHORT)]
    assert len(whole) > 60


def test_the_same_seed_cuts_the_same_holes() -> None:
    assert holes_of(LONG, 50, seed=4) == holes_of(LONG, 50, seed=4)
    assert holes_of(LONG, 50, seed=4) != holes_of(LONG, 50, seed=5)
