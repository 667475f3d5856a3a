"""Repairs: judged like a slow twin judges, never worse by their own score, stoppable, useful."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.decoding.forward import prefill
from engine.decoding.loop import Limits, Meter, run_steps
from engine.engine import Engine
from engine.errors import EngineError
from engine.infill.judge import Judged, judge
from engine.infill.line_ends import plain, plain_index, plain_starts
from engine.infill.selection import Repairing
from engine.messages.client import EngineClient, EngineRefused
from engine.messages.completion import CompletionRequest, FieldError
from engine.messages.repair import Confidence, Repair, RepairRequest
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


def selection(engine: Engine, seed: int) -> tuple[str, str, str]:
    """A document in three parts, cut at token edges."""
    text = document(seed)
    starts = engine.tokenizer.token_starts(text)
    return text[: starts[10]], text[starts[10] : starts[44]], text[starts[44] :]


def corrupted(engine: Engine, text: str, seed: int) -> tuple[str, tuple[int, int], str]:
    """`text` with one of its tokens replaced by another word: the text, the span, what was there"""
    rng = random.Random(seed)
    starts = [*engine.tokenizer.token_starts(text), len(text)]
    pairs = list(pairwise(starts))[4:-5]
    first, last = rng.choice([(a, b) for a, b in pairs if text[a:b].strip().isalpha()])
    old = text[first:last]
    first += len(old) - len(old.lstrip())
    new = rng.choice(["while", "zebra", "assert"])
    return text[:first] + new + text[last:], (first, first + len(new)), text[first:last]


def slow_logprobs(engine: Engine, judged: Judged) -> list[float]:
    """Each token from a pass of its own over everything before it."""
    found = []
    for at in range(len(judged.context), len(judged.tokens)):
        cache = engine.decoder.new_cache()
        steps = prefill(judged.tokens[:at], cache, 10**6)
        logits = run_steps(steps, engine.decoder, cache, Meter(), Limits()).logits
        found.append(float(torch.log_softmax(logits[0], dim=-1)[judged.tokens[at]]))
    return found


def judged_text(engine: Engine, prefix: str, text: str, suffix: str) -> Judged:
    laid = engine.bench.lay_out(CompletionRequest(prompt=prefix, suffix=suffix))
    return Judged.of(text, laid, engine.tokenizer)


def run_judge(engine: Engine, judged: Judged, before: Judged | None, cache, chunk: int) -> None:  # type: ignore[no-untyped-def]
    run_steps(judge(judged, before, cache, chunk), engine.decoder, cache, Meter(), Limits())


@pytest.mark.parametrize("chunk", [5, 64])
def test_judging_equals_its_slow_twin(engine: Engine, chunk: int) -> None:
    for seed in range(3):
        prefix, text, suffix = selection(engine, seed)
        judged = judged_text(engine, prefix[:-2], prefix[-2:] + text, suffix)
        assert engine.tokenizer.decode_bytes(judged.own).endswith(text.encode())
        cache = engine.decoder.new_cache()
        run_judge(engine, judged, None, cache, chunk)
        assert judged.logprobs == pytest.approx(slow_logprobs(engine, judged), abs=2e-3)
        # Another text over the same cache: what both share is taken over, the rest is judged.
        changed, _, _ = corrupted(engine, text, seed)
        again = judged_text(engine, prefix[:-2], prefix[-2:] + changed, suffix)
        run_judge(engine, again, judged, cache, chunk)
        assert again.logprobs == pytest.approx(slow_logprobs(engine, again), abs=2e-3)
        run_judge(engine, judged, again, cache, chunk)
        assert judged.logprobs == pytest.approx(slow_logprobs(engine, judged), abs=2e-3)


def test_the_suffix_is_judged_along_only_where_the_prompt_lacks_it(
    tiny: Engine, fim: Engine
) -> None:
    assert len(judged_text(tiny, "def f():\n", "    return 1", "\n\nprint(f())\n").tail) > 0
    assert judged_text(fim, "def f():\n", "    return 1", "\n\nprint(f())\n").tail == []


def test_planted_errors_are_repaired_where_they_are_diagnosed(tiny: Engine) -> None:
    right = 0
    for seed in range(20):
        prefix, text, suffix = selection(tiny, seed)
        broken, span, _ = corrupted(tiny, text, seed)
        found = tiny.repair(RepairRequest(prefix=prefix, text=broken, suffix=suffix, spans=(span,)))
        right += found.text == text
        assert found.score_after is not None and found.score_before is not None
        if found.text != broken:
            assert found.score_after > found.score_before
            (change,) = found.spans
            assert change[0] >= span[0] - 12 and len(found.confidences) == 1
    assert right >= 14


def test_planted_errors_are_found_without_a_diagnosis(tiny: Engine) -> None:
    """The least likely tokens are the wrong ones, more often than not."""
    num_hit = 0
    for seed in range(20):
        prefix, text, suffix = selection(tiny, seed)
        broken, span, _ = corrupted(tiny, text, seed)
        request = RepairRequest(prefix=prefix, text=broken, suffix=suffix, max_share=0.1)
        repairing = Repairing.of(tiny.bench, request)
        cache = tiny.decoder.new_cache()
        run_judge(tiny, repairing.judged, None, cache, 64)
        spans = repairing.doubtful()
        num_hit += any(start < span[1] and span[0] < end for start, end in spans)
        assert spans == sorted(spans)
        assert all(a[1] < b[0] for a, b in pairwise(spans))
    assert num_hit >= 14


def test_the_share_bounds_what_is_in_doubt(engine: Engine) -> None:
    prefix, text, suffix = selection(engine, 1)
    sizes = []
    for share in (0.0, 0.1, 0.3, 1.0):
        request = RepairRequest(prefix=prefix, text=text, suffix=suffix, max_share=share)
        repairing = Repairing.of(engine.bench, request)
        run_judge(engine, repairing.judged, None, engine.decoder.new_cache(), 64)
        sizes.append(sum(end - start for start, end in repairing.doubtful()))
    assert 0 < sizes[0] <= sizes[1] <= sizes[2] <= sizes[3] <= len(text)
    # One token, widened to the word that it belongs to.
    assert sizes[0] < 24


def check_answer(request: RepairRequest, found: Repair) -> None:
    """What every answer must fulfil."""
    assert len(found.spans) == len(found.confidences)
    assert all(0.0 <= value <= 1.0 for pair in found.confidences for value in pair)
    at, rest = 0, request.text
    for start, end in found.spans:
        assert at <= start <= end <= len(found.text)
        same = found.text[at:start]
        assert same in rest
        rest = rest[rest.index(same) + len(same) :] if same else rest
        at = end
    assert rest.endswith(found.text[at:])
    if not found.spans:
        assert found.text == request.text
        assert found.score_after == found.score_before
    elif found.score_after is not None and found.score_before is not None:
        assert found.score_after > found.score_before
    assert Repair.from_json(found.to_json()) == found


@settings(max_examples=400)
@given(data=st.data())
def test_never_worse_by_its_own_score(
    tiny_session_engine: Engine, fim: Engine, data: st.DataObject
) -> None:
    engine = data.draw(st.sampled_from([tiny_session_engine, fim]))
    text = data.draw(st.text("ab (=\n\t\r1é🙂", max_size=24) | st.just(document(2)[20:70]))
    indices = st.integers(0, len(text))
    spans = data.draw(st.none() | st.lists(st.tuples(indices, indices).map(sorted), max_size=3))
    request = RepairRequest(
        prefix=data.draw(st.sampled_from(["", "def f(", document(3)[:40]])),
        text=text,
        suffix=data.draw(st.sampled_from(["", "\n", ")\n\nprint(1)\n"])),
        spans=None if spans is None else tuple((a, b) for a, b in spans),
        max_share=data.draw(st.floats(0.0, 1.0)),
        max_tokens=6,
    )
    found = engine.repair(request)
    check_answer(request, found)
    assert engine.repair(request).text == found.text
    engine.prefix_cache.check_integrity()
    if spans == [] or not text:
        assert found.text == text


@pytest.mark.parametrize("text", ["\r\n\n1", "\r\r\n1", "1\r\n\n", "1\r\n2\n3\r4\r\n\r\r\n"])
def test_what_does_not_change_keeps_its_own_line_ends(engine: Engine, text: str) -> None:
    digits = tuple((at, at + 1) for at, char in enumerate(text) if char.isdigit())
    for spans in (None, digits, digits[-1:]):
        check_answer(
            request := RepairRequest(prefix="", text=text, suffix="", spans=spans, max_tokens=6),
            engine.repair(request),
        )


def test_the_starts_of_plain_characters_are_the_inverse_of_their_indices() -> None:
    for text in ("", "\n", "\r\n", "\r\r\n", "a\r\nb\n\r\n\r", "ab"):
        starts = plain_starts(text)
        assert len(starts) == len(plain(text)) + 1 and starts[-1] == len(text)
        assert [plain_index(text, at) for at in starts] == list(range(len(starts)))


def test_the_score_told_is_that_of_the_text_told(engine: Engine) -> None:
    for seed in range(4):
        prefix, text, suffix = selection(engine, seed)
        broken, _, _ = corrupted(engine, text, seed)
        found = engine.repair(RepairRequest(prefix=prefix, text=broken, suffix=suffix))
        for told, shown in ((found.score_before, broken), (found.score_after, found.text)):
            judged = judged_text(engine, prefix, shown, suffix)
            logprobs = slow_logprobs(engine, judged)
            assert told == pytest.approx(sum(logprobs) / len(logprobs), abs=2e-3)


@pytest.mark.parametrize("reason", ["cancelled", "deadline"])
def test_an_end_between_any_two_forwards_returns_what_was_accepted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    from engine.decoding import loop

    prefix, text, suffix = selection(engine, 5)
    broken, _, _ = corrupted(engine, text, 5)
    wishes = {"prefix": prefix, "text": broken, "suffix": suffix, "max_tokens": 6}
    start = engine.num_forwards
    whole = engine.repair(RepairRequest(**wishes))  # type: ignore[arg-type]
    num_all = engine.num_forwards - start
    assert num_all >= 4
    for num_forwards in range(num_all):
        start = engine.num_forwards

        def is_over(start: int = start, most: int = num_forwards) -> bool:
            return engine.num_forwards - start >= most

        if reason == "deadline":
            monkeypatch.setattr(loop.time, "monotonic", lambda over=is_over: 1000.0 + over())
            request = RepairRequest(**wishes, deadline_ms=500.0)  # type: ignore[arg-type]
            run = engine.begin(request, arrived_s=1000.0)
        else:
            request = RepairRequest(**wishes)  # type: ignore[arg-type]
            run = engine.begin(request, is_cancelled=is_over)
        found: Repair = engine.run_to_end(run)
        monkeypatch.undo()
        assert engine.num_forwards - start == num_forwards
        assert found.finish_reason == reason
        check_answer(request, found)
        # What was accepted is a beginning of what is accepted in the end.
        assert found.spans == whole.spans[: len(found.spans)]
        engine.prefix_cache.check_integrity()


def test_line_ends_and_indices_are_the_documents(tiny: Engine) -> None:
    for seed in range(6):
        prefix, text, suffix = selection(tiny, seed)
        broken, span, _ = corrupted(tiny, text, seed)
        plain = tiny.repair(RepairRequest(prefix=prefix, text=broken, suffix=suffix, spans=(span,)))
        crlf = [part.replace("\n", "\r\n") for part in (prefix, broken, suffix)]
        shifted = tuple(at + broken.count("\n", 0, at) for at in span)
        found = tiny.repair(
            RepairRequest(prefix=crlf[0], text=crlf[1], suffix=crlf[2], spans=(shifted,))  # type: ignore[arg-type]
        )
        assert found.text == plain.text.replace("\n", "\r\n")
        assert [found.text[a:b] for a, b in found.spans] == [
            plain.text[a:b].replace("\n", "\r\n") for a, b in plain.spans
        ]


def test_mixed_line_ends_stay_where_nothing_is_repaired(tiny: Engine) -> None:
    mixed = "a = 1\r\nb = 2\nc = 3\r\n"
    assert tiny.repair(RepairRequest(text=mixed, spans=())).text == mixed


def test_a_selection_longer_than_the_model_reads_is_refused(tiny: Engine) -> None:
    with pytest.raises(EngineError, match="select less"):
        tiny.repair(RepairRequest(text="漢🙂" * 9000))
    tiny.prefix_cache.check_integrity()


def test_a_document_keeps_its_keys_and_values(tiny: Engine) -> None:
    prefix, text, suffix = selection(tiny, 7)
    request = RepairRequest(prefix=prefix, text=text, suffix=suffix, document="repaired")
    cold, warm = tiny.repair(request), tiny.repair(request)
    assert cold.facts.cached_tokens == 0 < warm.facts.cached_tokens
    assert warm.text == cold.text


def test_request_survives_its_json() -> None:
    asked = RepairRequest(text="abc", spans=((0, 2), (3, 3)), document="d", max_share=0.5)
    assert RepairRequest.from_json(asked.to_json()) == asked
    whole = RepairRequest(text="abc")
    assert RepairRequest.from_json(whole.to_json()) == whole
    nothing = asked.unrepaired("m", "cancelled", "Superseded.", 1.0)
    assert (nothing.text, nothing.spans, nothing.finish_reason) == ("abc", (), "cancelled")
    pair = Confidence(0.25, 0.75)
    answer = Repair(
        model="m",
        text="ab",
        spans=((0, 1),),
        confidences=(pair,),
        score_before=-2.0,
        score_after=-1.0,
        finish_reason="stop",
        facts=nothing.facts,
    )
    assert Repair.from_json(answer.to_json()) == answer


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "text"),
        ({"text": 1}, "text"),
        ({"text": "x" * 20_001}, "text"),
        ({"text": "abc", "spans": "ab"}, "spans"),
        ({"text": "abc", "spans": [[1]]}, "spans"),
        ({"text": "abc", "spans": [[0, 4]]}, "spans"),
        ({"text": "abc", "spans": [[2, 1]]}, "spans"),
        ({"text": "abc", "spans": [[-1, 1]]}, "spans"),
        ({"text": "abc", "spans": [[0, 1.5]]}, "spans"),
        ({"text": "abc", "spans": [[0, True]]}, "spans"),
        ({"text": "abc", "spans": [[0, 1]] * 65}, "spans"),
        ({"text": "abc", "max_share": 1.5}, "max_share"),
        ({"text": "abc", "prefix": None, "suffix": 3}, "suffix"),
        ({"text": "abc", "priority": "late"}, "priority"),
        ({"text": "abc", "stream": True}, "stream"),
    ],
)
def test_a_bad_field_is_named(body: object, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        RepairRequest.from_json(body)
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


def test_repair_over_http(served: Harness, tiny: Engine) -> None:
    prefix, text, suffix = selection(tiny, 2)
    broken, span, _ = corrupted(tiny, text, 2)
    request = RepairRequest(prefix=prefix, text=broken, suffix=suffix, spans=(span,))
    with EngineClient(served.address) as client:
        found = client.repair(request)
        expected = tiny.repair(request)
        assert (found.text, found.spans) == (expected.text, expected.spans)
        assert found.confidences == expected.confidences
        with pytest.raises(EngineRefused) as caught:
            client.repair(RepairRequest(text="漢🙂" * 9000))
        assert "select less" in str(caught.value)
        assert client.repair(request).text == expected.text
