"""Choosing greedily in one look at the logits, against the sampler's torch functions."""

from __future__ import annotations

import pytest
import torch

from engine import native
from engine.decoding.sampling import Sampler
from engine.decoding.scores import Scores
from engine.native import library

NUM_IDS = 1024
ENDS = [3, 5, 900]


@pytest.fixture
def sampler() -> Sampler:
    forbidden = torch.zeros(NUM_IDS, dtype=torch.bool)
    forbidden[[0, 7, 1000, NUM_IDS - 1]] = True
    return Sampler(
        forbidden=forbidden,
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=torch.float32,
        end_ids=ENDS,
    )


def cases() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(9, NUM_IDS, generator=generator) * 5
    forbidden_best, tie, near, low = (plain.clone() for _ in range(4))
    forbidden_best[:, 7] = 90
    tie[:, [40, 41, 300]] = 80
    near[:, 600], near[:, 17] = 50, 50 - 5e-5
    low[2] = float("-inf")
    low[2, 12], low[2, 13] = -4e4, -5e4
    return [plain, forbidden_best, tie, near, low, plain * 100, plain[:1].clone()]


@pytest.mark.parametrize("case", range(7))
def test_the_choice_is_that_of_the_twin(
    kernels: str, sampler: Sampler, monkeypatch: pytest.MonkeyPatch, case: int
) -> None:
    logits = cases()[case]
    called: list[int] = []
    real = library.survey
    monkeypatch.setattr(library, "survey", lambda *args: (called.append(1), real(*args))[1])
    monkeypatch.setattr(native, "_is_in_use", True)
    found = sampler.pick(Scores.of(logits.clone()))
    monkeypatch.setattr(native, "_is_in_use", False)
    expected = sampler.pick(Scores.of(logits.clone()))
    assert len(called) == 1
    assert found.tokens == expected.tokens and found.near_ties == expected.near_ties
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-3, rel=1e-5)
    assert found.end_logprobs == pytest.approx(expected.end_logprobs, abs=1e-3, rel=1e-5)


def test_what_is_restricted_or_sampled_is_left_to_the_twin(
    built: None, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("surveyed")

    monkeypatch.setattr(library, "survey", fail)
    monkeypatch.setattr(native, "_is_in_use", True)
    logits = cases()[0]
    assert sampler.pick(Scores.of(logits.clone()), [11]).tokens == [11] * 9
    assert sampler.pick(Scores.of(logits.clone()), may_end=False).tokens[0] not in ENDS
    sampler.temperature = 1.0
    sampler.pick(Scores.of(logits.clone()))
    sampler.temperature = 0.0
    with pytest.raises(AssertionError, match="surveyed"):
        sampler.pick(Scores.of(logits.clone()))
