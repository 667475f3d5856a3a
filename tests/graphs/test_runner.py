"""What is captured, replayed, copied and waited for; no graph is needed to see that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.decoding.forward import Forward, run_forward
from engine.graphs.inputs import PassShape, num_bytes
from engine.graphs.ops import Ops
from engine.models.decoder import Decoder
from tests.graphs.conftest import way
from tests.graphs.harness import TOLERANCE, VIEWS, filled, plain_decoder, runner_of, tokens
from tests.graphs.recorder import Recorder, causal, made, ran


def test_a_pass_is_one_copy_in_one_replay_and_one_copy_out(decoder: Decoder) -> None:
    runner, recorder = made(decoder)
    cache = filled(decoder, 20)
    for _ in range(3):
        found = runner.run(causal(decoder, 6), cache)
        assert found is not None
        # Neither the survey nor whatever is picked of it reads anything back.
        found.scores([0, 3]).survey(runner.choosable).tokens.tolist()
    first, *others = (
        ("upload", "capture", "replay", "download"),
        *[("upload", "replay", "download")] * 2,
    )
    assert recorder.done == [*first, *(each for other in others for each in other)]


def test_one_capture_serves_all_caches_and_lengths_of_a_bucket(decoder: Decoder) -> None:
    runner, recorder = made(decoder)
    for T, num_cached in ((5, 0), (8, 700), (6, 33), (7, 1023)):
        forward, cache = causal(decoder, T), filled(decoder, num_cached, seed=T)
        expected = run_forward(forward, decoder, filled(decoder, num_cached, seed=T))
        torch.testing.assert_close(
            ran(runner, forward, cache), expected.logits(slice(None)), **TOLERANCE
        )
    assert (runner.num_captured, recorder.done.count("replay")) == (1, 4)


@pytest.mark.parametrize(
    ("other", "num_cached"),
    [
        (lambda decoder: causal(decoder, 9), 20),
        (lambda decoder: causal(decoder, 1), 20),
        (lambda decoder: causal(decoder, 6, R=2), 20),
        (lambda decoder: VIEWS["full"](decoder, 1, 6), 20),
        (lambda decoder: causal(decoder, 6), 1025),
    ],
    ids=["tokens", "one token", "rows", "adapter", "length"],
)
def test_every_shape_has_a_graph_of_its_own(
    decoder: Decoder, other: Callable[[Decoder], Forward], num_cached: int
) -> None:
    runner, _ = made(decoder)
    for _ in range(2):
        assert runner.run(causal(decoder, 6), filled(decoder, 20)) is not None
        assert runner.run(other(decoder), filled(decoder, num_cached)) is not None
    assert runner.num_captured == 2


def test_a_cache_that_grows_is_found_where_it_is(decoder: Decoder) -> None:
    """Its room is 512 tokens at first; the bucket of a pass decides when more is needed."""
    runner, recorder = made(decoder)
    cache, twin = filled(decoder, 500), filled(decoder, 500)
    places = [cache.buffers(0)[0].data_ptr()]
    for seed in range(8):
        forward = Forward("verify", torch.tensor([tokens(5, seed)]), "causal")
        expected = run_forward(forward, decoder, twin).logits(slice(None))
        torch.testing.assert_close(ran(runner, forward, cache), expected, **TOLERANCE)
        for each in (cache, twin):
            each.commit(tokens(5, seed))
        places.append(cache.buffers(0)[0].data_ptr())
    assert len(set(places)) == 2
    assert runner.num_captured == 1
    shape = PassShape(1, 8, False, 1024)
    numbers = [
        each[: num_bytes(shape, decoder.config.num_layers) // 8 * 8] for each in recorder.uploads
    ]
    sent = [int(each.view(torch.int64)[0]) for each in numbers]
    assert sent == places[1:]


def test_rotary_tables_that_grow_are_captured_anew(decoder: Decoder) -> None:
    runner, recorder = made(decoder, num_positions=100)
    table = decoder.rotary.num_positions
    assert ran(runner, causal(decoder, 6), filled(decoder, 20)).isfinite().all()
    assert runner.num_captured == 1
    cache = filled(decoder, 20)
    forward = causal(decoder, 6)
    far = Forward("draft", forward.ids, "causal", torch.tensor([0, 1, 2, 3, 4, table]))
    expected = run_forward(far, decoder, filled(decoder, 20)).logits(slice(None))
    torch.testing.assert_close(ran(runner, far, cache), expected, **TOLERANCE)
    assert decoder.rotary.num_positions > table
    assert runner.num_captured == 2
    ran(runner, causal(decoder, 6), cache)
    assert recorder.done.count("capture") == 2


def test_tables_that_somebody_else_grew_are_noticed(decoder: Decoder) -> None:
    runner, _ = made(decoder)
    ran(runner, causal(decoder, 6), filled(decoder, 20))
    decoder.rotary.reserve(decoder.rotary.num_positions + 1)
    ran(runner, causal(decoder, 6), filled(decoder, 20))
    assert runner.num_captured == 2


def test_the_graph_that_was_used_longest_ago_is_given_up(decoder: Decoder) -> None:
    runner, _ = made(decoder, max_graphs=2)
    cache = filled(decoder, 20)
    for T in (1, 8, 1, 16, 1, 8):
        ran(runner, causal(decoder, T), cache)
    # 8 had to make room for 16.
    assert runner.num_captured == 4


@pytest.mark.parametrize(
    ("R", "T", "num_cached"), [(1, 65, 0), (2, 33, 0), (5, 16, 0), (1, 1, 32_769)]
)
def test_what_does_not_fit_is_left_alone(
    decoder: Decoder, R: int, T: int, num_cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, recorder = made(decoder)
    cache = decoder.new_cache()
    monkeypatch.setattr(type(cache), "length", property(lambda self: num_cached))
    assert runner.run(causal(decoder, T, R), cache) is None
    assert not recorder.done
    assert runner.problem is None


@pytest.mark.parametrize(
    "failure", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), RuntimeError("")]
)
def test_a_failure_to_capture_is_told_and_passes_go_on_without(
    decoder: Decoder, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(failure)
    runner = runner_of(decoder, Ops(), recorder)
    with caplog.at_level(logging.WARNING):
        assert runner.run(causal(decoder, 6), filled(decoder, 20)) is None
    told = str(failure).split("\n", maxsplit=1)[0] or "RuntimeError"
    assert runner.problem is not None and runner.problem.endswith(told)
    assert runner.problem in caplog.text
    assert runner.run(causal(decoder, 6), filled(decoder, 20)) is None
    assert recorder.done.count("capture") == 1


class _Reads(TorchDispatchMode):
    """Names of the operations that wait for the device or depend on what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "item", "masked_select", "is_nonzero"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("view", list(VIEWS))
def test_a_static_pass_reads_nothing_back(decoder: Decoder, view: str) -> None:
    """What a graph cannot hold; the decoder's own forward does it, which shows that it is seen."""
    seen: list[list[str]] = []

    class Watched(Recorder):
        def capture(self, compute: Callable[[], None]) -> Callable[[], None]:
            def replay() -> None:
                with _Reads() as reads:
                    compute()
                seen.append(reads.found)

            return replay

    runner = runner_of(decoder, Ops(), Watched())
    forward = VIEWS[view](decoder, 2, 6)
    assert runner.run(forward, filled(decoder, 20)) is not None
    assert seen == [[]]
    with _Reads() as reads:
        run_forward(forward, decoder, filled(decoder, 20))
    assert reads.found


@pytest.mark.gpu
def test_graphs_follow_caches_that_grow_and_tables_that_move(folder: Path) -> None:
    """What the recorded calls promise, of real graphs."""
    how = way("cuda")
    decoder = plain_decoder(folder, how.device, "float32")
    runner = runner_of(decoder, how.ops, how.backend, num_positions=100)
    caches = [filled(decoder, 500), filled(decoder, 30, seed=1)]
    twins = [filled(decoder, 500), filled(decoder, 30, seed=1)]
    for seed in range(8):
        for cache, twin in zip(caches, twins, strict=True):
            forward = Forward("verify", torch.tensor([tokens(5, seed)]), "causal")
            expected = run_forward(forward, decoder, twin).logits(slice(None))
            torch.testing.assert_close(ran(runner, forward, cache), expected, **TOLERANCE)
            for each in (cache, twin):
                each.commit(tokens(5, seed))
    assert (runner.num_captured, runner.num_replayed) == (1, 16)
    far = Forward("draft", forward.ids, "causal", torch.tensor([0, 1, 2, 3, 1100]))
    expected = run_forward(far, decoder, twins[1]).logits(slice(None))
    torch.testing.assert_close(ran(runner, far, caches[1]), expected, **TOLERANCE)
    assert runner.num_captured == 2
    assert runner.problem is None


def test_warming_up_captures_what_requests_ask_for_first(decoder: Decoder) -> None:
    runner, _ = made(decoder)
    told: list[tuple[str, float | None]] = []
    runner.warm_up(lambda phase, fraction: told.append((phase, fraction)))
    # Five sizes of a pass, two of the cache, and as many with the adapter.
    assert runner.num_captured == len(told) == 10 * (1 + decoder.has_draft_adapter)
    assert {phase for phase, _ in told} == {"capturing graphs"}
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] < 1.0
    num_captured = runner.num_captured
    for T, num_cached in ((1, 3), (7, 0), (33, 1030), (64, 20)):
        forward = causal(decoder, T)
        expected = run_forward(forward, decoder, filled(decoder, num_cached, seed=T))
        found = ran(runner, forward, filled(decoder, num_cached, seed=T))
        torch.testing.assert_close(found, expected.logits(slice(None)), **TOLERANCE)
    assert runner.num_captured == num_captured


def test_warming_up_ends_where_nothing_can_be_captured(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, recorder = made(decoder)

    def fail(compute: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(recorder, "capture", fail)
    told: list[str] = []
    runner.warm_up(lambda phase, fraction: told.append(phase))
    assert len(told) == 1 and runner.problem is not None and "out of memory" in runner.problem
