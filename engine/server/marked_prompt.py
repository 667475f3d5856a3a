"""Prompts that hold both sides of the cursor in a model's own marks, taken apart.

Editors that speak OpenAI's completions schema to "a fill-in-the-middle model" (Zed, Continue) write
such prompts themselves. The engine writes its own, so it wants the two sides. Called by `app.py`.
"""

from __future__ import annotations

from typing import NamedTuple


class Marks(NamedTuple):
    """What stands before the prefix, between prefix and suffix, and behind the suffix."""

    begin: str
    hole: str
    end: str


FAMILIES = (
    Marks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Marks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    Marks("<PRE> ", " <SUF>", " <MID>"),
)
"""Of Qwen, StarCoder, DeepSeek and Code Llama."""


def unmarked(body: object) -> object:
    """`body` with ``prompt`` and ``suffix`` apart if its prompt is such a one, else as it is.

    A body that names a document or a suffix comes from a client that knows better.
    """
    if not isinstance(body, dict) or body.get("suffix") or "document" in body:
        return body
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        return body
    for marks in FAMILIES:
        if prompt.startswith(marks.begin) and prompt.endswith(marks.end):
            inside = prompt[len(marks.begin) : -len(marks.end)]
            prefix, found, suffix = inside.partition(marks.hole)
            # A mark that is there twice is text of the document.
            if found and not any(mark in prefix or mark in suffix for mark in marks):
                return {**body, "prompt": prefix, "suffix": suffix}
    return body
