"""Joint filling of several holes: each sees the others, within rounds, deadline and cancel flag."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.engine import Engine
from engine.infill.bench import Bench
from engine.messages.client import EngineClient, EngineRefused
from engine.messages.completion import CompletionRequest, FieldError
from engine.messages.fill import Fill, FillRequest
from tests.models import checkpoints
from tests.server.scripted_engine import ScriptedEngine
from tests.server.server_harness import Harness, run_server
from tests.tiny_model import language


@pytest.fixture(scope="module")
def fim(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("fim"))
    config = EngineConfig(model=str(folder), device="cpu", dtype="float32", num_threads=1)
    return Engine.load(config)


@pytest.fixture(params=["tiny", "fim"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    found: Engine = request.getfixturevalue(request.param)
    yield found
    found.prefix_cache.check_integrity()


def document(seed: int) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


def with_holes(engine: Engine, seed: int, *places: tuple[int, int]) -> tuple[list[str], list[str]]:
    """A document cut at token edges: pieces around the holes, and what stood in them."""
    text = document(seed)
    starts = [*engine.tokenizer.token_starts(text), len(text)]
    pieces, middles, at = [], [], 0
    for first, last in places:
        pieces.append(text[at : starts[first]])
        middles.append(text[starts[first] : starts[last]])
        at = starts[last]
    return [*pieces, text[at:]], middles


def test_trained_model_fills_two_holes_of_a_document(tiny: Engine) -> None:
    right = 0
    for seed in range(20):
        pieces, middles = with_holes(tiny, seed, (14, 18), (34, 37))
        found = tiny.fill(FillRequest(pieces=tuple(pieces), max_tokens=16))
        right += sum(a == b for a, b in zip(found.texts, middles, strict=True))
        assert len(found.texts) == len(found.finish_reasons) == 2
    assert right >= 30


def test_one_hole_is_a_completion(engine: Engine) -> None:
    for seed in range(4):
        pieces, _ = with_holes(engine, seed, (20, 24))
        found = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=12))
        alone = engine.complete(
            CompletionRequest(prompt=pieces[0], suffix=pieces[1], max_tokens=12, gate=False)
        )
        assert found.texts == (alone.choices[0].text,)
        # Nothing around it can change, so once is enough.
        assert found.facts.forwards == alone.facts.forwards
        assert found.facts.route == alone.facts.route


def spy_on_answers(monkeypatch: pytest.MonkeyPatch) -> list[CompletionRequest]:
    asked: list[CompletionRequest] = []
    plain = Bench.answer

    def answer(self: Bench, request: CompletionRequest, cache: Any) -> Any:
        asked.append(request)
        return plain(self, request, cache)

    monkeypatch.setattr(Bench, "answer", answer)
    return asked


def test_each_hole_sees_what_the_others_hold(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spy_on_answers(monkeypatch)
    pieces, _ = with_holes(engine, 3, (10, 12), (20, 22), (30, 32))
    found = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=6, num_rounds=1))
    a, b, c = found.texts
    p = pieces
    seen = [(request.prompt, request.suffix) for request in asked]
    assert seen == [
        (p[0], p[1] + p[2] + p[3]),
        (p[0] + a + p[1], p[2] + p[3]),
        (p[0] + a + p[1] + b + p[2], p[3]),
    ]
    assert [request.draft for request in asked] == ["", "", ""]
    asked.clear()
    revised = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=6, num_rounds=2))
    # The second round: the first hole sees the drafts of both others, and has its own as a hint.
    fourth = asked[3]
    assert (fourth.prompt, fourth.suffix) == (p[0], p[1] + b + p[2] + c + p[3])
    assert fourth.draft == a
    if revised.texts == found.texts:
        # The last hole had seen all of them already.
        assert len(asked) == 5
    assert revised.num_rounds == 2


def test_rounds_end_when_nothing_changes(engine: Engine) -> None:
    for seed in range(4):
        pieces, _ = with_holes(engine, seed, (14, 18), (34, 37))
        found = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=8, num_rounds=4))
        again = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=8, num_rounds=4))
        assert again.texts == found.texts
        assert 1 <= found.num_rounds <= 4
        if found.num_rounds < 4:
            # A fixed point: another round from there finds the same texts.
            p, (a, b) = pieces, found.texts
            for prompt, suffix, text in (
                (p[0], p[1] + b + p[2], a),
                (p[0] + a + p[1], p[2], b),
            ):
                alone = engine.complete(
                    CompletionRequest(prompt=prompt, suffix=suffix, max_tokens=8, gate=False)
                )
                assert alone.choices[0].text in (text, "")


def test_later_rounds_are_hinted_at(fim: Engine) -> None:
    """What a hole holds already is judged in a pass or two, not decoded again."""
    pieces, _ = with_holes(fim, 5, (14, 16), (34, 36))
    request = FillRequest(pieces=tuple(pieces), max_tokens=16, mode="ar")
    once = fim.fill(FillRequest(pieces=tuple(pieces), max_tokens=16, mode="ar", num_rounds=1))
    twice = fim.fill(request)
    assert once.facts.num_hinted_tokens == 0 < twice.facts.num_hinted_tokens


@pytest.mark.parametrize("reason", ["cancelled", "deadline"])
def test_an_end_between_any_two_forwards_returns_the_best_so_far(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    from engine.decoding import loop

    pieces, _ = with_holes(engine, 6, (12, 16), (30, 34))
    request = FillRequest(pieces=tuple(pieces), max_tokens=8)
    late = FillRequest(pieces=tuple(pieces), max_tokens=8, deadline_ms=500.0)
    start = engine.num_forwards
    whole = engine.fill(request)
    num_all = engine.num_forwards - start
    first_only = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=8, num_rounds=1))
    for num_forwards in range(num_all):
        start = engine.num_forwards

        def is_over(start: int = start, most: int = num_forwards) -> bool:
            return engine.num_forwards - start >= most

        if reason == "deadline":
            monkeypatch.setattr(loop.time, "monotonic", lambda over=is_over: 1000.0 + over())
            run = engine.begin(late, arrived_s=1000.0)
        else:
            run = engine.begin(request, is_cancelled=is_over)
        found: Fill = engine.run_to_end(run)
        monkeypatch.undo()
        assert engine.num_forwards - start == num_forwards
        assert len(found.texts) == 2
        if found.num_rounds == 1 and found.finish_reasons[0] == reason:
            assert found.texts[1] == "" and found.finish_reasons[1] == reason
        if found.num_rounds == 2:
            # Every hole has been filled; what is not revised yet is as the first round left it.
            for now, before, after in zip(found.texts, first_only.texts, whole.texts, strict=True):
                assert now in (before, after)
        engine.prefix_cache.check_integrity()
    assert num_all > 4
    assert engine.fill(request).texts == whole.texts


def test_a_document_keeps_its_keys_and_values(engine: Engine) -> None:
    pieces, _ = with_holes(engine, 7, (30, 33), (40, 42))
    request = FillRequest(pieces=tuple(pieces), max_tokens=4, document="filled")
    cold = engine.fill(request)
    warm = engine.fill(request)
    assert cold.facts.cached_tokens == 0 < warm.facts.cached_tokens
    assert warm.texts == cold.texts


def test_crlf_documents_get_crlf(tiny: Engine) -> None:
    pieces, _ = with_holes(tiny, 2, (12, 24), (34, 37))
    plain = tiny.fill(FillRequest(pieces=tuple(pieces)))
    crlf = tiny.fill(FillRequest(pieces=tuple(p.replace("\n", "\r\n") for p in pieces)))
    assert crlf.texts == tuple(text.replace("\n", "\r\n") for text in plain.texts)


@settings(max_examples=25)
@given(st.lists(st.text("ab (\n\t\r=é🙂", max_size=12), min_size=2, max_size=5))
def test_any_text_gets_a_clean_answer(
    tiny_session_engine: Engine, fim: Engine, pieces: list[str]
) -> None:
    for engine in (tiny_session_engine, fim):
        found = engine.fill(FillRequest(pieces=tuple(pieces), max_tokens=3))
        assert len(found.texts) == len(pieces) - 1
        for text in found.texts:
            text.encode("utf-8")
        assert Fill.from_json(found.to_json()) == found
        engine.prefix_cache.check_integrity()


def test_request_survives_its_json() -> None:
    asked = FillRequest(pieces=("a", "b"), document="d", deadline_ms=5.0, priority="speculative")
    assert FillRequest.from_json(asked.to_json()) == asked
    assert asked.unfilled("m", "deadline", "Late.", 1.0).texts == ("",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "pieces"),
        ({"pieces": "ab"}, "pieces"),
        ({"pieces": ["a"]}, "pieces"),
        ({"pieces": ["a"] * 65}, "pieces"),
        ({"pieces": ["a", 1]}, "pieces"),
        ({"pieces": ["a", ["b"]]}, "pieces"),
        ({"pieces": ["a", "\ud800"]}, "pieces"),
        ({"pieces": ["a", "b"], "max_tokens": 0}, "max_tokens"),
        ({"pieces": ["a", "b"], "num_rounds": 5}, "num_rounds"),
        ({"pieces": ["a", "b"], "deadline_ms": 0}, "deadline_ms"),
        ({"pieces": ["a", "b"], "priority": "high"}, "priority"),
        ({"pieces": ["a", "b"], "mode": "fast"}, "mode"),
        ({"pieces": ["a", "b"], "temperature": 1.0}, "temperature"),
    ],
)
def test_a_bad_field_is_named(body: object, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        FillRequest.from_json(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.fixture(scope="module")
def served(tiny_session_engine: Engine) -> Iterator[Harness]:
    """The tiny model behind HTTP."""
    with (
        tempfile.TemporaryDirectory(prefix="nd-") as folder,
        run_server(
            ScriptedEngine(),
            Path(folder),
            load=lambda report: tiny_session_engine,  # type: ignore[arg-type,return-value]
        ) as running,
    ):
        yield running


def test_fill_over_http(served: Harness, tiny: Engine) -> None:
    pieces, _ = with_holes(tiny, 1, (14, 18), (34, 37))
    request = FillRequest(pieces=tuple(pieces), max_tokens=8)
    with EngineClient(served.address) as client:
        found = client.fill(request)
        assert found.texts == tiny.fill(request).texts
        assert found.model == tiny.config.model
        with pytest.raises(EngineRefused) as caught:
            client.fill(FillRequest(pieces=("a",)))
        assert (caught.value.field, caught.value.status) == ("pieces", 400)
