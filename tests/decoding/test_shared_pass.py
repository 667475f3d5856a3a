"""The shared pass against lone passes, the plans, and the whole loop with drafts of any quality."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from engine.decoding import quad_spec as quad_spec_module
from engine.decoding.draft_plan import AdaptivePlan, uniform_plan
from engine.decoding.forward import prefill, run_forward
from engine.decoding.hint import prefill_ahead
from engine.decoding.loop import Interrupted, Limits, Meter, run_steps
from engine.decoding.sampling import Sampler
from engine.decoding.shared_pass import (
    NO_DRAFT,
    Draft,
    num_masks,
    read_draft,
    shared_forward,
    shared_offsets,
    shared_view,
)
from engine.decoding.state import Decoding, DecodingParams
from engine.engine import Engine
from engine.models.decoder import Decoder
from tests.decoding.harness import assert_lossless, decode, only_mask_forbidden
from tests.models import checkpoints
from tests.reference import modes as slow
from tests.reference import network
from tests.tiny_model import language

Pair = tuple[Decoder, slow.Model]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def qwen_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A random next-position model with a random adapter at its masks, fast and slow."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("qwen"))
    adapter = checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    weights = load_file(folder / "model.safetensors")
    stored = load_file(adapter / "adapter_model.safetensors")
    config = checkpoints.QWEN_CONFIG
    mask = config["nemodiff"]["mask_token_id"]
    # alpha = 2 r
    reference = network.from_state_dict(weights, config, network.named_lora(stored, 2.0))
    reference.weights["head.weight"] = reference.weights["embed_tokens.weight"].clone()
    reference.weights["embed_tokens.weight"][mask] = stored["mask_embedding"]
    model = slow.Model(reference, mask, (2, 11), "next_position", "masks")
    return checkpoints.load(folder), model


@pytest.fixture(scope="module")
def tiny_pair(tiny_session_engine: Engine) -> Pair:
    return tiny_session_engine.decoder, slow.Model(network.load(language.CHECKPOINT))


@pytest.fixture(params=["tiny", "qwen"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(f"{request.param}_pair")
    return found


def decoding(decoder: Decoder, max_tokens: int = 32) -> Decoding:
    sampler = Sampler(
        forbidden=only_mask_forbidden(decoder),
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=decoder.dtype,
        end_ids=decoder.config.eos_token_ids,
    )
    return Decoding(decoder.config, decoder.new_cache(), sampler, DecodingParams(8, max_tokens))


def some_tokens(num: int, seed: int) -> list[int]:
    return torch.randint(110, 600, (num,), generator=torch.Generator().manual_seed(seed)).tolist()


def lone_draft(model: slow.Model, text: list[int], depth: int) -> list[int]:
    """What a pass of its own drafts behind `text`, leaving out the token that the causal row
    chooses."""
    if not depth:
        return []
    shift = 0 if model.alignment == "same_position" else 1
    group = slow.quad_pass(model, text[:-1], text[-1:], depth + 2 - shift)[0]
    return slow.best_tokens(model, group[[slot - shift for slot in range(2, depth + 2)]])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_layout(lengths: list[int]) -> None:
    view, offsets = shared_view(lengths, CPU), shared_offsets(lengths, CPU).tolist()
    rows = [(i, 0) for i in range(len(lengths))]
    rows += [(i, j + 1) for i, length in enumerate(lengths) for j in range(length)]
    assert offsets == [owner + slot for owner, slot in rows]
    for a, (owner, slot) in enumerate(rows):
        for b, (other, other_slot) in enumerate(rows):
            is_chain = other_slot == 0 and other <= owner
            is_own_group = slot > 0 and other_slot > 0 and other == owner
            assert bool(view[a, b]) == (is_chain or is_own_group)


def test_published_layout_has_its_published_size(tiny_pair: Pair, qwen_pair: Pair) -> None:
    """k drafts: k (k + 1) tokens; one mask less where rows look ahead."""
    for decoder, expected in ((tiny_pair[0], 16 * 17), (qwen_pair[0], 16 * 16)):
        depths = uniform_plan(16)([1.0] * 15, 99)
        forward = shared_forward(decoding(decoder), [200] * len(depths), depths, "verify")
        assert forward.ids.shape == (1, expected)


@pytest.mark.parametrize("seed", range(6))
def test_groups_draft_what_lone_passes_would(pair: Pair, seed: int) -> None:
    """Uneven groups, some empty: each drafts as if its text were alone, and the visible rows are
    an ordinary causal pass."""
    decoder, model = pair
    rng = random.Random(seed)
    context, visible = some_tokens(20, seed), some_tokens(5, seed + 50)
    depths = [rng.randrange(5) for _ in visible]
    state = decoding(decoder)
    run_steps(prefill(context, state.cache, 8), decoder, state.cache, Meter(), Limits())
    with torch.inference_mode():
        forward = shared_forward(state, visible, depths, "verify")
        scores = run_forward(forward, decoder, state.cache).scores(slice(None))
        causal = slow.causal_logits(model, [*context, *visible])[-len(visible) :]
        torch.testing.assert_close(scores[: len(visible)].logits, causal, atol=2e-4, rtol=1e-4)
        for outcome, depth in enumerate(depths):
            found = read_draft(state, scores, depths, outcome)
            text = [*context, *visible[: outcome + 1]]
            assert found.tokens == lone_draft(model, text, depth)
            assert all(0.0 < value <= 1.0 for value in found.confidences)
    # What is committed behind it is a causal cache.
    state.cache.commit(visible[:3])
    ids = torch.tensor([visible[3:]])
    with torch.inference_mode():
        again = run_forward(
            shared_forward(state, ids[0].tolist(), [0, 0], "verify"), decoder, state.cache
        )
        torch.testing.assert_close(again.logits(slice(None)), causal[3:], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("num_tokens", [1, 8, 9, 16, 21])
def test_prefill_drafts_and_stays_a_prefill(pair: Pair, num_tokens: int) -> None:
    decoder, model = pair
    prompt = some_tokens(num_tokens, num_tokens)
    plain, state, meter = decoding(decoder), decoding(decoder), Meter()
    expected = run_steps(prefill(prompt, plain.cache, 8), decoder, plain.cache, Meter(), Limits())
    steps = prefill_ahead(state, prompt, 8, (), lambda confidences, wanted: [3])
    found = run_steps(steps, decoder, state.cache, meter, Limits())
    torch.testing.assert_close(found.next_scores.logits, expected.logits, atol=2e-4, rtol=1e-4)
    with torch.inference_mode():
        assert found.draft(state).tokens == lone_draft(model, prompt, 3)
    assert state.cache.tokens == prompt
    assert (meter.num_prefill, meter.num_forwards) == (-(-num_tokens // 8), 0)
    # No masks at all is the plain prefill.
    state = decoding(decoder)
    steps = prefill_ahead(state, prompt, 8, (), None)
    bare = run_steps(steps, decoder, state.cache, meter, Limits())
    assert bare.draft(state) == NO_DRAFT


@settings(max_examples=30)
@given(st.integers(0, 2**20), st.sampled_from([0.0, 0.05, 0.3]))
def test_adaptive_speculation_equals_ar(qwen_pair: Pair, seed: int, min_gain: float) -> None:
    decoder, _ = qwen_pair
    prompt = some_tokens(1 + seed % 20, seed)
    expected = decode(decoder, prompt, "ar", max_tokens=24)
    plan = AdaptivePlan(min_gain=min_gain)
    found = decode(decoder, prompt, "adaptive", max_tokens=24, plan=plan, chunk_tokens=8)
    assert_lossless(decoder, prompt, expected.tokens, found.tokens)
    assert found.meter.num_forwards <= expected.meter.num_forwards


class ScriptedDrafts:
    """Drafts the true continuation, each token wrong with probability `error`."""

    def __init__(self, truth: list[int], error: float, seed: int) -> None:
        self._truth, self._error, self._rng = truth, error, random.Random(seed)

    def read(self, state: Decoding, logits: object, depths: list[int], outcome: int) -> Draft:
        at = len(state.tokens)
        tokens = [
            token if self._rng.random() >= self._error else 300
            for token in self._truth[at : at + depths[outcome]]
        ]
        return Draft(tokens, [self._rng.random() for _ in tokens])


@pytest.mark.parametrize("error", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("min_gain", [0.0, 0.1])
def test_drafts_of_any_quality_are_lossless(
    qwen_pair: Pair, monkeypatch: pytest.MonkeyPatch, error: float, min_gain: float
) -> None:
    decoder, _ = qwen_pair
    for seed in range(8):
        prompt = some_tokens(12, 70 + seed)
        truth = decode(decoder, prompt, "ar", max_tokens=25)
        ends = [decoder.config.eos_token_ids[0]] if truth.state.finish_reason == "stop" else []
        drafts = ScriptedDrafts([*truth.tokens, *ends], error, seed)
        monkeypatch.setattr(quad_spec_module, "read_draft", drafts.read)
        found = decode(
            decoder, prompt, "adaptive", max_tokens=25, plan=AdaptivePlan(min_gain=min_gain)
        )
        assert_lossless(decoder, prompt, truth.tokens, found.tokens)
        assert found.state.finish_reason == truth.state.finish_reason
        speculation = found.state.speculation
        assert speculation.num_cycles == found.meter.num_forwards
        assert speculation.num_accepted_tokens <= speculation.num_drafted_tokens
        if found.state.finish_reason == "length":
            # The prefill's token, and per cycle its drafts and the verify pass's own token.
            num_emitted = 1 + speculation.num_cycles + speculation.num_accepted_tokens
            assert num_emitted == len(found.tokens) == 25
            if error == 0.0 and min_gain == 0.0:
                # The prefill's random draft fails, then each cycle emits 6 drafts and one more.
                assert speculation.num_cycles <= 1 + -(-23 // 7)


def test_an_end_token_in_a_draft_ends_it(qwen_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither drafts nor masks are spent behind an end token that all outcomes hang on."""
    decoder, _ = qwen_pair
    end = decoder.config.eos_token_ids[0]
    shapes = []
    run = decoder.forward

    def spy(ids: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        shapes.append(ids[0].tolist())
        return run(ids, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Decoder, "forward", lambda self, *a, **k: spy(*a, **k))
    state = decoding(decoder)
    run_steps(prefill([200, 201], state.cache, 8), decoder, state.cache, Meter(), Limits())
    plan = AdaptivePlan(min_gain=0.0, max_drafts=2)
    steps = quad_spec_module.quad_spec(state, 202, plan, Draft([203, end, 204], [0.9, 0.9, 0.9]))
    with torch.inference_mode():
        run_forward(next(steps), decoder, state.cache)
    mask = decoder.config.mask_token_id
    assert shapes[-1] == [202, 203, end, *[mask] * 4]


def test_sure_drafts_are_shown_at_a_deadline(tiny_pair: Pair) -> None:
    decoder, _ = tiny_pair
    state = decoding(decoder)
    run_steps(prefill([200, 201], state.cache, 8), decoder, state.cache, Meter(), Limits())
    steps = quad_spec_module.quad_spec(
        state, 202, AdaptivePlan(), Draft([203, 204, 205], [0.95, 0.5, 0.99])
    )
    with pytest.raises(Interrupted):
        run_steps(steps, decoder, state.cache, Meter(), Limits(deadline_s=0.0))
    assert state.draft == [203]


plans = st.builds(
    AdaptivePlan,
    min_gain=st.floats(0.0, 0.9),
    max_drafts=st.integers(0, 8),
    slot_acceptance=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4).map(tuple),
)


@given(plans, st.lists(st.floats(0.0, 1.0), max_size=9), st.integers(1, 12))
def test_adaptive_plan(plan: AdaptivePlan, confidences: list[float], num_wanted: int) -> None:
    depths = plan(confidences, num_wanted)
    num_kept = len(depths) - 1
    assert 0 <= num_kept <= len(confidences)
    # Never more than can still be emitted, now and in the next pass.
    assert num_kept < num_wanted
    for i, depth in enumerate(depths):
        assert 0 <= depth <= plan.max_drafts
        assert depth == 0 or (i + 1) + (depth + 1) <= num_wanted
    # Whoever asks for less gain gets no fewer drafts.
    eager = AdaptivePlan(0.0, plan.max_drafts, plan.slot_acceptance)(confidences, num_wanted)
    assert len(eager) == min(len(confidences) + 1, num_wanted) >= len(depths)


def test_adaptive_plan_spends_rows_where_they_pay() -> None:
    plan = AdaptivePlan(min_gain=0.05, max_drafts=6, slot_acceptance=(0.5,))
    # A sure outcome gets masks while half of a half ... is worth a row.
    assert plan([], 99) == [4]
    # Two sure drafts: nothing behind their failure.
    assert plan([1.0, 1.0], 99) == [0, 0, 4]
    # A hopeless draft is not verified at all, nor is what stands behind it.
    assert plan([0.85, 0.01, 1.0], 99) == [1, 4]
    assert plan([0.8, 0.9], 3) == [1, 0, 0]
    assert plan([0.9, 0.9], 1) == [0]


def test_free_rows_are_filled_but_not_passed_by_small_gains() -> None:
    free = AdaptivePlan(
        min_gain=0.3, max_drafts=6, slot_acceptance=(0.5,), free_rows=4, free_gain=0.05
    )
    # Of its own, the gain would be worth one mask; three rows beside the seed are free.
    assert AdaptivePlan(min_gain=0.3, slot_acceptance=(0.5,))([], 99) == [1]
    assert free([], 99) == [3]
    # What is worth it at `min_gain` is laid out even where it takes more rows.
    assert free([1.0, 1.0, 1.0, 1.0], 99) == [0, 0, 0, 0, 1]
    # Two drafts take their rows first, the masks what is left.
    assert free([0.9, 0.9], 99) == [0, 0, 1]


def test_masks_must_be_worth_the_adapter() -> None:
    plan = AdaptivePlan(min_gain=0.05, slot_acceptance=(0.5,), mask_gain=0.6)
    # One half, a quarter, an eighth and a sixteenth of a token.
    assert plan([], 99) == [4]
    assert plan([0.5, 0.5], 99) == [3, 2, 2]
    assert replace(plan, mask_gain=0.95)([], 99) == [0]


@given(st.integers(1, 9), st.lists(st.floats(0, 1), max_size=8), st.integers(1, 12))
def test_uniform_plan(block_size: int, confidences: list[float], num_wanted: int) -> None:
    depths = uniform_plan(block_size)(confidences, num_wanted)
    assert set(depths) == {block_size - 1}
    assert len(depths) == min(len(confidences) + 1, num_wanted)


def test_masks_of_a_group(tiny_pair: Pair, qwen_pair: Pair) -> None:
    assert [num_masks(depth, tiny_pair[0].config) for depth in (0, 1, 3)] == [0, 2, 4]
    assert [num_masks(depth, qwen_pair[0].config) for depth in (0, 1, 3)] == [0, 1, 3]
