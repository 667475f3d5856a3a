"""Engine.complete on the tiny trained model: routes, caches, cancellation, deadlines, edges."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.engine import Engine
from engine.messages.completion import MODES, Completion, CompletionRequest
from engine.models.decoder import Decoder
from tests.models import checkpoints
from tests.tiny_model import language


def document(seed: int = 1) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


@pytest.fixture(scope="module")
def fim(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A random model of the family that has fill-in-the-middle tokens."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("fim"))
    config = EngineConfig(model=str(folder), device="cpu", dtype="float32", num_threads=1)
    return Engine.load(config)


def ask(engine: Engine, prompt: str, suffix: str = "", **wishes: object) -> Completion:
    return engine.complete(CompletionRequest(prompt=prompt, suffix=suffix, **wishes))  # type: ignore[arg-type]


def cancel_after(num_forwards: int, engine: Engine) -> Callable[[], bool]:
    start = engine.num_forwards
    return lambda: engine.num_forwards - start >= num_forwards


@pytest.mark.parametrize("mode", MODES)
def test_routes_say_what_and_why(tiny: Engine, fim: Engine, mode: str) -> None:
    left = ask(tiny, "def ", mode=mode, max_tokens=6)
    assert left.facts.route == "left_to_right"
    assert left.facts.mode == ("linear_spec" if mode == "auto" else mode)
    filled = ask(fim, "def ", "\n    return 1\n", mode=mode, max_tokens=6)
    assert filled.facts.route == "fim"
    # Without a draft adapter drafts are copied, which a shared pass without masks verifies.
    assert filled.facts.mode == ("quad_spec" if mode == "auto" else mode)
    hole = next(hole for hole in language.holes(1, 9) if hole.num_middle_tokens < 9)
    searched = ask(tiny, hole.prefix, hole.suffix, mode=mode, max_tokens=12)
    expected = "fim" if mode in ("auto", "diffusion") else "left_to_right"
    assert searched.facts.route == expected
    for completion in (left, filled, searched):
        assert completion.facts.route_reason.endswith(".")
        assert completion.facts.prefill_forwards >= 1
        assert completion.facts.tokens >= 1
        assert set(completion.facts.timings_ms) == {"queue", "prompt", "prefill", "decode", "total"}


@pytest.mark.parametrize("suffix", ["", " ", "\n\n  \n"])
def test_white_space_on_the_right_is_nothing(fim: Engine, suffix: str) -> None:
    assert ask(fim, "def ", suffix, max_tokens=4).facts.route == "left_to_right"


def test_auto_with_suffix_is_lossless_for_models_with_fim_tokens(fim: Engine) -> None:
    """Diffusion proposes, seeing the suffix, and the causal pass decides: the text is ar's."""
    for seed in range(8):
        text = document(seed)
        cut = 20 + 7 * seed
        prompt, suffix = text[:cut], text[cut + 9 :]
        wishes = {"max_tokens": 40, "stop_rules": False}
        plain = ask(fim, prompt, suffix, mode="ar", **wishes)
        for mode in ("auto", "linear_spec", "quad_spec"):
            found = ask(fim, prompt, suffix, mode=mode, **wishes)
            assert found.choices[0].text == plain.choices[0].text


def test_trained_model_fills_held_out_holes() -> None:
    """At least nine of ten held-out holes exactly right, with fewer forwards than tokens."""
    config = EngineConfig(model=str(checkpoints.TINY), device="cpu", dtype="float32", num_threads=1)
    engine = Engine.load(config)
    right = tokens = forwards = 0
    holes = [hole for hole in language.holes(20261, 260) if hole.cut == "token"][:200]
    assert len(holes) == 200
    for hole in holes:
        found = ask(engine, hole.prefix, hole.suffix, max_tokens=32)
        assert found.facts.route == "fim"
        right += found.choices[0].text == hole.middle
        tokens += found.facts.tokens
        forwards += found.facts.forwards
    assert right / len(holes) >= 0.9
    assert forwards < tokens


def test_a_hole_that_no_length_fits_is_continued_instead(tiny: Engine) -> None:
    text = document(6)
    found = ask(tiny, text[:60], "\n%%% nothing of this language ((( %%%\n", max_tokens=24)
    assert (found.facts.route, found.facts.mode) == ("left_to_right", "linear_spec")
    assert "No middle of up to" in found.facts.route_reason
    assert text[60:].startswith(found.choices[0].text.partition("\n")[0])


def test_length_search_samples_at_temperature(tiny: Engine) -> None:
    hole = next(hole for hole in language.holes(1, 30) if hole.num_middle_tokens > 6)
    texts = {
        ask(tiny, hole.prefix, hole.suffix, temperature=1.9, seed=seed).choices[0].text
        for seed in range(8)
    }
    assert len(texts) > 1


def test_trained_diffusion_continues_with_fewer_forwards_than_tokens(tiny: Engine) -> None:
    right = tokens = forwards = 0
    cases = language.continuations(77, 60)
    for case in cases:
        found = ask(tiny, case.prompt, mode="diffusion", max_tokens=64, stop_rules=False)
        right += found.choices[0].text.startswith(case.text)
        tokens += found.facts.tokens
        forwards += found.facts.forwards
    assert right / len(cases) >= 0.9
    assert forwards < tokens


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear_spec", "quad_spec", "auto"])
@pytest.mark.parametrize("num_forwards", [0, 1, 2, 3])
def test_cancel_frees_the_engine_within_one_forward(
    tiny: Engine, mode: str, num_forwards: int
) -> None:
    before = tiny.num_forwards
    found = tiny.complete(
        CompletionRequest(prompt=document()[:60], suffix="", mode=mode, max_tokens=64),  # type: ignore[arg-type]
        is_cancelled=cancel_after(num_forwards, tiny),
    )
    assert tiny.num_forwards - before == num_forwards
    assert found.choices[0].finish_reason == "cancelled"


@pytest.mark.parametrize("kind", ["decode", "prefill"])
def test_a_cancel_gives_a_decoding_pass_up_between_two_layers(
    tiny_config: EngineConfig, kind: str
) -> None:
    engine = Engine.load(tiny_config)
    request = CompletionRequest(prompt=document()[:40], mode="ar", max_tokens=8, document="a")
    cancelled, num_layers = False, 0
    run = engine.begin(request, is_cancelled=lambda: cancelled)
    if kind == "decode":
        engine.run([run])
    assert not run.is_ended
    before = engine.num_forwards
    real = Decoder.check_wanted

    def check(decoder: Decoder) -> None:
        nonlocal cancelled, num_layers
        cancelled = num_layers == 1
        real(decoder)
        num_layers += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "check_wanted", check)
        engine.run([run])
        cancelled = True
        run.check()
    assert run.is_ended and run.result.choices[0].finish_reason == "cancelled"
    is_whole = kind == "prefill"
    # What a prefill has read is still in the prompt when the next key is pressed.
    assert engine.num_forwards - before == is_whole
    assert (num_layers > 1) == is_whole
    engine.prefix_cache.check_integrity()
    again = ask(engine, request.prompt, mode="ar", max_tokens=8, document="a")
    fresh = ask(engine, request.prompt, mode="ar", max_tokens=8)
    assert again.choices[0].text == fresh.choices[0].text and again.facts.cached_tokens > 0


def test_a_cancelled_prefill_keeps_what_it_has_paid_for(tiny_config: EngineConfig) -> None:
    engine = Engine.load(replace(tiny_config, prefill_chunk_tokens=16))
    text = document()
    request = CompletionRequest(prompt=text, document="a", max_tokens=4)
    engine.complete(request, is_cancelled=cancel_after(2, engine))
    again = engine.complete(request)
    assert again.facts.cached_tokens == 32
    engine.prefix_cache.check_integrity()


@pytest.mark.parametrize("mode", ["linear_spec", "quad_spec"])
def test_deadline_returns_the_best_draft_so_far(
    tiny: Engine, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The clock is driven by the test: the deadline falls after the n-th forward."""
    from engine.decoding import loop

    text = document()[:60]
    whole = ask(tiny, text, mode=mode, max_tokens=40).choices[0].text
    seen = []
    for num_forwards in range(1, 8):
        start = tiny.num_forwards
        monkeypatch.setattr(
            loop.time,
            "monotonic",
            lambda start=start, n=num_forwards: 1000.0 + (tiny.num_forwards - start >= n),
        )
        found = tiny.complete(
            CompletionRequest(prompt=text, mode=mode, max_tokens=40, deadline_ms=500),  # type: ignore[arg-type]
            arrived_s=1000.0,
        )
        monkeypatch.undo()
        if found.choices[0].finish_reason != "deadline":
            break
        assert tiny.num_forwards - start == num_forwards
        seen.append(found.choices[0].text)
    assert len(seen) >= 2
    lengths = [len(text) for text in seen]
    assert lengths[-1] > 0
    assert any(whole.startswith(text) and text for text in seen)


def test_deadline_in_the_past_answers_at_once(tiny: Engine) -> None:
    before = tiny.num_forwards
    found = tiny.complete(
        CompletionRequest(prompt="def ", deadline_ms=1), arrived_s=time.monotonic() - 10
    )
    assert tiny.num_forwards == before
    assert found.choices[0].finish_reason == "deadline"
    assert found.choices[0].text == ""


def test_kept_prefix_gives_the_same_answer_as_cold(tiny_config: EngineConfig) -> None:
    warm, cold = Engine.load(tiny_config), Engine.load(tiny_config)
    text = document(3)
    for cut in (10, 40, 41, 42, 30, 90, 91, 20):
        request = CompletionRequest(prompt=text[:cut], max_tokens=12, mode="linear_spec")
        kept = warm.complete(replace(request, document="d"))
        fresh = cold.complete(request)
        assert kept.choices == fresh.choices
        assert fresh.facts.cached_tokens == 0
    assert warm.complete(replace(request, document="d")).facts.cached_tokens > 0
    warm.prefix_cache.check_integrity()


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 120), st.sampled_from(["ar", "auto"])),
        min_size=1,
        max_size=6,
    )
)
def test_any_sequence_of_requests_equals_cold(
    cached_engines: tuple[Engine, Engine], jumps: list[tuple[int, int, str]]
) -> None:
    warm, cold = cached_engines
    texts = [document(seed) for seed in (11, 12, 13)]
    for which, cut, mode in jumps:
        request = CompletionRequest(prompt=texts[which][:cut], max_tokens=5, mode=mode)  # type: ignore[arg-type]
        kept = warm.complete(replace(request, document=str(which)))
        assert kept.choices == cold.complete(request).choices
        warm.prefix_cache.check_integrity()


@pytest.fixture(scope="module")
def cached_engines(tiny_config: EngineConfig) -> tuple[Engine, Engine]:
    # Room for about two documents, so that the oldest is thrown out again and again.
    return Engine.load(replace(tiny_config, max_cache_bytes=3 * 2**20)), Engine.load(tiny_config)


def test_typing_only_appends_to_an_anchored_prompt(fim: Engine) -> None:
    """While the user types, everything but the typed characters comes from the cache."""
    text = document(5)
    suffix = text[80:]
    first = ask(fim, text[:50], suffix, document="typing", max_tokens=2)
    assert first.facts.cached_tokens == 0
    for cut in range(52, 70, 3):
        found = ask(fim, text[:cut], suffix, document="typing", max_tokens=2)
        # Prefix, suffix and all but the last typed tokens were there.
        assert found.prompt_tokens - found.facts.cached_tokens <= 4
    jumped = ask(fim, text[:30], suffix, document="typing", max_tokens=2)
    assert jumped.prompt_tokens - jumped.facts.cached_tokens > 4
    changed = ask(fim, text[:30], suffix + "x = 1\n", document="typing", max_tokens=2)
    assert changed.prompt_tokens - changed.facts.cached_tokens > 4


@pytest.mark.parametrize("mode", ["auto", "ar", "linear_spec", "quad_spec", "diffusion"])
def test_typed_characters_are_kept(tiny: Engine, fim: Engine, mode: str) -> None:
    """Wherever the cursor stands, the answer continues the typed text: nothing is retyped."""
    text = document(8)
    for cut in range(40, 64):
        found = ask(tiny, text[:cut], mode=mode, max_tokens=6, stop_rules=False)
        assert "\ufffd" not in found.choices[0].text
    # Inside a word the trained model completes that very word.
    hole = next(h for h in language.holes(4, 200) if h.cut == "word" and not h.by_suffix)
    found = ask(tiny, hole.prefix, mode="ar", max_tokens=24, stop_rules=False)
    length = min(len(hole.middle), len(found.choices[0].text))
    assert length and found.choices[0].text[:length] == hole.middle[:length]


@settings(max_examples=40)
@given(
    st.text(alphabet=st.sampled_from("ab (\n\t\r\"'é漢🙂\u0301=:#"), max_size=40),
    st.text(alphabet=st.sampled_from("ab )\n\t\r\"'é漢🙂=:#"), max_size=40),
    st.sampled_from(MODES),
)
def test_any_text_gets_a_clean_answer(
    edge_engines: tuple[Engine, Engine], prompt: str, suffix: str, mode: str
) -> None:
    for engine in edge_engines:
        found = ask(engine, prompt, suffix, mode=mode, max_tokens=6)
        text = found.choices[0].text
        text.encode("utf-8")
        assert "\ufffd" not in text
        assert not any(name in text for name in ("<|im_end|>", "<SPECIAL_100>"))
        assert found.facts.score is None or found.facts.score <= 1e-6


@pytest.fixture(scope="module")
def edge_engines(tiny_session_engine: Engine, fim: Engine) -> tuple[Engine, Engine]:
    return tiny_session_engine, fim


@pytest.mark.parametrize(
    ("prompt", "suffix"),
    [
        ("", ""),
        ("", "x = 1\n"),
        ("\n", ""),
        ("x", ""),
        ("\t", "\n"),
        ("# é", "漢字\n"),
        ("a\r\n", "b"),
    ],
)
def test_edges_of_a_document(tiny: Engine, fim: Engine, prompt: str, suffix: str) -> None:
    for engine in (tiny, fim):
        assert ask(engine, prompt, suffix, max_tokens=4).choices[0].finish_reason in (
            "stop",
            "length",
        )


def test_spelt_out_special_tokens_are_text(fim: Engine) -> None:
    """A source file that mentions an end token must not put one into the prompt."""
    tokens = fim.tokenizer.encode("a <|im_end|> </s> <SPECIAL_100> b")
    assert not set(tokens) & {0, 1, 2, 10, 11, 100}
    assert fim.tokenizer.decode(tokens) == "a <|im_end|> </s> <SPECIAL_100> b"


def test_crlf_documents_get_crlf(tiny: Engine) -> None:
    text = document(2)
    plain = ask(tiny, text[:60], max_tokens=40, stop_rules=False).choices[0].text
    crlf = ask(tiny, text[:60].replace("\n", "\r\n"), max_tokens=40, stop_rules=False)
    assert "\n" in plain
    assert crlf.choices[0].text == plain.replace("\n", "\r\n")


def test_alternatives_are_distinct_and_best_first(tiny: Engine, fim: Engine) -> None:
    for engine, suffix in ((tiny, ""), (tiny, "\n    return 1\n"), (fim, "\n    return 1\n")):
        found = ask(engine, "def ", suffix, n=3, max_tokens=8, stop_rules=False)
        texts = [choice.text for choice in found.choices]
        assert [choice.index for choice in found.choices] == list(range(len(texts)))
        assert len(set(texts)) == len(texts) >= 2
        single = ask(engine, "def ", suffix, max_tokens=8, stop_rules=False)
        assert single.choices[0].text == texts[0]


@pytest.mark.parametrize("mode", ["auto", "ar", "quad_spec", "diffusion"])
def test_streamed_text_adds_up(tiny: Engine, fim: Engine, mode: str) -> None:
    for engine, seed in itertools.product((tiny, fim), range(6)):
        text = document(seed)
        for suffix in ("", text[70:]):
            pieces: list[str] = []
            found = engine.complete(
                CompletionRequest(
                    prompt=text[:48],
                    suffix=suffix,
                    mode=mode,
                    max_tokens=40,
                    stream=True,  # type: ignore[arg-type]
                ),
                emit=lambda index, piece, pieces=pieces: pieces.append(piece),
            )
            assert "".join(pieces) == found.choices[0].text


def test_step_budget_bounds_the_forwards(tiny: Engine) -> None:
    text = document(4)[:50]
    few = ask(tiny, text, mode="diffusion", max_tokens=32, block_size=16, max_denoising_steps=1)
    many = ask(tiny, text, mode="diffusion", max_tokens=32, block_size=16, confidence_threshold=1.0)
    # One step and one causal pass per block of 15 new tokens.
    assert few.facts.forwards <= 6
    assert many.facts.forwards > few.facts.forwards


def test_alternatives_inside_a_word_keep_it_and_differ(tiny: Engine) -> None:
    """Other splits of the typed characters are no alternatives; too few are given as they are."""
    hole = next(h for h in language.holes(4, 200) if h.cut == "word" and not h.by_suffix)
    found = ask(tiny, hole.prefix, n=8, max_tokens=6, mode="ar", stop_rules=False)
    texts = [choice.text for choice in found.choices]
    assert 1 <= len(set(texts)) == len(texts)
    assert found.facts.score is not None


def test_stop_strings_see_line_ends_as_they_are_written(tiny: Engine) -> None:
    text = document(2)[:60].replace("\n", "\r\n")
    found = ask(tiny, text, max_tokens=40, stop=("\r\n",), stop_rules=False)
    assert "\n" not in found.choices[0].text
    assert found.choices[0].finish_reason == "stop"


def test_max_tokens_counts_new_text_only(tiny: Engine) -> None:
    """Characters that healing spells again are not charged to the request."""
    hole = next(h for h in language.holes(4, 200) if h.cut == "word" and not h.by_suffix)
    found = ask(tiny, hole.prefix, mode="ar", max_tokens=1, stop_rules=False)
    assert found.choices[0].text


def test_stop_strings_and_max_tokens(tiny: Engine) -> None:
    text = document(2)[:60]
    whole = ask(tiny, text, max_tokens=40, stop_rules=False)
    stop = whole.choices[0].text[5:8]
    found = ask(tiny, text, max_tokens=40, stop=(stop,), stop_rules=False)
    assert found.choices[0].text == whole.choices[0].text.partition(stop)[0]
    assert found.choices[0].finish_reason == "stop"
    short = ask(tiny, text, max_tokens=3, stop_rules=False)
    assert (short.facts.tokens, short.choices[0].finish_reason) == (3, "length")


def test_facts_of_speculation_add_up(tiny: Engine) -> None:
    """Acceptance length can be computed from the facts; modes without drafts have none."""
    text = document(2)[:60]
    # No healing, whose passes are not cycles.
    text = text[: text.rindex("\n") + 1]
    wishes = {"max_tokens": 30, "stop_rules": False}
    for mode in ("linear_spec", "quad_spec", "auto"):
        facts = ask(tiny, text, mode=mode, **wishes).facts
        per_cycle = 1 if mode == "quad_spec" else 2
        assert facts.forwards == per_cycle * facts.num_cycles
        # The prefill's token, and in each cycle the accepted drafts and one more.
        assert facts.tokens == 30 == 1 + facts.num_cycles + facts.num_accepted_tokens
        assert facts.num_accepted_tokens <= facts.num_drafted_tokens
        assert facts.tokens_per_cycle == pytest.approx(29 / facts.num_cycles)
    for mode in ("ar", "diffusion"):
        facts = ask(tiny, text, mode=mode, **wishes).facts
        assert (facts.num_cycles, facts.tokens_per_cycle) == (0, 0.0)


def test_quad_spec_drafts_in_the_prefill_already(tiny: Engine) -> None:
    """One forward fewer than verify passes alone would need; a block size asks for the layout."""
    text = document(2)[:60]
    text = text[: text.rindex("\n") + 1]
    wishes = {"max_tokens": 30, "stop_rules": False, "mode": "quad_spec"}
    free, fixed = ask(tiny, text, **wishes), ask(tiny, text, block_size=8, **wishes)
    assert free.choices[0].text == fixed.choices[0].text
    # Every cycle of the published layout verifies 7 drafts, the first one included.
    facts = fixed.facts
    assert 7 * (facts.num_cycles - 1) < facts.num_drafted_tokens <= 7 * facts.num_cycles


def test_describe_holds_no_text_and_says_why(tiny: Engine, tmp_path: Path) -> None:
    described = tiny.describe()
    assert described["device"] == "cpu" and described["dtype"] == "float32"
    assert len(described["reasons"]) == 3
