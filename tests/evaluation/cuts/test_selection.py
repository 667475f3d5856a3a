"""The choice of rows: balanced, with limits, and the same whatever the order of candidates."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.cuts.selection import MAX_PER_FILE, Candidate, select

_LANGUAGES, _KINDS = ("go", "python", "rust"), ("call", "line")


def candidate(
    index: int,
    *,
    language: str = "python",
    kind: str = "line",
    package: str = "a",
    file: str = "",
    start: int = 0,
    looks: bytes = b"",
) -> Candidate:
    return Candidate(
        language=language,
        kind=kind,
        package=package,
        file=file or f"{package}/{index}",
        start=start,
        end=start + 10,
        statement_end=start + 10,
        rank=index * 7919 % 10007,
        looks=looks or str(index).encode(),
    )


def many(num: int, seed: int = 0) -> list[Candidate]:
    random = Random(seed)
    return [
        candidate(
            index,
            language=random.choice(_LANGUAGES),
            kind=random.choice(_KINDS),
            package=random.choice("abcde"),
            file=str(random.randrange(num)),
            start=random.randrange(5000),
        )
        for index in range(num)
    ]


@given(st.integers(0, 200), st.integers(1, 100), st.integers(0, 5))
def test_order_limits_and_number(num_candidates: int, num: int, seed: int) -> None:
    candidates = many(num_candidates, seed)
    chosen = select(candidates, num)
    shuffled = list(candidates)
    Random(seed + 1).shuffle(shuffled)
    assert select(shuffled, num) == chosen
    assert len(set(chosen)) == len(chosen) <= num
    assert all(count <= MAX_PER_FILE for count in Counter(c.file for c in chosen).values())


def test_languages_kinds_and_packages_get_equal_shares() -> None:
    chosen = select(many(4000), 300)
    assert len(chosen) == 300
    cells = Counter((each.language, each.kind) for each in chosen)
    assert set(cells.values()) == {50}
    packages = Counter(each.package for each in chosen)
    assert max(packages.values()) - min(packages.values()) <= 2


def test_what_a_language_lacks_the_others_give() -> None:
    rare = [candidate(1000 + index, language="go", package="g") for index in range(3)]
    chosen = select([*rare, *(candidate(index) for index in range(100))], 20)
    assert Counter(each.language for each in chosen) == {"go": 3, "python": 17}


def test_a_small_package_gives_all_it_has_and_a_large_one_the_rest() -> None:
    small = [candidate(index, package="small") for index in range(3)]
    large = [candidate(10 + index, package="large") for index in range(50)]
    assert Counter(each.package for each in select(small + large, 20)) == {"small": 3, "large": 17}


def test_cuts_of_one_file_are_few_and_apart() -> None:
    near = [candidate(index, file="one", start=index * 20) for index in range(100)]
    chosen = select(near, 50)
    assert len(chosen) == MAX_PER_FILE
    starts = sorted(each.start for each in chosen)
    assert all(b - a >= 200 for a, b in pairwise(starts))


def test_cuts_that_look_the_same_are_taken_once() -> None:
    same = [candidate(index, package=str(index), looks=b"same") for index in range(10)]
    assert len(select(same, 10)) == 1
