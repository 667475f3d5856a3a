"""A request's draft: it saves forwards where it is right, and changes nothing where it is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.decoding.diffusion import diffusion
from engine.decoding.draft_plan import AdaptivePlan, Plan, uniform_plan
from engine.decoding.forward import prefill
from engine.decoding.hint import Ahead, follow_hint, hint_behind, prefill_ahead
from engine.decoding.loop import Interrupted, Limits, Meter, run_steps
from engine.decoding.modes import Drafting, mode_steps
from engine.decoding.sampling import Sampler
from engine.decoding.shared_pass import NO_DRAFT, Draft
from engine.decoding.state import Decoding, DecodingParams
from engine.engine import Engine
from engine.messages.completion import Completion, CompletionRequest, Mode
from engine.models.decoder import Decoder
from tests.decoding.harness import assert_lossless, decode, only_mask_forbidden
from tests.models import checkpoints
from tests.tiny_model import language

LOSSLESS: tuple[Mode, ...] = ("ar", "linear_spec", "quad_spec", "auto")


@pytest.fixture(scope="module")
def fim(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A random model with fill-in-the-middle tokens and a random draft adapter."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("fim"))
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    config = EngineConfig(
        model=str(folder),
        device="cpu",
        dtype="float32",
        num_threads=1,
        draft_adapter=folder / "diffusion_adapter",
    )
    return Engine.load(config)


@pytest.fixture(params=["tiny", "fim"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


def ask(engine: Engine, prompt: str, suffix: str = "", **wishes: object) -> Completion:
    return engine.complete(CompletionRequest(prompt=prompt, suffix=suffix, **wishes))  # type: ignore[arg-type]


def document(seed: int) -> str:
    return next(iter(language.documents(seed, held_out=True))).text


def all_forwards(completion: Completion) -> int:
    return completion.facts.forwards + completion.facts.prefill_forwards


def drafts_for(text: str, rng: random.Random) -> dict[str, str]:
    """Drafts of every quality for an answer that is `text`."""
    half = len(text) // 2
    swapped = list(text)
    for _ in range(max(1, len(text) // 6)):
        swapped[rng.randrange(len(swapped))] = rng.choice("xyz(=\n é")
    return {
        "right": text,
        "beginning": text[:half],
        "half right": text[:half] + "zzz = qqq(1)\n",
        "wrong": "%%% nothing of this kind\n",
        "some characters": "".join(swapped),
        "noise": "".join(rng.choice("ab (\n\té漢🙂=") for _ in range(40)),
        "shifted": text[3:],
        "too long": text + " and so on" * 40,
        "space": "   \n\n ",
        "an end spelt out": text[:half] + "</s><|im_end|>" + text[half:],
    }


@pytest.mark.parametrize("mode", LOSSLESS)
def test_no_draft_changes_the_answer(engine: Engine, mode: Mode) -> None:
    """Cursors at line starts and inside words; with and without text on the right."""
    for seed in range(4):
        rng = random.Random(seed)
        text = document(seed)
        cut = rng.randrange(20, len(text) - 30)
        # Without fill-in-the-middle tokens, auto would search lengths.
        suffix = text[cut + 12 :] if mode != "auto" and seed % 2 else ""
        wishes = {"mode": mode, "max_tokens": 30, "stop_rules": bool(seed % 2)}
        plain = ask(engine, text[:cut], suffix, **wishes)
        answer = plain.choices[0].text
        for name, draft in drafts_for(answer or "x", rng).items():
            found = ask(engine, text[:cut], suffix, draft=draft, **wishes)
            assert found.choices == plain.choices, name
            assert found.facts.tokens == plain.facts.tokens
            assert found.facts.num_right_hints <= found.facts.num_hinted_tokens
            if mode == "ar":
                assert all_forwards(found) <= all_forwards(plain)


@settings(max_examples=60)
@given(data=st.data())
def test_any_draft_in_any_mode_is_lossless(
    tiny_session_engine: Engine, data: st.DataObject
) -> None:
    text = document(data.draw(st.integers(0, 30)))
    cut = data.draw(st.integers(1, len(text) - 1))
    mode = data.draw(st.sampled_from(LOSSLESS[:3]))
    max_tokens = data.draw(st.integers(1, 24))
    # Real continuations with a part replaced, so that long beginnings are right.
    start, end = sorted(data.draw(st.tuples(*[st.integers(cut, len(text))] * 2)))
    draft = text[cut:start] + data.draw(st.text("ab(=\n é", max_size=8)) + text[end:]
    plain = ask(tiny_session_engine, text[:cut], mode=mode, max_tokens=max_tokens)
    found = ask(tiny_session_engine, text[:cut], mode=mode, max_tokens=max_tokens, draft=draft)
    assert found.choices == plain.choices


def test_forwards_of_ar_with_a_right_draft(tiny: Engine) -> None:
    """The trained model's own text is encoded as the model wrote it."""
    num_plain = num_found = 0
    for seed in range(12):
        text = document(seed)
        prompt = text[: text.rindex("\n", 0, len(text) // 2) + 1]
        wishes = {"mode": "ar", "max_tokens": 40, "stop_rules": False}
        plain = ask(tiny, prompt, **wishes)
        found = ask(tiny, prompt, draft=plain.choices[0].text, **wishes)
        assert found.choices == plain.choices
        num_plain += plain.facts.forwards
        num_found += found.facts.forwards
        assert found.facts.num_right_hints >= found.facts.num_hinted_tokens - 1
    assert num_plain >= 12 * 20
    # One more pass for what the first sixteen leave, and a rare one for a text's odd end.
    assert num_found <= 2 * 12


def test_forwards_for_a_draft_with_one_wrong_word(tiny: Engine) -> None:
    """What stands before the wrong word is not decoded again."""
    text = document(4)
    prompt = text[: text.rindex("\n", 0, len(text) // 2) + 1]
    wishes = {"mode": "ar", "max_tokens": 30, "stop_rules": False}
    plain = ask(tiny, prompt, **wishes)
    tokens = tiny.tokenizer.encode(plain.choices[0].text)
    draft = tiny.tokenizer.decode(tokens[:10]) + "%%%"
    found = ask(tiny, prompt, draft=draft, **wishes)
    assert found.choices == plain.choices
    # Ten tokens, and the choice behind them, came from the prefill.
    assert plain.facts.forwards - 10 <= found.facts.forwards <= plain.facts.forwards - 9


def test_a_draft_continues_a_half_typed_word(tiny: Engine) -> None:
    """Healing takes the typed characters back; the draft is encoded together with them."""
    hole = next(h for h in language.holes(4, 200) if h.cut == "word" and not h.by_suffix)
    wishes = {"mode": "ar", "max_tokens": 12, "stop_rules": False}
    plain = ask(tiny, hole.prefix, **wishes)
    found = ask(tiny, hole.prefix, draft=plain.choices[0].text, **wishes)
    assert found.choices == plain.choices
    assert found.facts.num_right_hints >= plain.facts.tokens - 1
    assert found.facts.forwards <= 1


@pytest.mark.parametrize("mode", ["ar", "diffusion", "quad_spec"])
def test_a_sampled_answer_is_the_seeds_whatever_the_draft(tiny: Engine, mode: Mode) -> None:
    text = document(3)[:60]
    wishes = {"mode": mode, "temperature": 1.2, "seed": 5, "max_tokens": 12}
    plain = ask(tiny, text, **wishes)
    found = ask(tiny, text, draft=plain.choices[0].text + "x", **wishes)
    assert found.choices == plain.choices
    assert found.facts.num_hinted_tokens == 0


def test_alternatives_are_the_same_with_a_draft(tiny: Engine) -> None:
    plain = ask(tiny, "def ", n=3, mode="ar", max_tokens=8, stop_rules=False)
    for draft in (plain.choices[0].text, plain.choices[1].text, "%%%"):
        found = ask(tiny, "def ", n=3, mode="ar", max_tokens=8, stop_rules=False, draft=draft)
        assert found.choices == plain.choices


def test_streamed_text_of_a_drafted_answer_adds_up(tiny: Engine) -> None:
    text = document(5)
    request = CompletionRequest(
        prompt=text[:48], max_tokens=40, stream=True, draft=text[48:80], mode="quad_spec"
    )
    pieces: list[str] = []
    found = tiny.complete(request, emit=lambda index, piece: pieces.append(piece))
    assert "".join(pieces) == found.choices[0].text


def test_a_draft_leaves_a_cache_that_equals_a_cold_one(tiny: Engine) -> None:
    """Keys and values of right hints are kept, those of wrong ones never."""
    text = document(6)
    for cut in range(40, 90, 7):
        draft = text[cut : cut + 9] + "%%%" + text[cut + 9 :]
        asked = CompletionRequest(
            prompt=text[:cut], document="draft", max_tokens=20, mode="ar", draft=draft
        )
        kept = tiny.complete(asked)
        cold = ask(tiny, text[:cut], max_tokens=20, mode="ar")
        assert kept.choices == cold.choices
        tiny.prefix_cache.check_integrity()


# On token ids, where the truth is known exactly.


def decoding(decoder: Decoder, max_tokens: int) -> Decoding:
    sampler = Sampler(
        forbidden=only_mask_forbidden(decoder),
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=decoder.dtype,
        end_ids=decoder.config.eos_token_ids,
    )
    return Decoding(decoder.config, decoder.new_cache(), sampler, DecodingParams(8, max_tokens))


def decode_with_hint(
    decoder: Decoder,
    prompt: list[int],
    hint: list[int],
    mode: Mode,
    *,
    max_tokens: int = 60,
    plan: Plan | None = None,
) -> tuple[Decoding, Meter]:
    state, meter = decoding(decoder, max_tokens), Meter()
    plan = plan or AdaptivePlan()

    def steps():  # type: ignore[no-untyped-def]
        drafts = plan if mode == "quad_spec" else None
        ahead = yield from prefill_ahead(state, prompt, 8, hint, drafts)
        pick = state.sampler.pick(ahead.next_scores)
        seed = pick.tokens[0]
        if not state.emit_pick(pick) and ahead.take(state, seed):
            seed = ahead.emit(state)
        if not state.is_finished:
            drafting = Drafting(plan)
            yield from mode_steps(
                mode, state, seed, suffix_head=[], drafting=drafting, hint=hint, ahead=ahead
            )

    run_steps(steps(), decoder, state.cache, meter, Limits())
    state.cache.check_integrity()
    known = [*prompt, *state.tokens]
    assert state.cache.tokens == known[: state.cache.length] or state.finish_reason == "stop"
    return state, meter


def some_prompt(seed: int) -> list[int]:
    return torch.randint(110, 600, (12,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("mode", ["ar", "linear_spec", "quad_spec"])
@pytest.mark.parametrize("error", [0.0, 0.05, 0.3, 1.0])
def test_hints_of_any_quality_are_lossless(engine: Engine, mode: Mode, error: float) -> None:
    decoder, rng = engine.decoder, random.Random(0)
    for seed in range(4):
        prompt = some_prompt(seed)
        truth = decode(decoder, prompt, "ar", max_tokens=60)
        hint = [300 if rng.random() < error else token for token in truth.tokens]
        hint += [301] * (20 * (seed % 2))
        for plan in (AdaptivePlan(), uniform_plan(8)):
            state, meter = decode_with_hint(decoder, prompt, hint, mode, plan=plan)
            assert_lossless(decoder, prompt, truth.tokens, state.tokens)
            assert state.finish_reason == truth.state.finish_reason
            if error == 0.0:
                # 16 in the prefill, then 32, then the rest, each with a choice of its own; a
                # plan of unsure drafts stops at 18.
                assert meter.num_forwards <= (3 if mode == "quad_spec" else 2)
                assert state.speculation.num_right_hints >= len(truth.tokens) - 4


def test_a_hint_that_agrees_with_the_end_ends(tiny: Engine) -> None:
    """Nothing of a hint counts behind the end that the model itself sets."""
    decoder, num_ended = tiny.decoder, 0
    end = decoder.config.eos_token_ids[0]
    for seed in range(8):
        prompt = tiny.tokenizer.encode(document(seed))[:-6]
        truth = decode(decoder, prompt, "ar", max_tokens=60)
        num_ended += truth.state.finish_reason == "stop"
        for hint in ([*truth.tokens, 300, 301], [*truth.tokens, end, 300]):
            state, meter = decode_with_hint(decoder, prompt, hint, "ar")
            assert state.tokens == truth.tokens
            assert state.finish_reason == truth.state.finish_reason
            assert meter.num_forwards <= 2
    assert num_ended >= 4


def judged(decoder: Decoder, state: Decoding, prompt: list[int], hint: list[int]) -> Ahead:
    """The pass over prompt and hint, whose right part is emitted into `state`."""

    def steps():  # type: ignore[no-untyped-def]
        ahead = yield from prefill_ahead(state, prompt, 64, hint, None)
        pick = state.sampler.pick(ahead.next_scores)
        if not state.emit_pick(pick) and ahead.take(state, pick.tokens[0]):
            ahead.emit(state)
        return ahead

    ahead: Ahead = run_steps(steps(), decoder, state.cache, Meter(), Limits())
    return ahead


def test_a_canvas_masks_what_conflicts_and_keeps_the_rest(tiny: Engine) -> None:
    """Behind the first wrong token, a hinted one stays where a causal pass believes it."""
    decoder = tiny.decoder
    text = document(7)
    tokens = tiny.tokenizer.encode(text)
    prompt = tokens[:30]
    truth = decode(decoder, prompt, "ar", max_tokens=16).tokens
    wrong_at = 4
    hint = [*truth[:wrong_at], 300, *truth[wrong_at + 1 :]]
    state = decoding(decoder, 16)
    ahead = judged(decoder, state, prompt, hint[:14])
    assert state.tokens == truth[: wrong_at + 1]
    everything = ahead.canvas(state, 0.0)
    assert everything.tokens == hint[wrong_at + 1 : 14]
    assert ahead.canvas(state, 1.1).tokens == [decoder.config.mask_token_id] * (13 - wrong_at)
    half = ahead.canvas(state, 0.5)
    for token, chance, hinted in zip(half.tokens, half.confidences, everything.tokens, strict=True):
        assert token == (hinted if chance >= 0.5 else decoder.config.mask_token_id)
    assert hint_behind(hint, ahead, truth[wrong_at]) == ()


def test_diffusion_denoises_only_the_masks_of_its_start(tiny: Engine) -> None:
    decoder = tiny.decoder
    mask = decoder.config.mask_token_id
    prompt = tiny.tokenizer.encode(document(7))[:30]
    truth = decode(decoder, prompt, "diffusion", max_tokens=16, block_size=8).tokens

    def run(start: Draft) -> tuple[list[int], int]:
        state, meter = decoding(decoder, 8), Meter()

        def steps():  # type: ignore[no-untyped-def]
            yield from prefill(prompt, state.cache, 64)
            state.emit([truth[0]], [0.0])
            yield from diffusion(state, truth[0], (), start)

        run_steps(steps(), decoder, state.cache, meter, Limits())
        return state.tokens, meter.counts.get("denoise", 0)

    kept = [301, mask, 302, mask, mask, 303, mask]
    tokens, num_passes = run(Draft(kept, [0.95] * 7))
    assert [tokens[1], tokens[3], tokens[6]] == [301, 302, 303]
    assert mask not in tokens and num_passes >= 1
    # Nothing masked: nothing to denoise.
    assert run(Draft([301] * 7, [0.95] * 7))[1] == 0
    assert run(NO_DRAFT)[0] == truth[:8]


def test_diffusion_with_its_own_text_as_draft_needs_fewer_passes(tiny: Engine) -> None:
    num_plain = num_found = 0
    for seed in range(10):
        text = document(seed)
        prompt = text[: text.rindex("\n", 0, len(text) // 2) + 1]
        wishes = {"mode": "diffusion", "max_tokens": 32, "stop_rules": False}
        plain = ask(tiny, prompt, **wishes)
        found = ask(tiny, prompt, draft=plain.choices[0].text, **wishes)
        num_plain += plain.facts.forwards
        num_found += found.facts.forwards
    assert num_found < 0.6 * num_plain


def test_an_unjudged_hint_is_not_shown_at_a_deadline(tiny: Engine) -> None:
    decoder = tiny.decoder
    prompt = some_prompt(1)
    truth = decode(decoder, prompt, "ar", max_tokens=60).tokens
    state = decoding(decoder, 60)
    state.emit([truth[0]], [0.0])
    run_steps(prefill(prompt, state.cache, 64), decoder, state.cache, Meter(), Limits())
    with pytest.raises(Interrupted):
        run_steps(
            follow_hint(state, truth[0], truth[1:40], None),
            decoder,
            state.cache,
            Meter(),
            Limits(deadline_s=0.0),
        )
    assert (state.tokens, state.draft) == ([truth[0]], [])


@pytest.mark.slow
def test_real_drafts_on_the_default_model(default_model: Path) -> None:
    """Right and half right drafts of real code in the default model's default mode."""
    from engine.adapters import built_in_adapter
    from engine.config import DEFAULT_MODEL
    from tests.engine.real_code import cuts

    engine = Engine.load(
        EngineConfig(
            model=str(default_model),
            device="cpu",
            dtype="float32",
            num_threads=1,
            causal_adapter=built_in_adapter(DEFAULT_MODEL, "causal"),
            draft_adapter=built_in_adapter(DEFAULT_MODEL, "draft"),
        )
    )
    num_plain = num_found = num_same = num_all = 0
    for number, cut in enumerate(cuts(6, max_chars=300, seed=3)):
        wishes = {"gate": False, "max_tokens": 24, "document": str(number)}
        plain = ask(engine, cut.prefix, cut.suffix, **wishes)
        answer = plain.choices[0].text
        num_plain += plain.facts.forwards
        right = ask(engine, cut.prefix, cut.suffix, draft=answer, **wishes)
        num_found += right.facts.forwards
        half = ask(engine, cut.prefix, cut.suffix, draft=answer[:9] + "xyz", **wishes)
        wrong = ask(engine, cut.prefix, cut.suffix, draft="nothing like it", **wishes)
        num_all += 3
        num_same += sum(found.choices == plain.choices for found in (right, half, wrong))
    # A near tie may part. What a stop rule cuts off is no part of the draft and is written again.
    assert num_same >= num_all - 1
    assert num_found <= 0.6 * num_plain
