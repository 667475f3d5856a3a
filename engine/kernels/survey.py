"""What a greedy choice needs of logits, and which masks a denoising step fills, on the device.

Two kernels make the survey: blocks of the vocabulary leave their best values and a partial sum of
exponentials with its maximum (online softmax, arXiv 1805.02867), then each row's are joined.
Nothing of the size of the logits is written, and nothing is copied to the host.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from engine.decoding.blocks import select_commits
from engine.models.survey import Survey

MAX_SLOTS = 64
_INFINITY = float("inf")


def survey(logits: torch.Tensor, penalty: torch.Tensor, end_ids: torch.Tensor) -> Survey:
    """As `engine.models.survey.survey`, its slow twin: logits (N, V) in bf16 or fp32; penalty fp32
    (V,): 0 for ids that may be chosen, else minus infinity; end_ids int64 (E,); all contiguous.

    Logits may be infinite, but not NaN. Raises ValueError when shapes or dtypes do not fit.
    """
    N, V = logits.shape
    if not logits.is_contiguous() or penalty.shape != (V,) or penalty.dtype != torch.float32:
        raise ValueError(
            f"Of logits {tuple(logits.shape)}, contiguous, penalty must be fp32 ({V},), not "
            f"{penalty.dtype} {tuple(penalty.shape)}."
        )
    # Few rows are spread over more programs.
    block = 4096 if N >= 16 else 1024
    num_blocks = triton.cdiv(V, block)
    places = torch.empty(N, num_blocks, device=logits.device, dtype=torch.int32)
    partial = torch.empty(4, N, num_blocks, device=logits.device, dtype=torch.float32)
    _scan_kernel[(N, num_blocks)](
        *(logits, penalty, places, *partial.unbind(), V), BLOCK=block, num_warps=4
    )
    tokens = torch.empty(N, device=logits.device, dtype=torch.int64)
    figures = torch.empty(4, N, device=logits.device, dtype=torch.float32)
    _join_kernel[(N,)](
        *(logits, end_ids, places, *partial.unbind(), tokens, *figures.unbind()),
        *(V, num_blocks, len(end_ids)),
        BLOCKS=triton.next_power_of_2(num_blocks),
        ENDS=triton.next_power_of_2(max(1, len(end_ids))),
        num_warps=1,
    )
    return Survey(tokens, *figures.unbind())


def threshold_commit(
    tokens: torch.Tensor,
    confidence: torch.Tensor,
    ids: torch.Tensor,
    mask_id: int,
    threshold: float | torch.Tensor | None,
    min_commits: int | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The block after a denoising step, and bool (N,): the slots that became final in it.

    ids int64 (N,): the block, N up to 64; tokens int64, confidence fp32 (N,): what each slot would
    become, read where `ids` is `mask_id` only. Committed are all masks at or above `threshold`
    (none where it is None), and always the `min_commits` most confident, at least one; of equally
    confident ones the first. Both may be tensors (1,) on the device, fp32 and int64, which a
    replayed CUDA graph reads anew. Raises ValueError when there are too many slots.
    """
    N = ids.shape[0]
    if not 1 <= N <= MAX_SLOTS:
        raise ValueError(f"{N} slots: threshold_commit takes 1 to {MAX_SLOTS}.")
    if tokens.shape != (N,) or confidence.shape != (N,) or confidence.dtype != torch.float32:
        raise ValueError(f"tokens and confidence (fp32) must be ({N},), like ids.")
    if not isinstance(threshold, torch.Tensor):
        value = _INFINITY if threshold is None else threshold
        threshold = torch.full((1,), value, device=ids.device, dtype=torch.float32)
    if not isinstance(min_commits, torch.Tensor):
        min_commits = torch.full((1,), min_commits, device=ids.device, dtype=torch.int64)
    new_ids, committed = torch.empty_like(ids), torch.empty(N, device=ids.device, dtype=torch.bool)
    _commit_kernel[(1,)](
        *(tokens, confidence, ids, threshold, min_commits, new_ids, committed.view(torch.uint8)),
        *(N, mask_id),
        SLOTS=triton.next_power_of_2(N),
        num_warps=4,
    )
    return new_ids, committed


def threshold_commit_twin(
    tokens: torch.Tensor,
    confidence: torch.Tensor,
    ids: torch.Tensor,
    mask_id: int,
    threshold: float | None,
    min_commits: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The slow twin, by `select_commits`; which of equally confident slots it takes is open."""
    masked = (ids == mask_id).nonzero().squeeze(1)
    committed = torch.zeros_like(ids, dtype=torch.bool)
    if len(masked):
        committed[masked] = select_commits(confidence[masked], threshold, min_commits)
    return torch.where(committed, tokens, ids), committed


@triton.jit
def _finite(top):
    """The number to subtract before exponentials are taken: of infinities nothing."""
    return tl.where((top == float("inf")) | (top == -float("inf")), 0.0, top)


@triton.jit
def _scan_kernel(  # noqa: PLR0913
    logits_ptr,
    penalty_ptr,
    places_ptr,
    best_ptr,
    second_ptr,
    top_ptr,
    total_ptr,
    V,
    BLOCK: tl.constexpr,
):
    """Program (row, block of the vocabulary)."""
    row, block = tl.program_id(0), tl.program_id(1)
    o_v = block * BLOCK + tl.arange(0, BLOCK)
    m_v = o_v < V
    at = row.to(tl.int64) * V + o_v
    logits = tl.load(logits_ptr + at, mask=m_v, other=-float("inf")).to(tl.float32)
    opened = logits + tl.load(penalty_ptr + o_v, mask=m_v, other=-float("inf"))
    best, place = tl.max(opened, axis=0, return_indices=True, return_indices_tie_break_left=True)
    others = tl.where(o_v == block * BLOCK + place, -float("inf"), opened)
    top = tl.max(logits, axis=0)
    partial = row * tl.num_programs(1) + block
    tl.store(places_ptr + partial, block * BLOCK + place)
    tl.store(best_ptr + partial, best)
    tl.store(second_ptr + partial, tl.max(others, axis=0))
    tl.store(top_ptr + partial, top)
    tl.store(total_ptr + partial, tl.sum(tl.exp(logits - _finite(top)), axis=0))


@triton.jit(do_not_specialize=["num_ends"])
def _join_kernel(  # noqa: PLR0913
    logits_ptr,
    end_ids_ptr,
    places_ptr,
    best_ptr,
    second_ptr,
    top_ptr,
    total_ptr,
    token_ptr,
    best_out_ptr,
    second_out_ptr,
    normaliser_ptr,
    end_normaliser_ptr,
    V,
    num_blocks,
    num_ends,
    BLOCKS: tl.constexpr,
    ENDS: tl.constexpr,
):
    """Program (row)."""
    row = tl.program_id(0)
    block = tl.arange(0, BLOCKS)
    m_block = block < num_blocks
    partial = row * num_blocks + block
    bests = tl.load(best_ptr + partial, mask=m_block, other=-float("inf"))
    best, place = tl.max(bests, axis=0, return_indices=True, return_indices_tie_break_left=True)
    # The best of the other blocks, and the second of the block that has the best.
    seconds = tl.load(second_ptr + partial, mask=m_block, other=-float("inf"))
    seconds = tl.where(block == place, seconds, bests)
    tl.store(token_ptr + row, tl.load(places_ptr + row * num_blocks + place).to(tl.int64))
    tl.store(best_out_ptr + row, best)
    tl.store(second_out_ptr + row, tl.max(seconds, axis=0))

    tops = tl.load(top_ptr + partial, mask=m_block, other=-float("inf"))
    totals = tl.load(total_ptr + partial, mask=m_block, other=0.0)
    shift = _finite(tl.max(tops, axis=0))
    # A block of nothing but minus infinity has no part, whatever its maximum stands for.
    parts = tl.where(totals == 0.0, 0.0, totals * tl.exp(_finite(tops) - shift))
    tl.store(normaliser_ptr + row, tl.log(tl.sum(parts, axis=0)) + shift)

    end = tl.arange(0, ENDS)
    m_end = end < num_ends
    end_at = row.to(tl.int64) * V + tl.load(end_ids_ptr + end, mask=m_end, other=0)
    ends = tl.load(logits_ptr + end_at, mask=m_end, other=-float("inf")).to(tl.float32)
    shift = _finite(tl.max(ends, axis=0))
    total = tl.sum(tl.exp(ends - shift), axis=0)
    tl.store(end_normaliser_ptr + row, tl.log(total) + shift)


@triton.jit(do_not_specialize=["N", "mask_id"])
def _commit_kernel(  # noqa: PLR0913
    tokens_ptr,
    confidence_ptr,
    ids_ptr,
    threshold_ptr,
    min_commits_ptr,
    new_ids_ptr,
    committed_ptr,
    N,
    mask_id,
    SLOTS: tl.constexpr,
):
    """One program: each mask counts the masks that go before it."""
    slot = tl.arange(0, SLOTS)
    ids = tl.load(ids_ptr + slot, mask=slot < N, other=0)
    masked = (slot < N) & (ids == mask_id)
    confidence = tl.load(confidence_ptr + slot, mask=masked, other=-1.0)
    tokens = tl.load(tokens_ptr + slot, mask=masked, other=0)
    other = tl.arange(0, SLOTS)
    other_id = tl.load(ids_ptr + other, mask=other < N, other=0)
    other_masked = (other < N) & (other_id == mask_id)
    other_confidence = tl.load(confidence_ptr + other, mask=other_masked, other=-1.0)[None, :]
    mine = confidence[:, None]
    is_first = (other_confidence == mine) & (other[None, :] < slot[:, None])
    before = other_masked[None, :] & ((other_confidence > mine) | is_first)
    rank = tl.sum(before.to(tl.int32), axis=1)
    needed = tl.maximum(tl.load(min_commits_ptr), 1)
    committed = masked & ((confidence >= tl.load(threshold_ptr)) | (rank < needed))
    tl.store(new_ids_ptr + slot, tl.where(committed, tokens, ids), mask=slot < N)
    tl.store(committed_ptr + slot, committed.to(tl.uint8), mask=slot < N)
