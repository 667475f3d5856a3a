"""Whole requests: an engine of static passes answers like one without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.decoding.loop import Run
from engine.engine import Engine
from engine.messages.completion import MODES, Completion, CompletionRequest
from engine.messages.fill import FillRequest
from engine.messages.repair import RepairRequest
from tests.graphs.recorder import Recorder
from tests.tiny_model import language

HOLES = language.holes(1, 9)


class Pair:
    """Two engines of one model; `static` does its passes as static ones."""

    def __init__(self, folder: Path) -> None:
        config = EngineConfig(model=str(folder), device="cpu", dtype="float32", num_threads=1)
        self.plain = Engine.load(config)
        self.static = Engine.load(replace(config, graphs="on"))

    @property
    def num_static(self) -> int:
        runner = self.static.passes.runner
        assert runner is not None
        return runner.num_replayed

    def assert_same(self, *requests: CompletionRequest) -> list[Completion]:
        """Answers, and model passes for them, are equal; returns them."""
        found = []
        for engine in (self.plain, self.static):
            engine.prefix_cache.clear()
            found.append([engine.complete(request) for request in requests])
        for one, two in zip(*found, strict=True):
            assert [each.text for each in two.choices] == [each.text for each in one.choices]
            assert two.facts.forwards == one.facts.forwards
            assert two.facts.tokens == one.facts.tokens
        return found[1]


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    return Pair(folder)


def document(seed: int) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_finds_the_same(pair: Pair, mode: str) -> None:
    before = pair.num_static
    for hole in HOLES[:4]:
        wishes: dict[str, Any] = {"mode": mode, "max_tokens": 20, "gate": False}
        pair.assert_same(
            CompletionRequest(prompt=hole.prefix, suffix=hole.suffix, **wishes),
            CompletionRequest(prompt=hole.prefix, stop_rules=False, **wishes),
        )
    assert pair.num_static > before


@pytest.mark.parametrize("mode", ["ar", "quad_spec", "diffusion"])
def test_settings_of_a_request_change_nothing_about_it(pair: Pair, mode: str) -> None:
    prompt = document(3)[:90]
    common: dict[str, Any] = {"prompt": prompt, "mode": mode, "stop_rules": False}
    pair.assert_same(
        CompletionRequest(**common, max_tokens=24, block_size=16),
        CompletionRequest(**common, max_tokens=9, confidence_threshold=0.5),
        CompletionRequest(**common, max_tokens=12, temperature=0.7, seed=5),
        CompletionRequest(**common, max_tokens=12, n=3),
    )


def test_hints_and_typing_on_find_the_same(pair: Pair) -> None:
    """A hint's pass tells of later tokens too, when others have run meanwhile; typed characters
    are healed, which restricts the choice and so needs logits, not a survey."""
    text = document(4)
    requests = [
        CompletionRequest(prompt=text[:at], draft=text[at : at + 30], max_tokens=12, document="d")
        for at in (40, 43, 44, 61)
    ]
    wrong = replace(requests[-1], draft=text[61:70] + "zebra" + text[75:90])
    pair.assert_same(*requests, wrong)


def test_fills_and_repairs_find_the_same(pair: Pair) -> None:
    text = document(5)
    fill = FillRequest(pieces=(text[:50], text[70:100], text[120:]), max_tokens=8)
    found = [engine.fill(fill) for engine in (pair.plain, pair.static)]
    assert found[0].texts == found[1].texts
    repair = RepairRequest(prefix=text[:60], text=text[60:100].replace("a", "o"), suffix=text[100:])
    repaired = [engine.repair(repair).text for engine in (pair.plain, pair.static)]
    assert repaired[0] == repaired[1]


def test_two_requests_in_turns_do_not_see_each_others_logits(pair: Pair) -> None:
    """Buffers are shared by all passes, so whatever is read later must have been kept."""
    text = document(6)
    requests = [
        CompletionRequest(prompt=text[:63], suffix=text[90:], max_tokens=16, document="a"),
        CompletionRequest(prompt=text[:101], draft=text[101:120], max_tokens=16, document="b"),
        CompletionRequest(prompt=text[:48], max_tokens=10, n=2, mode="ar", document="c"),
    ]
    expected = [pair.plain.complete(request) for request in requests]
    runs: list[Run[Any, Any]] = [pair.static.begin(request) for request in requests]
    while any(not run.is_ended for run in runs):
        for run in runs:
            if not run.is_ended:
                run.check()
                pair.static.run([run])
    for run, other in zip(runs, expected, strict=True):
        assert run.error is None
        assert [each.text for each in run.result.choices] == [each.text for each in other.choices]


def test_every_pass_waits_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, recorder = pair.static.passes.runner, Recorder()
    assert runner is not None
    monkeypatch.setattr(runner, "_backend", recorder)
    pair.static.prefix_cache.clear()
    before, start = runner.num_replayed, pair.static.num_forwards
    pair.static.complete(
        CompletionRequest(prompt=document(7)[:64], mode="quad_spec", max_tokens=16)
    )
    num_passes = pair.static.num_forwards - start
    assert num_passes == runner.num_replayed - before > 1
    assert recorder.done.count("download") == recorder.done.count("upload") == num_passes


def test_a_cancelled_request_begins_no_further_pass(pair: Pair) -> None:
    runner = pair.static.passes.runner
    assert runner is not None
    start = runner.num_replayed
    found = pair.static.complete(
        CompletionRequest(prompt=document(8)[:60], mode="ar", stop_rules=False, gate=False),
        is_cancelled=lambda: runner.num_replayed - start >= 2,
    )
    assert found.choices[0].finish_reason == "cancelled"
    assert runner.num_replayed - start == 2


def test_a_runner_that_gives_up_costs_nobody_an_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(folder)
    runner = pair.static.passes.runner
    assert runner is not None
    monkeypatch.setattr(runner, "_backend", Recorder(torch.OutOfMemoryError("CUDA out of memory.")))
    pair.assert_same(CompletionRequest(prompt=document(9)[:60], max_tokens=8))
    assert any("given up" in note for note in pair.static.describe()["notes"])
    assert not any("given up" in note for note in pair.plain.describe()["notes"])


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_graphs_find_what_plain_passes_on_the_gpu_find(folder: Path, mode: str) -> None:
    config = EngineConfig(model=str(folder), device="cuda", dtype="float32", graphs="on")
    graphs, plain = Engine.load(config), Engine.load(replace(config, graphs="off"))
    runner = graphs.passes.runner
    assert runner is not None
    for hole in HOLES:
        request = CompletionRequest(
            prompt=hole.prefix,
            suffix=hole.suffix,
            mode=mode,  # type: ignore[arg-type]
            max_tokens=20,
            gate=False,
        )
        texts = [engine.complete(request).choices[0].text for engine in (graphs, plain)]
        assert texts[0] == texts[1]
    assert runner.num_replayed > len(HOLES)
    assert runner.problem is None
