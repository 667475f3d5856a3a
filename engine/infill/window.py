"""How much text around the cursor enters the prompt, cut so that it stays the same while typing."""

from __future__ import annotations

from engine.tokenizer import CodeTokenizer

# No token of code spells fewer than about 1 and more than about 8 characters on average; the upper
# figure bounds what is looked at.
_MAX_CHARS_PER_TOKEN = 8
# The start of the window moves in strides: if it moved with every key, no cached KV would ever fit.
_STRIDE_CHARS = 2048


def prefix_start(prefix: str, max_tokens: int, tokenizer: CodeTokenizer) -> int:
    """Index in `prefix` where the window begins: 0, or the start of a line."""
    excess = len(prefix) - max_tokens * _MAX_CHARS_PER_TOKEN
    start = max(0, -(-excess // _STRIDE_CHARS) * _STRIDE_CHARS)
    while start < len(prefix):
        begin = _line_start(prefix, start)
        if len(tokenizer.encode(prefix[begin:])) <= max_tokens:
            return begin
        start += _STRIDE_CHARS
    return max(0, len(prefix) - max_tokens)


def _line_start(text: str, at: int) -> int:
    """The first line start at or after `at`; `at` itself when the text has no further line."""
    if at == 0:
        return 0
    newline = text.find("\n", at - 1)
    return at if newline < 0 else newline + 1


def suffix_tokens(suffix: str, max_tokens: int, tokenizer: CodeTokenizer) -> list[int]:
    """The first `max_tokens` tokens of the text right of the cursor."""
    return tokenizer.encode(suffix[: max_tokens * _MAX_CHARS_PER_TOKEN])[:max_tokens]
