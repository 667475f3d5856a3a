"""Kept KV: warm is cold, one owner at a time, least recently used out first, within its bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.engine import Engine
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest
from engine.prefix_cache import PrefixCache
from tests.models import checkpoints
from tests.tiny_model import language

DOCUMENTS = 4


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: EngineConfig
) -> dict[str, tuple[Engine, Engine]]:
    """(warm, cold) of two kinds; the warm ones have room for about two of the documents."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("fim"))
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    found = {}
    for name, model in (("tiny", tiny_config.model), ("fim", str(folder))):
        config = replace(tiny_config, model=model, prefill_chunk_tokens=16)
        small = Engine.load(replace(config, max_cache_bytes=1))
        one_cache = small.decoder.new_cache().num_bytes
        warm = Engine.load(replace(config, max_cache_bytes=2 * one_cache))
        found[name] = (warm, Engine.load(config))
    return found


class Editor:
    """A document and a cursor in it, and what people do with them."""

    def __init__(self, seed: int) -> None:
        self.text = next(iter(language.documents(seed, held_out=True))).text
        self.cursor = len(self.text) // 2

    def act(self, action: str, amount: int, piece: str) -> None:
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        if action == "type":
            self.text, self.cursor = before + piece + after, self.cursor + len(piece)
        elif action == "erase":
            before = before[: len(before) - amount]
            self.text, self.cursor = before + after, len(before)
        elif action == "erase_right":
            self.text = before + after[amount:]
        elif action == "jump":
            self.cursor = amount * 7 % (len(self.text) + 1)
        elif action == "edit_above":
            self.text, self.cursor = piece + self.text, self.cursor + len(piece)


EDITS = st.lists(
    st.tuples(
        st.integers(0, DOCUMENTS - 1),
        st.sampled_from(["type", "type", "type", "erase", "erase_right", "jump", "edit_above"]),
        st.integers(1, 40),
        st.sampled_from(["r", "ret", "\n    ", "x = 1\n", "(", "é", "foo(bar, "]),
        # Forwards until the next key cancels the request, or None: it is left to end.
        st.sampled_from([None, None, 0, 1, 3]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25)
@given(
    edits=EDITS,
    which=st.sampled_from(["tiny", "fim"]),
    mode=st.sampled_from(["ar", "auto", "diffusion"]),
)
def test_any_sequence_of_edits_gets_the_answers_of_a_cold_start(
    engines: dict[str, tuple[Engine, Engine]], edits: list[Any], which: str, mode: str
) -> None:
    warm, cold = engines[which]
    editors = [Editor(seed) for seed in range(DOCUMENTS)]
    for document, action, amount, piece, num_forwards in edits:
        editor = editors[document]
        editor.act(action, amount, piece)
        request = CompletionRequest(
            prompt=editor.text[: editor.cursor],
            suffix=editor.text[editor.cursor :],
            mode=mode,  # type: ignore[arg-type]
            max_tokens=5,
            document=f"{which} {document}",
        )
        kept = warm.complete(request, is_cancelled=_after(num_forwards, warm))
        warm.prefix_cache.check_integrity()
        assert request.document in warm.prefix_cache.documents
        # Its prompts are anchored alike, but it never has any KV.
        cold.prefix_cache.clear()
        fresh = cold.complete(request)
        assert fresh.facts.cached_tokens == 0
        if num_forwards is None:
            assert kept.choices == fresh.choices


def _after(num_forwards: int | None, engine: Engine) -> Callable[[], bool]:
    start = engine.num_forwards
    return lambda: num_forwards is not None and engine.num_forwards - start >= num_forwards


def test_who_takes_a_cache_owns_it() -> None:
    made: list[KVCache] = []
    caches = PrefixCache(lambda: _noted(made), 10**9)
    first = caches.take("d", [1, 2, 3])
    first.commit([1, 2])
    # The document's cache is out, so another one begins anew.
    second = caches.take("d", [1, 2, 3])
    assert second is not first and second.length == 0
    caches.check_integrity(num_taken=2)
    with pytest.raises(AssertionError):
        caches.check_integrity()
    caches.give_back("d", first)
    caches.check_integrity(num_taken=1)
    caches.give_back(None, second)
    caches.check_integrity()
    with pytest.raises(KeyError):
        caches.give_back("d", first)
    third = caches.take("d", [1, 9, 9])
    assert third is first and third.tokens == [1]
    caches.give_back("d", third)


def test_the_last_token_is_never_taken_from_the_cache() -> None:
    caches = PrefixCache(lambda: _noted([]), 10**9)
    cache = caches.take("d", [1, 2, 3])
    cache.commit([1, 2, 3])
    caches.give_back("d", cache)
    assert caches.take("d", [1, 2, 3]).tokens == [1, 2]


def test_the_least_recently_used_goes_first() -> None:
    one = _noted([]).num_bytes
    caches = PrefixCache(lambda: _noted([]), 3 * one)
    for document in ("a", "b", "c", "a", "d"):
        caches.give_back(document, caches.take(document, [1, 2]))
        caches.check_integrity()
    assert caches.documents == ("c", "a", "d")
    assert caches.num_bytes == 3 * one
    # One that is larger than all the room stays while it is the newest.
    large = caches.take("e", [1])
    large.reserve(5000)
    caches.give_back("e", large)
    assert caches.documents == ("e",)
    caches.check_integrity()


@given(st.randoms(use_true_random=False))
def test_the_books_balance_whatever_is_taken(draw: random.Random) -> None:
    one = _noted([]).num_bytes
    caches = PrefixCache(lambda: _noted([]), 2 * one)
    out: list[tuple[str | None, KVCache]] = []
    for _ in range(40):
        if out and draw.random() < 0.5:
            caches.give_back(*out.pop(draw.randrange(len(out))))
        else:
            document = draw.choice(["a", "b", "c", None])
            cache = caches.take(document, [draw.randrange(3) for _ in range(4)])
            cache.commit([7] * draw.randrange(3))
            out.append((document, cache))
        caches.check_integrity(num_taken=len(out))
        assert len({id(cache) for _, cache in out}) == len(out)


def _noted(made: list[KVCache]) -> KVCache:
    decoder = _DECODER[0] if _DECODER else checkpoints.load(checkpoints.TINY)
    _DECODER[:] = [decoder]
    made.append(decoder.new_cache())
    return made[-1]


_DECODER: list[Any] = []


def test_by_default_there_is_room_for_four_windows_with_what_other_files_bring(
    tiny_config: EngineConfig,
) -> None:
    per_token = Engine.load(tiny_config).decoder.new_cache().num_bytes // 512
    # Twice the least that is kept in any case, in the steps in which a cache grows.
    num_tokens = 2 * 256 * 2**20 // (4 * per_token) // 512 * 512
    text_tokens = tiny_config.max_prefix_tokens + tiny_config.max_suffix_tokens
    config = replace(tiny_config, max_context_tokens=num_tokens - text_tokens)
    cache = Engine.load(config).prefix_cache
    for name in "abcd":
        taken = cache.take(name, [1, 2])
        taken.reserve(num_tokens)
        cache.give_back(name, taken)
    assert cache.documents == tuple("abcd")
