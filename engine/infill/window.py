"""How much text around the cursor enters the prompt, cut so that it stays the same while typing."""

from __future__ import annotations

from engine.tokenizer import CodeTokenizer

# Tokens of code spell 2 to 5 characters on average: more text than this is not even looked at.
MAX_CHARS_PER_TOKEN = 8
# The start of the window moves in strides, about a quarter of the window each: if it moved with
# every key, no cached KV would ever fit.
_STRIDE_CHARS_PER_TOKEN = 1


def prefix_start(prefix: str, max_tokens: int, tokenizer: CodeTokenizer) -> int:
    """Index in `prefix` where the window begins: 0, or the start of a line where there is one."""
    base = max(0, len(prefix) - max_tokens * MAX_CHARS_PER_TOKEN)
    starts = tokenizer.token_starts(prefix[base:])
    if base == 0 and len(starts) <= max_tokens:
        return 0
    earliest = base + (starts[-max_tokens] if len(starts) > max_tokens else 0)
    stride = max_tokens * _STRIDE_CHARS_PER_TOKEN
    start = -(-earliest // stride) * stride
    line_start = _line_start(prefix, start)
    # A line longer than the window is cut inside; text of the rarest characters, a token or more
    # each, fits no stride.
    if line_start - start > stride:
        line_start = start
    return next((at for at in (line_start, start) if at < len(prefix)), earliest)


def _line_start(text: str, at: int) -> int:
    """The first line start at or after `at`; `at` itself when the text has no further line."""
    if at == 0:
        return 0
    newline = text.find("\n", at - 1)
    return at if newline < 0 else newline + 1


def suffix_tokens(suffix: str, max_tokens: int, tokenizer: CodeTokenizer) -> list[int]:
    """The first `max_tokens` tokens of the text right of the cursor."""
    return tokenizer.encode(suffix[: max_tokens * MAX_CHARS_PER_TOKEN])[:max_tokens]
