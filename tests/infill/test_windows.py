"""Windows around the cursor: bounded, at line starts, and still while the user types."""

from __future__ import annotations

from engine.infill.window import prefix_start, suffix_tokens
from engine.tokenizer import CodeTokenizer
from tests.models.checkpoints import TINY

TOKENIZER = CodeTokenizer(TINY / "tokenizer.json")
LINES = "".join(f"value_{number} = number({number})\n" for number in range(2000))


def test_short_text_is_taken_whole() -> None:
    assert prefix_start("abc\ndef", 100, TOKENIZER) == 0
    assert prefix_start("", 100, TOKENIZER) == 0


def test_long_text_is_cut_at_a_line_start_within_the_budget() -> None:
    start = prefix_start(LINES, 400, TOKENIZER)
    assert 0 < start < len(LINES)
    assert LINES[start - 1] == "\n"
    assert len(TOKENIZER.encode(LINES[start:])) <= 400


def test_the_start_moves_in_strides() -> None:
    """Typing 2,000 characters, two windows full, moves the start a few times, not 100 times."""
    starts = {prefix_start(LINES[:at], 400, TOKENIZER) for at in range(30_000, 32_000, 20)}
    assert len(starts) <= 6


def test_one_endless_line_still_fits() -> None:
    for text in ("x" * 50_000, "\U0001f642" * 5_000):
        start = prefix_start(text, 100, TOKENIZER)
        assert start < len(text)
        assert len(TOKENIZER.encode(text[start:])) <= 100


def test_suffix_budget() -> None:
    assert len(suffix_tokens(LINES, 30, TOKENIZER)) == 30
    assert suffix_tokens("", 30, TOKENIZER) == []
    assert TOKENIZER.decode(suffix_tokens("a = 1\n", 30, TOKENIZER)) == "a = 1\n"
