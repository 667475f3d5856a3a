"""Requests whose forwards are done in between each other's get the answers they get alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import EngineError
from engine.infill import single
from engine.infill.single import CompletionRun
from engine.messages.completion import MODES, Completion, CompletionRequest
from engine.models.decoder import Decoder
from tests.models import checkpoints
from tests.tiny_model import language


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: EngineConfig
) -> dict[str, Engine]:
    """The trained model without fill-in-the-middle tokens, a random one with them, and that one
    with a draft adapter."""
    plain = checkpoints.write_qwen(tmp_path_factory.mktemp("plain"))
    adapted = checkpoints.write_qwen(tmp_path_factory.mktemp("adapted"), seed=5)
    checkpoints.write_diffusion_adapter(adapted / "diffusion_adapter")
    folders = {"tiny": Path(tiny_config.model), "fim": plain, "drafting": adapted}
    return {
        name: Engine.load(replace(tiny_config, model=str(folder), prefill_chunk_tokens=16))
        for name, folder in folders.items()
    }


def text_of(seed: int) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


def request_of(
    document: int, cut: int, mode: str, num_hidden: int, max_tokens: int, n: int
) -> CompletionRequest:
    text = text_of(document)
    return CompletionRequest(
        prompt=text[:cut],
        suffix=text[cut + num_hidden :] if num_hidden else "",
        mode=mode,  # type: ignore[arg-type]
        max_tokens=max_tokens,
        n=n,
    )


def run_mixed(engine: Engine, runs: list[CompletionRun], draw: random.Random) -> list[int]:
    """Drive `runs` to their ends in random order, in passes shared by as many as chance will have.
    Returns how many requests each pass was for."""
    widths = []
    while waiting := [run for run in runs if not run.is_ended]:
        for run in waiting:
            run.check()
        first = draw.choice(waiting)
        together = [first]
        if first.num_joinable_tokens:
            others = [run for run in waiting if run is not first and run.num_joinable_tokens]
            together += draw.sample(others, draw.randint(0, len(others)))
        engine.run(together)
        widths.append(len(together))
    return widths


def without_clock(completion: Completion) -> Any:
    """What must not depend on who else was there. Scores differ by the rounding of sums."""
    facts = replace(
        completion.facts, timings_ms={}, cached_tokens=0, prefill_forwards=0, gate_features={}
    )
    score = None if facts.score is None else round(facts.score, 3)
    return completion.choices, completion.prompt_tokens, replace(facts, score=score)


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(1, 110),
        st.sampled_from(MODES),
        st.sampled_from([0, 0, 6, 25]),
        st.integers(1, 14),
        st.sampled_from([1, 1, 2]),
    ),
    min_size=2,
    max_size=5,
)


@settings(max_examples=60)
@given(
    wishes=REQUESTS,
    which=st.sampled_from(["tiny", "fim", "drafting"]),
    draw=st.randoms(use_true_random=False),
)
def test_interleaved_is_one_at_a_time(
    engines: dict[str, Engine], wishes: list[Any], which: str, draw: random.Random
) -> None:
    engine = engines[which]
    requests = [request_of(*wish) for wish in wishes]
    expected = [engine.complete(request) for request in requests]
    before = engine.num_forwards
    runs = [engine.begin(request) for request in requests]
    engine.prefix_cache.check_integrity(num_taken=len(runs))
    widths = run_mixed(engine, runs, draw)
    assert all(run.error is None for run in runs)
    for run, alone in zip(runs, expected, strict=True):
        assert run.result is not None
        assert without_clock(run.result) == without_clock(alone)
    # A request counts the passes it took part in, the engine the passes there were.
    assert engine.num_forwards - before == len(widths)
    took_part = [run.result.facts for run in runs if run.result is not None]
    assert sum(facts.forwards + facts.prefill_forwards for facts in took_part) == sum(widths)
    engine.prefix_cache.check_integrity()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", ["tiny", "fim", "drafting"])
def test_every_mode_shares_passes(engines: dict[str, Engine], which: str, mode: str) -> None:
    """In lock step: all that can be done together is, and the answers are the same."""
    engine = engines[which]
    requests = [request_of(seed, 40 + 9 * seed, mode, 0, 16, 1) for seed in (1, 2, 3)]
    expected = [engine.complete(request) for request in requests]
    before = engine.num_forwards
    runs = [engine.begin(request) for request in requests]
    num_shared = 0
    while waiting := [run for run in runs if not run.is_ended]:
        together = [run for run in waiting if run.num_joinable_tokens] or waiting[:1]
        prefilling = [run for run in waiting if not run.num_joinable_tokens]
        together = prefilling[:1] or together
        engine.run(together)
        num_shared += len(together) > 1
    for run, alone in zip(runs, expected, strict=True):
        assert run.result is not None and run.result.choices == alone.choices
    assert num_shared
    num_alone = sum(found.facts.forwards + found.facts.prefill_forwards for found in expected)
    assert engine.num_forwards - before < num_alone


def test_an_interruption_reaches_only_its_own_request(engines: dict[str, Engine]) -> None:
    engine, cancelled = engines["tiny"], [False, False]
    requests = [request_of(seed, 60, "ar", 0, 12, 1) for seed in (1, 2)]
    expected = engine.complete(requests[1])
    runs = [
        engine.begin(request, is_cancelled=lambda at=at: cancelled[at])
        for at, request in enumerate(requests)
    ]
    while not all(run.num_joinable_tokens for run in runs):
        engine.run([next(run for run in runs if not run.num_joinable_tokens)])
    engine.run(runs)
    cancelled[0] = True
    runs[0].check()
    assert runs[0].is_ended and not runs[1].is_ended
    while not runs[1].is_ended:
        engine.run([runs[1]])
    first, second = [run.result for run in runs]
    assert first is not None and second is not None
    assert first.choices[0].finish_reason == "cancelled"
    assert second.choices == expected.choices
    engine.prefix_cache.check_integrity()


def test_a_deadline_ends_a_paused_request(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time runs while others have the engine, and what it has is shown."""
    from engine.decoding import loop

    engine = engines["tiny"]
    request = replace(request_of(1, 60, "ar", 0, 30, 1), deadline_ms=500)
    monkeypatch.setattr(loop.time, "monotonic", lambda: 1000.0)
    run = engine.begin(request, arrived_s=1000.0)
    for _ in range(10):
        run.check()
        engine.run([run])
    assert not run.is_ended
    before = engine.num_forwards
    monkeypatch.setattr(loop.time, "monotonic", lambda: 1000.6)
    run.check()
    assert run.is_ended and engine.num_forwards == before
    assert run.result is not None
    assert run.result.choices[0].finish_reason == "deadline"
    assert run.result.choices[0].text
    engine.prefix_cache.check_integrity()


@pytest.fixture
def fragile(engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose model fails on shared passes, and wherever token 120 is read."""
    real = Decoder.forward

    def forward(self: Decoder, ids: Any, *args: Any, **options: Any) -> Any:
        if 120 in ids:
            raise RuntimeError("a forward failed")
        return real(self, ids, *args, **options)

    def forward_many(self: Decoder, segments: Any) -> Any:
        raise RuntimeError("a shared forward failed")

    monkeypatch.setattr(Decoder, "forward", forward)
    monkeypatch.setattr(Decoder, "forward_many", forward_many)
    yield engines["tiny"]


def test_one_bad_forward_harms_nobody_else(fragile: Engine) -> None:
    bad_text = fragile.tokenizer.decode([120])
    assert 120 in fragile.tokenizer.encode(bad_text + "\n")
    good = [fragile.begin(request_of(seed, 60, "ar", 0, 8, 1)) for seed in (1, 2)]
    expected = [fragile.complete(request_of(seed, 60, "ar", 0, 8, 1)) for seed in (1, 2)]
    bad = fragile.begin(CompletionRequest(prompt=bad_text + "\n", document="bad"))
    fragile.run([bad])
    assert isinstance(bad.error, RuntimeError) and bad.is_ended and bad.result is None
    run_mixed(fragile, good, random.Random(1))
    for run, alone in zip(good, expected, strict=True):
        assert run.result is not None and run.result.choices == alone.choices
    fragile.prefix_cache.check_integrity()


def test_complete_raises_what_went_wrong(fragile: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_text = fragile.tokenizer.decode([120])
    with pytest.raises(RuntimeError, match="a forward failed"):
        fragile.complete(CompletionRequest(prompt=bad_text + "\n"))

    def fail(*args: object) -> None:
        raise EngineError("No answer can be made.")

    monkeypatch.setattr(single, "_completion", fail)
    with pytest.raises(EngineError, match="No answer"):
        fragile.complete(request_of(1, 60, "ar", 0, 2, 1))
    fragile.prefix_cache.check_integrity()


def test_an_abandoned_run_gives_its_cache_back(engines: dict[str, Engine]) -> None:
    engine = engines["tiny"]
    run = engine.begin(replace(request_of(1, 60, "ar", 0, 8, 1), document="left"))
    engine.run([run])
    engine.prefix_cache.check_integrity(num_taken=1)
    del run
    engine.prefix_cache.check_integrity()
    assert "left" in engine.prefix_cache.documents
