"""Several candidates of one request: decoded together they are what they are one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.decoding import loop
from engine.decoding.forward import prefill
from engine.decoding.loop import Limits, Meter
from engine.engine import Engine
from engine.infill import answer
from engine.infill.gate import Gate
from engine.kv_cache import KVCache
from engine.messages.completion import MODES, Completion, CompletionRequest
from tests.models import checkpoints
from tests.tiny_model import language

Pieces = list[tuple[int, str]]


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: EngineConfig
) -> dict[str, Engine]:
    """The trained model without fill-in-the-middle tokens, a random one with them, and that one
    with a draft adapter."""
    plain = checkpoints.write_qwen(tmp_path_factory.mktemp("plain"))
    adapted = checkpoints.write_qwen(tmp_path_factory.mktemp("adapted"))
    checkpoints.write_diffusion_adapter(adapted / "diffusion_adapter")
    folders = {"tiny": Path(tiny_config.model), "fim": plain, "drafting": adapted}
    return {
        name: Engine.load(replace(tiny_config, model=str(folder), prefill_chunk_tokens=16))
        for name, folder in folders.items()
    }


@pytest.fixture(params=["tiny", "fim", "drafting"])
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Iterator[Engine]:
    found = engines[request.param]
    yield found
    found.prefix_cache.check_integrity()


def text_of(seed: int) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


def request_of(text: int = 1, cut: int | None = None, **wishes: Any) -> CompletionRequest:
    """cut: None = behind a line, where nothing is healed and there are tokens to choose from."""
    document = text_of(text)
    at = document.rindex("\n", 0, 60) + 1 if cut is None else cut
    wishes = {"n": 3, "max_tokens": 16, "stop_rules": False, "document": "d"} | wishes
    return CompletionRequest(prompt=document[:at], **wishes)


def ask(
    engine: Engine,
    request: CompletionRequest,
    *,
    max_batch_tokens: int | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
    arrived_s: float | None = None,
) -> tuple[Completion, Pieces]:
    """The answer, and what was emitted on the way; max_batch_tokens: 0 = one by one."""
    tools, pieces = engine.tools, list[tuple[int, str]]()
    if max_batch_tokens is not None:
        engine.tools = replace(tools, max_batch_tokens=max_batch_tokens)
    engine.prefix_cache.clear()
    try:
        completion = engine.complete(
            request,
            is_cancelled=is_cancelled,
            arrived_s=arrived_s,
            emit=lambda index, text: pieces.append((index, text)),
        )
    finally:
        engine.tools = tools
    engine.prefix_cache.check_integrity()
    return completion, pieces


def has_done(num_forwards: int, engine: Engine) -> Callable[[], bool]:
    start = engine.num_forwards
    return lambda: engine.num_forwards - start >= num_forwards


def comparable(completion: Completion) -> Any:
    """All but how many passes it took. Scores differ by the rounding of sums."""
    facts = completion.facts
    features = {name: round(value, 3) for name, value in facts.gate_features.items()}
    score = None if facts.score is None else round(facts.score, 3)
    same = replace(
        facts, forwards=0, prefill_forwards=0, timings_ms={}, gate_features=features, score=score
    )
    return completion.choices, completion.prompt_tokens, completion.completion_tokens, same


WISHES = st.fixed_dictionaries(
    {
        "text": st.integers(1, 5),
        "cut": st.integers(1, 110),
        "mode": st.sampled_from(MODES),
        "suffix": st.sampled_from(["", "", "\n    return 1\n", ")\n"]),
        "n": st.integers(2, 6),
        "max_tokens": st.integers(1, 24),
        "stop_rules": st.booleans(),
        "stream": st.booleans(),
        "gate": st.booleans(),
        "confidence_threshold": st.sampled_from([None, 0.5]),
    }
)


@settings(max_examples=60)
@given(
    wishes=WISHES,
    which=st.sampled_from(["tiny", "fim", "drafting"]),
    width=st.sampled_from([1, 12, 32, 1000]),
)
def test_abreast_is_one_by_one(
    engines: dict[str, Engine], wishes: dict[str, Any], which: str, width: int
) -> None:
    """The same candidates in the same order, the same facts, the same streamed pieces."""
    request = request_of(**wishes)
    expected, pieces = ask(engines[which], request, max_batch_tokens=0)
    found, found_pieces = ask(engines[which], request, max_batch_tokens=width)
    assert comparable(found) == comparable(expected)
    assert found_pieces == pieces
    if wishes["stream"]:
        for choice in found.choices:
            sent = [text for index, text in found_pieces if index == choice.index]
            assert "".join(sent) == choice.text


@pytest.mark.parametrize("mode", MODES)
def test_draws_are_those_of_the_seed(engine: Engine, mode: str) -> None:
    """At a temperature every candidate has its own seed, whoever it shares passes with."""
    texts: set[str] = set()
    for seed in range(4):
        request = request_of(mode=mode, temperature=1.3, top_p=0.95, seed=seed, n=4)
        expected, _ = ask(engine, request, max_batch_tokens=0)
        found, _ = ask(engine, request)
        assert comparable(found) == comparable(expected)
        assert len(found.choices) == 4
        texts |= {choice.text for choice in found.choices}
    assert len(texts) > 1


@pytest.mark.parametrize("mode", MODES)
def test_three_take_clearly_fewer_passes_than_one_by_one(engine: Engine, mode: str) -> None:
    num_alone = num_together = 0
    for text in range(1, 6):
        request = request_of(text, mode=mode)
        expected, _ = ask(engine, request, max_batch_tokens=0)
        before = engine.num_forwards
        found, _ = ask(engine, request, max_batch_tokens=1000)
        assert found.choices == expected.choices and len(found.choices) == 3
        # Facts count passes, however many forwards they did.
        num = found.facts.forwards + found.facts.prefill_forwards
        assert engine.num_forwards - before == num
        single, _ = ask(engine, replace(request, n=1))
        # The prompt's last token is read once for all of them.
        assert found.facts.prefill_forwards == single.facts.prefill_forwards
        assert expected.facts.prefill_forwards >= single.facts.prefill_forwards + 2
        assert single.facts.forwards <= found.facts.forwards < expected.facts.forwards
        if expected.facts.prefill_forwards == single.facts.prefill_forwards + 2:
            # None was the same as another, whose place a fourth then took.
            num_together += found.facts.forwards
            num_alone += expected.facts.forwards
    assert 0 < num_together <= 0.6 * num_alone


def test_passes_stay_within_their_width(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five candidates of eight tokens each do not fit into a pass of twenty."""
    widths: list[list[int]] = []
    real = Engine.run

    def run(self: Engine, runs: Any) -> None:
        widths.append([each.forward.ids.shape[1] for each in runs[0].pending])
        real(self, runs)

    monkeypatch.setattr(Engine, "run", run)
    ask(engine, request_of(mode="linear_spec", n=5, block_size=8), max_batch_tokens=20)
    shared = [lengths for lengths in widths if len(lengths) > 1]
    assert shared and all(sum(lengths) <= 20 for lengths in shared)


@pytest.mark.parametrize("mode", ["ar", "linear_spec", "diffusion"])
def test_a_cancel_ends_all_within_one_pass(engine: Engine, mode: str) -> None:
    whole, _ = ask(engine, request_of(mode=mode))
    num_all = whole.facts.forwards + whole.facts.prefill_forwards
    for num_forwards in range(num_all):
        before = engine.num_forwards
        has_had = has_done(num_forwards, engine)
        found, _ = ask(engine, request_of(mode=mode), is_cancelled=has_had)
        assert engine.num_forwards - before == num_forwards
        assert found.choices[0].finish_reason in ("cancelled", "stop", "length")
        assert "cancelled" in {choice.finish_reason for choice in found.choices}
        for choice in found.choices:
            assert any(other.text.startswith(choice.text) for other in whole.choices)


def test_forks_are_on_the_books_while_they_live(engine: Engine) -> None:
    run = engine.begin(request_of(mode="ar", max_tokens=30))
    num_before = engine.prefix_cache.num_forks
    while len(run.pending) < 2:
        engine.run([run])
    engine.run([run])
    engine.prefix_cache.check_integrity(num_taken=1)
    assert not run.is_ended
    assert (num_before, engine.prefix_cache.num_forks) == (0, 2)
    # An abandoned request leaves nothing behind but its document's KV.
    del run
    engine.prefix_cache.check_integrity()
    assert engine.prefix_cache.num_forks == 0
    assert "d" in engine.prefix_cache.documents


def test_a_failed_pass_leaves_no_fork(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a shared forward failed")

    monkeypatch.setattr(type(engine.decoder), "forward_many", fail)
    with pytest.raises(RuntimeError, match="a shared forward failed"):
        ask(engine, request_of(mode="ar"))
    assert engine.prefix_cache.num_forks == 0


@pytest.mark.parametrize("mode", ["ar", "linear_spec", "quad_spec", "diffusion"])
def test_at_the_deadline_all_show_what_they_have(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The clock is driven by the test: the deadline falls after the n-th forward."""
    engine = engines["tiny"]
    request = request_of(6, cut=50, mode=mode, max_tokens=24)
    whole, _ = ask(engine, request)
    num_shown = []
    for num_forwards in range(whole.facts.forwards + whole.facts.prefill_forwards):
        start = engine.num_forwards
        is_late = has_done(num_forwards, engine)
        monkeypatch.setattr(loop.time, "monotonic", lambda is_late=is_late: 1000.0 + is_late())
        found, pieces = ask(engine, replace(request, deadline_ms=500), arrived_s=1000.0)
        monkeypatch.undo()
        assert engine.num_forwards - start == num_forwards
        reasons = [choice.finish_reason for choice in found.choices]
        assert "deadline" in reasons
        texts = [choice.text for choice in found.choices]
        assert len(set(texts)) == len(texts) and all(texts[1:])
        assert [(at, text) for at, text in enumerate(texts) if at] == pieces
        for at, reason in enumerate(reasons):
            if reason != "deadline":
                assert found.choices[at].text in [choice.text for choice in whole.choices]
        num_shown.append(sum(map(bool, texts)))
    # Before the first token there is nothing; soon afterwards there is something of all.
    assert num_shown[0] == 0 and max(num_shown) == 3


def test_candidates_that_say_the_same_are_one(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take their places while there are any, over the caches that they leave."""
    engine, ranks = engines["tiny"], list[int]()
    real = answer.first_pick

    def first_pick(state: Any, logits: Any, need: Any, tokenizer: Any, branch: int) -> Any:
        ranks.append(branch)
        return real(state, logits, need, tokenizer, branch // 2)

    monkeypatch.setattr(answer, "first_pick", first_pick)
    request = request_of(2, mode="ar")
    expected, _ = ask(engine, request, max_batch_tokens=0)
    before = list(ranks)
    ranks.clear()
    made: list[KVCache] = []
    fork = type(engine.prefix_cache).fork

    def counted(self: Any, cache: KVCache, length: int) -> KVCache:
        made.append(fork(self, cache, length))
        return made[-1]

    monkeypatch.setattr(type(engine.prefix_cache), "fork", counted)
    found, _ = ask(engine, request)
    assert comparable(found) == comparable(expected)
    assert len(found.choices) == 3
    assert ranks == before == [0, 1, 2, 3, 4]
    assert len(made) == 2


def test_a_withheld_text_has_no_alternatives(engines: dict[str, Engine]) -> None:
    """Judged by its first token, it costs no forward behind the prefill, nor a fork."""
    engine = engines["tiny"]
    tools = engine.tools
    for gate in (Gate(max_first_end_logprob=-1e9), Gate(threshold=0.5, bias=-9.0)):
        engine.tools = replace(tools, gate=gate)
        try:
            expected, _ = ask(engine, request_of(mode="auto"), max_batch_tokens=0)
            found, pieces = ask(engine, request_of(mode="auto"))
        finally:
            engine.tools = tools
        assert [choice.text for choice in found.choices] == [""] and found.facts.gated
        assert found.choices == expected.choices and pieces == []
        if gate.threshold is None:
            assert found.facts.forwards == 0


def test_the_document_keeps_the_first_candidates_tokens(engine: Engine) -> None:
    """Who accepts the best text has most of the next prompt in the cache already."""
    found, _ = ask(engine, request_of(mode="ar"))
    prompt = engine.bench.lay_out(request_of()).prompt.context
    cache = engine.prefix_cache.take(
        "d", [*prompt, *engine.tokenizer.encode(found.choices[0].text)]
    )
    engine.prefix_cache.give_back("d", cache)
    assert cache.length > len(prompt) + 3


def test_a_fork_copies_when_it_is_first_written(engine: Engine) -> None:
    """Its origin keeps its own rows, and both go on for themselves."""
    decoder = engine.decoder
    origin = decoder.new_cache()
    loop.run_steps(prefill(list(range(110, 130)), origin, 16), decoder, origin, Meter(), Limits())
    fork = origin.fork(12)
    assert fork.tokens == origin.tokens[:12]
    fork.check_integrity()
    place = origin.committed(0)[0].data_ptr()
    assert fork.committed(0)[0].data_ptr() == place
    before = [rows.clone() for rows in origin.committed(0)]
    # Even where it would fit into the rows that are lent.
    fork.crop(4)
    expected = decoder.new_cache()
    loop.run_steps(
        prefill(list(range(110, 114)), expected, 16), decoder, expected, Meter(), Limits()
    )
    logits = [
        loop.run_steps(prefill([140, 141], cache, 16), decoder, cache, Meter(), Limits()).logits
        for cache in (fork, expected)
    ]
    torch.testing.assert_close(*logits, atol=2e-4, rtol=1e-4)
    assert fork.committed(0)[0].data_ptr() != place
    assert all(map(torch.equal, before, origin.committed(0)))
    assert fork.tokens == [110, 111, 112, 113, 140, 141] and origin.length == 20


def test_a_fork_must_not_outlive_its_origin(engine: Engine) -> None:
    caches = engine.prefix_cache
    cache = caches.take(None, [1, 2])
    fork = caches.fork(cache, 0)
    caches.check_integrity(num_taken=1)
    with pytest.raises(AssertionError):
        caches.give_back(None, cache)
    caches.drop(fork)
    caches.give_back(None, cache)
    with pytest.raises(KeyError):
        caches.drop(fork)
