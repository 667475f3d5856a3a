"""Blocks of linear_spec that grow while their drafts are right, and drafts not worth verifying."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.decoding import linear_spec
from engine.decoding.linear_spec import next_block_size, num_worth_verifying
from engine.decoding.state import DecodingParams
from engine.engine import Engine
from engine.messages.completion import CompletionRequest
from tests.tiny_model import language

GROWING = DecodingParams(block_size=8, max_tokens=64, max_block_size=32)


def test_a_block_grows_while_all_of_it_is_accepted() -> None:
    sizes = [8]
    for num_accepted in (7, 15, 31, 31, 16, 15, 7, 3):
        sizes.append(next_block_size(sizes[-1], sizes[-1] - 1, num_accepted, GROWING))
    assert sizes == [8, 16, 32, 32, 32, 32, 8, 16, 8]


def test_what_was_cut_short_says_nothing_about_longer_blocks() -> None:
    assert next_block_size(8, 3, 3, GROWING) == 8
    assert next_block_size(16, 3, 3, GROWING) == 16


@given(st.integers(1, 64), st.integers(0, 63), st.integers(0, 63))
def test_a_size_that_was_asked_for_stays(size: int, num_drafted: int, num_accepted: int) -> None:
    fixed = DecodingParams(block_size=size, max_tokens=64)
    assert next_block_size(size, num_drafted, min(num_accepted, num_drafted), fixed) == size


def test_hopeless_drafts_are_not_verified() -> None:
    assert num_worth_verifying([0.9, 0.9, 0.01, 1.0]) == 2
    assert num_worth_verifying([0.2, 0.2, 0.2]) == 1
    assert num_worth_verifying([0.01, 1.0]) == 1
    assert num_worth_verifying([]) == 0


def test_growing_blocks_change_no_text(
    tiny_config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.load(tiny_config)
    sizes: list[int] = []
    real = linear_spec.next_block_size

    def noted(size: int, *rest: object) -> int:
        sizes.append(real(size, *rest))  # type: ignore[arg-type]
        return sizes[-1]

    monkeypatch.setattr(linear_spec, "next_block_size", noted)
    for seed in range(1, 5):
        text = next(iter(language.documents(seed, held_out=True))).text

        def ask(engine: Engine = engine, text: str = text, **wishes: object) -> str:
            request = CompletionRequest(
                prompt=text[: len(text) // 2], max_tokens=60, stop_rules=False, **wishes
            )  # type: ignore[arg-type]
            return engine.complete(request).choices[0].text

        assert ask(mode="linear_spec") == ask(mode="ar")
        assert set(sizes) <= {8, 16, 32}
    assert 16 in sizes, "No block was accepted whole, so nothing was shown."
    sizes.clear()
    ask(mode="linear_spec", block_size=8)
    assert set(sizes) == {8}
