"""Requests and answers survive JSON; what a client may not send is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.completion import (
    MODES,
    Choice,
    Completion,
    CompletionRequest,
    Facts,
    FieldError,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        CompletionRequest,
        prompt=texts,
        suffix=texts,
        mode=st.sampled_from(MODES),
        max_tokens=st.integers(1, 4096),
        temperature=st.floats(0, 2),
        top_p=st.floats(0.01, 1),
        seed=st.none() | st.integers(-5, 5),
        n=st.integers(1, 8),
        stop=st.lists(texts.filter(bool), max_size=3).map(tuple),
        stream=st.booleans(),
        block_size=st.none() | st.integers(8, 32),
        confidence_threshold=st.none() | st.floats(0, 1),
        max_denoising_steps=st.none() | st.integers(1, 32),
        deadline_ms=st.none() | st.floats(1, 1000),
        document=st.none() | texts,
        stop_rules=st.booleans(),
        gate=st.booleans(),
    )
)
def test_request_round_trip(asked: CompletionRequest) -> None:
    assert CompletionRequest.from_json(json.loads(json.dumps(asked.to_json()))) == asked


def test_completion_round_trip() -> None:
    facts = Facts(
        mode="ar",
        route="fim",
        route_reason="Because.",
        forwards=4,
        prefill_forwards=1,
        tokens=6,
        score=-0.25,
        num_near_ties=1,
        cached_tokens=3,
        timings_ms={"total": 1.5},
        num_cycles=4,
        num_drafted_tokens=9,
        num_accepted_tokens=2,
        gated=True,
        gate_features={"mean_logprob": -0.25},
    )
    completion = Completion(
        id="c",
        created=1,
        model="m",
        choices=(Choice(0, "text", "stop"),),
        prompt_tokens=5,
        completion_tokens=6,
        facts=facts,
    )
    body = json.loads(json.dumps(completion.to_json()))
    assert Completion.from_json(body) == completion
    assert body["nemodiff"]["tokens_per_forward"] == 1.5
    # Two accepted drafts in four cycles, and each cycle's own token.
    assert body["nemodiff"]["tokens_per_cycle"] == 1.5
    assert body["usage"]["total_tokens"] == 11


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "a", "mode": "fast"}, "mode"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "a", "max_tokens": True}, "max_tokens"),
        ({"prompt": "a", "block_size": 7}, "block_size"),
        ({"prompt": "a", "block_size": 33}, "block_size"),
        ({"prompt": "a", "confidence_threshold": 1.1}, "confidence_threshold"),
        ({"prompt": "a", "max_denoising_steps": 0}, "max_denoising_steps"),
        ({"prompt": "a", "temperature": float("nan")}, "temperature"),
        ({"prompt": "a", "temperature": 10**400}, "temperature"),
        ({"prompt": "a", "top_p": 0}, "top_p"),
        ({"prompt": "a", "stop": [""]}, "stop"),
        ({"prompt": "a", "stop": ["\ud800"]}, "stop"),
        ({"prompt": "a", "stop": ["x"] * 17}, "stop"),
        ({"prompt": "a", "n": 9}, "n"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
        ({"prompt": "a", "gate": 1}, "gate"),
        ({"prompt": "a", "deadline_ms": 0}, "deadline_ms"),
        ({"prompt": "a", "logprobs": 5}, "logprobs"),
        ({"prompt": "a", "max_token": 5}, "max_token"),
    ],
)
def test_a_bad_field_is_named(body: object, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        CompletionRequest.from_json(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_what_openai_clients_send_as_a_matter_of_course_is_accepted() -> None:
    body = {
        "prompt": ["a"],
        "model": "x",
        "user": "me",
        "echo": False,
        "logprobs": None,
        "presence_penalty": 0,
        "stop": None,
        "stream_options": {"include_usage": True},
    }
    assert CompletionRequest.from_json(body).prompt == "a"
