"""The tokenizer wrapper and token healing: bytes are exact, typed characters are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.infill.healing import heal, unmet_need
from engine.tokenizer import CodeTokenizer, complete_text, is_broken
from tests.models.checkpoints import TINY
from tests.tiny_model import language

TOKENIZER = CodeTokenizer(TINY / "tokenizer.json")
DOCUMENT = next(iter(language.documents(5, held_out=True))).text


@given(st.text(max_size=60))
def test_encode_keeps_every_byte(text: str) -> None:
    assert TOKENIZER.decode_bytes(TOKENIZER.encode(text)) == text.encode("utf-8")


@given(st.text(max_size=20), st.integers(0, 3))
def test_unfinished_characters_are_left_out(text: str, cut: int) -> None:
    data = text.encode("utf-8")
    head = data[: len(data) - cut] if cut else data
    shown = complete_text(head)
    assert text.startswith(shown)
    assert len(head) - len(shown.encode("utf-8")) < 4
    assert not is_broken(head)


@pytest.mark.parametrize("data", [b"ab\xff", b"\x80", b"a\xc3(", b"\xed\xa0\x80"])
def test_broken_bytes_are_told_from_unfinished_ones(data: bytes) -> None:
    assert is_broken(data)
    assert "\ufffd" not in complete_text(data)


@given(st.integers(0, len(DOCUMENT)))
def test_healing_keeps_the_typed_text(cut: int) -> None:
    tokens = TOKENIZER.encode(DOCUMENT[:cut])
    healed = heal(tokens, TOKENIZER)
    assert TOKENIZER.decode_bytes(healed.tokens) + healed.need == DOCUMENT[:cut].encode()
    assert len(tokens) - len(healed.tokens) <= 3
    assert b"\n" not in healed.need[-1:]


@given(st.integers(1, len(DOCUMENT)))
def test_what_really_follows_can_be_spelt(cut: int) -> None:
    """The tokens of the uncut text are among those that healing allows."""
    whole = TOKENIZER.encode(DOCUMENT)
    healed = heal(TOKENIZER.encode(DOCUMENT[:cut]), TOKENIZER)
    if not healed.need or whole[: len(healed.tokens)] != healed.tokens:
        return
    need = healed.need
    for token in whole[len(healed.tokens) :]:
        assert token in TOKENIZER.allowed_first_tokens(need)
        need = unmet_need(need, TOKENIZER.token_bytes(token))
        if not need:
            return


def test_allowed_first_tokens_are_exactly_the_fitting_ones() -> None:
    need = b" re"
    allowed = set(TOKENIZER.allowed_first_tokens(need))
    for token_id in range(TOKENIZER.num_ids):
        piece = TOKENIZER.token_bytes(token_id)
        fits = bool(piece) and (piece.startswith(need) or need.startswith(piece))
        assert (token_id in allowed) == fits


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "valid JSON"),
        ('{"model": {}}', "usable tokenizer"),
        ("[]", "usable tokenizer"),
    ],
)
def test_unusable_tokenizer_files(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(EngineError, match=named):
        CodeTokenizer(path)


def test_missing_and_foreign_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not exist"):
        CodeTokenizer(tmp_path / "tokenizer.json")
    words = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": words}))
    with pytest.raises(EngineError, match="byte-level"):
        CodeTokenizer(path)
