"""Windows over plain text."""

from __future__ import annotations

import pytest

from engine.tokenizer import CodeTokenizer
from engine.training.windows import TextWindows
from tests.tiny_model import CHECKPOINT, language

END = 11


@pytest.fixture(scope="module")
def tokenizer() -> CodeTokenizer:
    return CodeTokenizer(CHECKPOINT / "tokenizer.json")


def windows(tokenizer: CodeTokenizer, num_tokens: int, seed: int = 0) -> TextWindows:
    documents = language.documents(8, held_out=False)
    texts = ["", *(next(documents).text for _ in range(7))]
    return TextWindows(texts, tokenizer, end_token=END, num_tokens=num_tokens, seed=seed)


def test_windows_are_full_and_made_of_texts(tokenizer: CodeTokenizer) -> None:
    documents = language.documents(8, held_out=False)
    texts = [tokenizer.encode(next(documents).text) for _ in range(7)]
    stream = windows(tokenizer, 200)
    starts = 0
    for _ in range(30):
        window = stream.next_tokens()
        assert len(window) == 200
        at = window.index(END)
        assert any(text[-at:] == window[:at] for text in texts), "the end of a text comes first"
        assert any(text[: 199 - at] == window[at + 1 :][: len(text)] for text in texts)
        starts += window[:at] in texts
    assert 5 < starts < 25


def test_a_long_text_is_cut(tokenizer: CodeTokenizer) -> None:
    window = windows(tokenizer, 12).next_tokens()
    assert len(window) == 12


def test_windows_go_on_from_the_cursor(tokenizer: CodeTokenizer) -> None:
    whole = windows(tokenizer, 150)
    expected = [whole.next_tokens() for _ in range(12)]
    first, second = windows(tokenizer, 150), windows(tokenizer, 150)
    assert [first.next_tokens() for _ in range(5)] == expected[:5]
    second.cursor = first.cursor
    assert [second.next_tokens() for _ in range(7)] == expected[5:]
    assert whole.cursor[0] > 1
    other = windows(tokenizer, 150, seed=1)
    assert [other.next_tokens() for _ in range(5)] != expected[:5]


def test_no_text_is_an_error(tokenizer: CodeTokenizer) -> None:
    with pytest.raises(ValueError, match="no text"):
        TextWindows(["", ""], tokenizer, end_token=END, num_tokens=5, seed=0)
