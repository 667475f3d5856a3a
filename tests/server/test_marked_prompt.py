"""Prompts in a model's own fill-in-the-middle marks are taken apart; nobody else's are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.server.marked_prompt import FAMILIES, Marks, unmarked
from tests.server.server_harness import Harness

TEXT = st.text("ab \n<|>_fim", max_size=9)


@given(st.sampled_from(FAMILIES), TEXT, TEXT)
def test_both_sides_come_apart(marks: Marks, prefix: str, suffix: str) -> None:
    prompt = marks.begin + prefix + marks.hole + suffix + marks.end
    body = {"prompt": prompt, "max_tokens": 3, "stop": ["<|endoftext|>"]}
    assert unmarked(body) == {**body, "prompt": prefix, "suffix": suffix}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"prompt": 3},
        {"prompt": "def f("},
        {"prompt": "<|fim_prefix|>a<|fim_suffix|>b"},
        {"prompt": "a<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"},
        {"prompt": "<|fim_prefix|>a<|fim_middle|>"},
        {"prompt": "<|fim_prefix|>a<|fim_suffix|>b<|fim_suffix|>c<|fim_middle|>"},
        {"prompt": "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "suffix": "c"},
        {"prompt": "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "document": "file:///a"},
    ],
)
def test_anything_else_stays_as_it_is(body: object) -> None:
    assert unmarked(body) is body


def test_the_engine_is_asked_for_the_hole_between_them(harness: Harness) -> None:
    prompt = "<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>"
    with harness.http() as http:
        answer = http.post("/v1/completions", json={"prompt": prompt})
    assert answer.status_code == 200
    (asked,) = harness.engine.requests
    assert (asked.prompt, asked.suffix) == ("a = ", "\nb")
