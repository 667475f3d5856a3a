"""The survey of logits, and the commits of a denoising step, against their slow twins."""

from __future__ import annotations

import pytest
import torch

from engine.models.survey import Survey
from engine.models.survey import survey as survey_twin

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.survey import (
    survey,
    threshold_commit,
    threshold_commit_twin,
)

MASK = 7
NEVER = float("-inf")


def drawn(device: torch.device, dtype: torch.dtype, N: int, V: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(N + V)
    return (torch.randn(N, V, generator=generator) * 4).to(device, dtype)


def opened(device: torch.device, V: int, *closed: int) -> torch.Tensor:
    penalty = torch.zeros(V, device=device)
    penalty[list(closed)] = NEVER
    return penalty


def ends(device: torch.device, *ids: int) -> torch.Tensor:
    return torch.tensor(ids, device=device, dtype=torch.int64)


def check(found: Survey, expected: Survey) -> None:
    """Chosen values are copies; of sums only the order differs."""
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.best, expected.best)
    assert torch.equal(found.second, expected.second)
    torch.testing.assert_close(found.normaliser, expected.normaliser, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.end_normaliser, expected.end_normaliser, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("N", "V"), [(1, 2), (3, 1024), (17, 9301), (64, 4097), (1, 5187)])
def test_the_survey_is_the_twins(device: torch.device, dtype: torch.dtype, N: int, V: int) -> None:
    logits, end_ids = drawn(device, dtype, N, V), ends(device, V - 1, 0)
    best = int(logits[0].argmax())
    for penalty in (opened(device, V), opened(device, V, best)):
        check(survey(logits, penalty, end_ids), survey_twin(logits, penalty, end_ids))


def test_of_equal_logits_the_first_is_best_and_another_is_second(device: torch.device) -> None:
    """Within a block of the vocabulary, and in two of them."""
    for places in ((5, 6), (5, 3000), (1023, 1024), (0, 4999)):
        logits = drawn(device, torch.float32, 2, 5000).clamp(max=9.0)
        logits[:, list(places)] = 50.0
        found = survey(logits, opened(device, 5000), ends(device, 1))
        assert found.tokens.tolist() == [min(places)] * 2
        assert found.best.tolist() == found.second.tolist() == [50.0] * 2


def test_only_one_token_may_be_chosen_or_none(device: torch.device, dtype: torch.dtype) -> None:
    logits, end_ids = drawn(device, dtype, 3, 2050), ends(device, 4)
    penalty = torch.full((2050,), NEVER, device=device)
    found = survey(logits, penalty, end_ids)
    check(found, survey_twin(logits, penalty, end_ids))
    assert found.best.tolist() == found.second.tolist() == [NEVER] * 3
    penalty[2049] = 0
    found = survey(logits, penalty, end_ids)
    check(found, survey_twin(logits, penalty, end_ids))
    assert found.tokens.tolist() == [2049] * 3 and found.second.tolist() == [NEVER] * 3


def test_infinite_logits(device: torch.device) -> None:
    """Whole blocks at minus infinity, as of a vocabulary that is padded; sums that overflow."""
    logits, penalty = drawn(device, torch.float32, 4, 5000), opened(device, 5000)
    logits[0, :4096] = NEVER
    logits[1] = NEVER
    logits[2] = NEVER
    logits[2, 4999] = -1000.0
    logits[3, 17] = float("inf")
    found = survey(logits, penalty, ends(device, 3))
    check(found, survey_twin(logits, penalty, ends(device, 3)))
    assert found.normaliser.tolist()[1:] == [NEVER, -1000.0, float("inf")]


def test_no_end_and_many(device: torch.device) -> None:
    logits, penalty = drawn(device, torch.float32, 2, 300), opened(device, 300)
    assert survey(logits, penalty, ends(device)).end_normaliser.tolist() == [NEVER] * 2
    many = ends(device, *range(11))
    check(survey(logits, penalty, many), survey_twin(logits, penalty, many))


def test_wrong_shapes_of_a_survey_are_named(device: torch.device) -> None:
    with pytest.raises(ValueError, match=r"fp32 \(9,\)"):
        survey(torch.zeros(1, 9, device=device), opened(device, 8), ends(device, 1))


@pytest.mark.parametrize("threshold", [0.5, 0.0, 1.1, None])
@pytest.mark.parametrize("min_commits", [0, 1, 3, 100])
@pytest.mark.parametrize("N", [1, 3, 17, 64])
def test_commits_are_the_twins(
    device: torch.device, N: int, min_commits: int, threshold: float | None
) -> None:
    generator = torch.Generator().manual_seed(N)
    ids = torch.randint(0, 9, (N,), generator=generator)
    ids[torch.rand(N, generator=generator) < 0.6] = MASK
    tokens = torch.arange(100, 100 + N).to(device)
    confidence = torch.rand(N, generator=generator).to(device)
    ids = ids.to(device)
    confidence[ids != MASK] = float("nan")
    rest = (tokens, confidence, ids, MASK)
    expected = threshold_commit_twin(*rest, threshold, min_commits)
    found = threshold_commit(*rest, threshold, min_commits)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0], expected[0])


def test_of_equally_sure_slots_the_first_are_committed(device: torch.device) -> None:
    ids = torch.tensor([MASK, 1, MASK, MASK, MASK], device=device)
    tokens = torch.tensor([10, 11, 12, 13, 14], device=device)
    confidence = torch.tensor([0.2, 0.9, 0.4, 0.4, 0.4], device=device)
    new_ids, committed = threshold_commit(tokens, confidence, ids, MASK, None, 2)
    assert new_ids.tolist() == [MASK, 1, 12, 13, MASK]
    assert committed.tolist() == [False, False, True, True, False]


def test_the_threshold_is_read_on_the_device(device: torch.device) -> None:
    """The same tensors with other numbers in them: what a replayed graph sees."""
    ids = torch.full((3,), MASK, device=device)
    tokens = torch.tensor([10, 11, 12], device=device)
    confidence = torch.tensor([0.2, 0.9, 0.4], device=device)
    threshold = torch.tensor([0.3], device=device)
    least = torch.tensor([1], device=device)
    rest = (tokens, confidence, ids, MASK, threshold, least)
    assert threshold_commit(*rest)[1].tolist() == [False, True, True]
    threshold.fill_(0.95)
    assert threshold_commit(*rest)[1].tolist() == [False, True, False]
    least.fill_(3)
    assert threshold_commit(*rest)[1].tolist() == [True, True, True]


def test_a_block_without_masks_stays(device: torch.device) -> None:
    ids = torch.tensor([1, 2], device=device)
    rest = (ids + 9, torch.ones(2, device=device), ids, MASK, 0.0, 2)
    new_ids, committed = threshold_commit(*rest)
    assert new_ids.tolist() == [1, 2] and not committed.any()
    assert torch.equal(threshold_commit_twin(*rest)[0], new_ids)


def test_wrong_shapes_of_a_block_are_named(device: torch.device) -> None:
    with pytest.raises(ValueError, match="65 slots"):
        threshold_commit(*(torch.zeros(65, device=device) for _ in range(3)), MASK, 0.5, 1)
    with pytest.raises(ValueError, match=r"fp32.*\(2,\)"):
        ids = torch.zeros(2, device=device, dtype=torch.int64)
        threshold_commit(ids, ids, ids, MASK, 0.5, 1)
