"""Metrics of one completion's text: hand-made cases, and laws that hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation import metrics

TEXT = st.text(alphabet="ab \n()", max_size=12)
SOLID = TEXT.filter(lambda text: bool(text.strip()))


@pytest.mark.parametrize(
    ("text", "gold", "exact", "trimmed"),
    [
        ("return x\n", "return x\n", True, True),
        ("return x", "return x\n", False, True),
        ("return x\n\n", "return x", False, True),
        ("return x ", "return x", False, False),
        ("\nreturn x", "return x", False, False),
    ],
)
def test_exact_matches(text: str, gold: str, exact: bool, trimmed: bool) -> None:
    assert metrics.is_exact(text, gold) is exact
    assert metrics.is_exact_trimmed(text, gold) is trimmed


@pytest.mark.parametrize(("text", "is_silent"), [("", True), (" \n\t", True), (")", False)])
def test_silence_is_what_an_editor_does_not_show(text: str, is_silent: bool) -> None:
    assert metrics.is_silent(text) is is_silent


@pytest.mark.parametrize(
    ("text", "gold", "overrun", "underrun"),
    [
        ("a + b", "a + b", False, False),
        ("a + b\n", "a + b", False, False),
        ("a + b)\n", "a + b", True, False),
        ("a + b\nreturn", "a + b\n", True, False),
        ("a +", "a + b", False, True),
        ("a +  ", "a + b", False, True),
        ("b", "a + b", False, False),
        # Nothing at all is silence, which has a figure of its own.
        ("", "a + b", False, False),
        ("x", "", None, None),
    ],
)
def test_wrong_lengths(text: str, gold: str, overrun: bool | None, underrun: bool | None) -> None:
    assert metrics.is_overrun(text, gold) is overrun
    assert metrics.is_underrun(text, gold) is underrun


@given(SOLID, SOLID)
def test_going_on_and_stopping_early_mirror_each_other(text: str, gold: str) -> None:
    assert metrics.is_overrun(text, gold) == metrics.is_underrun(gold, text)
    assert not (metrics.is_overrun(text, gold) and metrics.is_underrun(text, gold))


@given(SOLID, st.text(alphabet="ab", min_size=1))
def test_anything_behind_the_gold_text_is_an_overrun(gold: str, more: str) -> None:
    assert metrics.is_overrun(gold.rstrip() + more, gold) is True


@pytest.mark.parametrize(
    ("text", "gold", "similarity"),
    [("abcd", "abcd", 1.0), ("abcd\n", "abcd", 1.0), ("abc", "abcd", 0.75), ("xy", "ab", 0.0)],
)
def test_edit_similarity(text: str, gold: str, similarity: float) -> None:
    assert metrics.edit_similarity(text, gold) == pytest.approx(similarity)


@given(TEXT, TEXT)
def test_edit_similarity_is_symmetric_and_one_for_equal_texts_only(a: str, b: str) -> None:
    similarity = metrics.edit_similarity(a, b)
    assert similarity == metrics.edit_similarity(b, a)
    assert 0.0 <= similarity <= 1.0
    assert (similarity == 1.0) == (a.rstrip() == b.rstrip())


REPEATS: dict[str, tuple[str, str, str, str, bool]] = {
    # name: prompt, text, suffix, gold, whether it repeats
    "next line written again": (
        "def f(x):\n    ",
        "y = x\n    return y\n",
        "\n    return y\n",
        "y = x",
        True,
    ),
    "right text": ("    ", "y = x", "\n    return y\n", "y = x", False),
    "short line written again": ("", "a()\nb()", "\nb()\n", "a()", True),
    "only the hole's line, equal to the next": ("    ", "go()", "\n    go()\n", "stop()", True),
    "gold does the same": ("    ", "go()\n", "    go()\n", "go()\n", False),
    "another indentation": ("", "if x:\n    }\n", "}\n", "pass\n", False),
    "closing brace of the same depth": ("f {\n", "  x\n}\n", "}\n", "  x\n", True),
    "suffix begins inside the line": ("f(", "a)", ")\nb()\n", "a", False),
    "eight characters of the rest of the line": (
        "x = f(",
        "a, key=None)",
        ", key=None)\n",
        "a",
        True,
    ),
    "seven characters": ("x = f(", "a, key=N", ", key=None)\n", "a", False),
    "white space does not count": ("f(", "a,   key = None", ",key=None)", "a", True),
    "went on behind the whole suffix": (
        "def f():\n",
        "    a()\n    return value\ndef g():\n    pass\n",
        "    return value\n",
        "    a()\n",
        True,
    ),
    "blank": ("a", " \n", "\n\n", "b", False),
    "no suffix": ("a", "b", "", "c", False),
    "blank suffix": ("a", "b\n", "\n  \n", "c", False),
    "silent row, next statement": ("x = 1", "\ny = 2", "\ny = 2\n", "", True),
    "silent row, something new": ("x = 1", "\nz = 3", "\ny = 2\n", "", False),
}


@pytest.mark.parametrize("case", REPEATS)
def test_repeated_suffix(case: str) -> None:
    prompt, text, suffix, gold, expected = REPEATS[case]
    assert metrics.repeats_suffix(prompt, text, suffix, gold) is expected


@given(TEXT, TEXT, TEXT)
def test_the_right_text_never_repeats_the_suffix(prompt: str, suffix: str, gold: str) -> None:
    assert not metrics.repeats_suffix(prompt, gold, suffix, gold)


@given(TEXT, SOLID, st.text(alphabet="xyz", min_size=metrics.MIN_OVERLAP_CHARS, max_size=12))
def test_a_long_enough_head_behind_the_gold_text_is_always_seen(
    prompt: str, gold: str, suffix: str
) -> None:
    head = suffix[: metrics.MIN_OVERLAP_CHARS]
    assert metrics.repeats_suffix(prompt, gold + head, suffix, gold)


@given(TEXT, TEXT)
def test_overlap_is_the_longest_there_is(text: str, suffix: str) -> None:
    found = metrics.overlap_chars(text, suffix)
    tail, head = "".join(text.split()), "".join(suffix.split())
    fitting = [size for size in range(len(head) + 1) if tail[len(tail) - size :] == head[:size]]
    assert found == max(size for size in fitting if size <= len(tail))
