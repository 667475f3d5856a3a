"""At temperature > 0 speculation draws from the very law that ar draws from."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from engine.decoding.forward import prefill
from engine.decoding.loop import Limits, Meter, run_steps
from engine.decoding.sampling import Sampler
from engine.decoding.scores import Scores
from engine.engine import Engine
from engine.models.decoder import Decoder
from tests.decoding.harness import decode, only_mask_forbidden
from tests.tiny_model import language

TEMPERATURE = 1.5
NUM_SAMPLES = 1500
NUM_TOKENS = 4
# A seeded run: the statistic is the same every time, so there is nothing flaky about its bound.
MAX_STANDARD_DEVIATIONS = 4.0


def exact_law(decoder: Decoder, prompt: list[int], ends: tuple[int, ...]) -> dict[str, float]:
    """Probabilities of the likeliest texts of NUM_TOKENS tokens; all others are ``other``."""
    law: dict[str, float] = {}

    def grow(tokens: list[int], probability: float) -> None:
        if len(tokens) == NUM_TOKENS or (tokens and tokens[-1] in ends):
            law[str([t for t in tokens if t not in ends])] = probability
            return
        cache = decoder.new_cache()
        steps = prefill([*prompt, *tokens], cache, 10**6)
        logits = run_steps(steps, decoder, cache, Meter(), Limits()).logits[0]
        logits = logits.masked_fill(only_mask_forbidden(decoder), float("-inf"))
        probabilities = torch.softmax(logits.double() / TEMPERATURE, dim=-1)
        for value, token in zip(*(t.tolist() for t in probabilities.topk(16)), strict=True):
            if probability * value > 0.004:
                grow([*tokens, token], probability * value)

    grow([], 1.0)
    law["other"] = 1.0 - sum(law.values())
    return law


@pytest.mark.parametrize("mode", ["ar", "linear_spec", "quad_spec", "adaptive"])
def test_law_is_that_of_ar(tiny: Engine, mode: str) -> None:
    decoder = tiny.decoder
    # Where a local name is due: a dozen choices, each to be repeated two tokens later.
    document = next(iter(language.documents(3, held_out=True)))
    prompt = tiny.tokenizer.encode(document.text[: document.free[1][0]].rstrip(" "))
    law = exact_law(decoder, prompt, decoder.config.eos_token_ids)
    counts: Counter[str] = Counter()
    for seed in range(NUM_SAMPLES):
        found = decode(
            decoder,
            prompt,
            mode,
            max_tokens=NUM_TOKENS,
            block_size=4,
            temperature=TEMPERATURE,
            seed=seed,
        )
        key = str(found.tokens)
        counts[key if key in law else "other"] += 1
    cells = [(counts[key], p * NUM_SAMPLES) for key, p in law.items() if p * NUM_SAMPLES >= 5]
    assert len(cells) >= 8, "the prompt leaves too little choice for a test of the law"
    chi_square = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    degrees = len(cells) - 1
    assert (chi_square - degrees) / math.sqrt(2 * degrees) < MAX_STANDARD_DEVIATIONS


def test_seed_makes_a_request_repeatable(tiny: Engine) -> None:
    prompt = tiny.tokenizer.encode("def ")
    runs = [
        decode(
            tiny.decoder, prompt, "linear_spec", max_tokens=20, temperature=1.0, seed=seed
        ).tokens
        for seed in (3, 3, 4, 5)
    ]
    assert runs[0] == runs[1]
    assert any(a != b for a, b in itertools.combinations(runs[1:], 2))


def sampler(**wishes: float) -> Sampler:
    forbidden = torch.zeros(6, dtype=torch.bool)
    forbidden[5] = True
    settings = {"temperature": 0.0, "top_p": 1.0, **wishes}
    return Sampler(forbidden=forbidden, seed=1, dtype=torch.float32, **settings)  # type: ignore[arg-type]


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.1, 0.06, 0.04, 1e-9]]))
    drawn = sampler(temperature=1.0, top_p=0.7)
    chosen = {drawn.pick(Scores.of(logits.clone())).tokens[0] for _ in range(300)}
    assert chosen == {0, 1}


def test_near_ties_are_counted_not_hidden() -> None:
    logits = torch.tensor([[1.0, 1.0 + 1e-5, 0, 0, 0, 9.0], [1.0, 2.0, 0, 0, 0, 9.0]])
    pick = sampler().pick(Scores.of(logits))
    assert pick.tokens == [1, 1]
    assert pick.near_ties == [True, False]


def test_alternatives_are_the_next_best() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0, -1.0, 9.0]])
    picks = [sampler().pick_nth(Scores.of(logits.clone()), rank) for rank in range(6)]
    assert [pick.tokens[0] for pick in picks if pick] == [0, 2, 1, 3, 4]
    # The forbidden token is no alternative.
    assert picks[5] is None
    among = [sampler().pick_nth(Scores.of(logits.clone()), rank, [1, 3]) for rank in range(3)]
    assert [pick.tokens[0] for pick in among if pick] == [1, 3]


def test_restricted_pick_keeps_the_true_probability() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.05, 0.03, 0.02, 1e-9]]))
    pick = sampler().pick(Scores.of(logits.clone()), [1, 2])
    assert pick.tokens == [1]
    assert pick.logprobs[0] == pytest.approx(math.log(0.2), abs=1e-4)


def test_restricted_pick_tells_the_mass_it_was_restricted_to() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.05, 0.03, 0.02, 1e-9]]))
    assert sampler().pick(Scores.of(logits.clone()), [1, 2]).log_mass == pytest.approx(
        math.log(0.25), abs=1e-4
    )
    nth = sampler().pick_nth(Scores.of(logits.clone()), 1, [1, 2])
    assert nth is not None and nth.log_mass == pytest.approx(math.log(0.25), abs=1e-4)
    assert sampler().pick(Scores.of(logits.clone())).log_mass == 0.0


def test_pick_tells_how_likely_the_text_ends() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.05, 0.05], [0.1, 0.1, 0.4, 0.4]]))
    ending = Sampler(
        forbidden=torch.zeros(4, dtype=torch.bool),
        temperature=0.0,
        top_p=1.0,
        seed=1,
        dtype=torch.float32,
        end_ids=(2, 3),
    )
    found = ending.pick(Scores.of(logits.clone())).end_logprobs
    assert found == pytest.approx([math.log(0.1), math.log(0.8)], abs=1e-4)
    assert sampler().pick(Scores.of(torch.zeros(1, 6))).end_logprobs == [-math.inf]


def test_the_smallest_temperature_is_greedy() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0, -1.0, 9.0]])
    assert sampler(temperature=5e-324).pick(Scores.of(logits.clone())).tokens == [0]
    assert int(sampler(temperature=5e-324).perturbed(logits).argmax()) == 0


def test_perturbed_logits_sample_the_law() -> None:
    """Gumbel-max at masked positions: same temperature, same nucleus, as everywhere."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.1, 0.06, 0.04, 1e-9]])).repeat(4000, 1)
    drawn = sampler(temperature=1.0, top_p=0.85).perturbed(logits).argmax(dim=-1)
    counts = torch.bincount(drawn, minlength=6)
    assert counts[3:].sum() == 0
    for token, share in ((0, 0.5 / 0.9), (1, 0.3 / 0.9), (2, 0.1 / 0.9)):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)
    assert torch.equal(sampler().perturbed(logits).argmax(dim=-1), torch.zeros(4000).long())
