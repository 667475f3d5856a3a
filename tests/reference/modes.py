"""Naive greedy decoding in every mode: each pass starts again from the whole token list.

No cache, no cropping, no shared loop, so that there is little to get wrong. Tests compare the
engine's tokens and forward counts with these. Sources: Nemotron-Labs-Diffusion (arXiv 2607.05722)
and its released ``generate``, ``linear_spec_generate`` and quadratic variant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tests.reference.network import Network, forward

Alignment = Literal["same_position", "next_position"]
AdapterScope = Literal["block", "masks"]


@dataclass(frozen=True, slots=True)
class Model:
    """A network and the conventions of its family.

    alignment: a mask row's logits are for its own position, or for the next one.
    adapter_scope: the adapter is on over a whole draft block, or at masks only; in the second case
    the visible tokens of a block see only visible tokens at or before them.
    """

    network: Network
    mask_token_id: int = 100
    eos_token_ids: tuple[int, ...] = (11, 2)
    alignment: Alignment = "same_position"
    adapter_scope: AdapterScope = "block"


@dataclass(slots=True)
class Decoded:
    """tokens: without the end token. is_ended: whether an end token was met. num_forwards: passes
    after the prefill. emitted_per_cycle: tokens of each speculative cycle, end token included."""

    tokens: list[int] = field(default_factory=list)
    is_ended: bool = False
    num_forwards: int = 0
    emitted_per_cycle: list[int] = field(default_factory=list)

    def emit(self, model: Model, tokens: Sequence[int], max_tokens: int) -> int:
        """Append until the end token or `max_tokens`; returns how many of `tokens` counted."""
        for num_before, token in enumerate(tokens):
            if self.is_ended or len(self.tokens) >= max_tokens:
                return num_before
            if token in model.eos_token_ids:
                self.is_ended = True
            else:
                self.tokens.append(token)
        return len(tokens)

    def is_done(self, max_tokens: int) -> bool:
        return self.is_ended or len(self.tokens) >= max_tokens


def causal_view(num_rows: int) -> Tensor:
    """bool (T, T): every row sees itself and what stands before it."""
    return torch.ones(num_rows, num_rows, dtype=torch.bool).tril()


def causal_logits(model: Model, tokens: Sequence[int]) -> Tensor:
    """(T, vocab) of an ordinary causal pass, adapter off; row i is about token i + 1."""
    num = len(tokens)
    return forward(model.network, torch.tensor(tokens), torch.arange(num), causal_view(num))


def best_tokens(model: Model, logits: Tensor) -> list[int]:
    """Argmax per row of (N, vocab); the mask is never chosen."""
    closed = logits.clone()
    closed[:, model.mask_token_id] = -torch.inf
    return [int(token) for token in closed.argmax(-1)]


def next_token(model: Model, tokens: Sequence[int]) -> int:
    """The causal pass's choice after `tokens`."""
    return best_tokens(model, causal_logits(model, tokens)[-1:])[0]


def ar(model: Model, prompt: Sequence[int], max_tokens: int) -> Decoded:
    """One token per pass; the first comes from the prefill."""
    out = Decoded()
    out.emit(model, [next_token(model, prompt)], max_tokens)
    while not out.is_done(max_tokens):
        out.num_forwards += 1
        out.emit(model, [next_token(model, [*prompt, *out.tokens])], max_tokens)
    return out


def block_logits(
    model: Model,
    context: Sequence[int],
    block: Sequence[int],
    suffix_head: Sequence[int],
    *,
    adapter: bool,
) -> Tensor:
    """(rows, vocab) of a bidirectional pass over `block` and `suffix_head` behind a causal
    `context`. With next-position logits the block's last slot has no row, as nothing inside the
    block would be predicted there; the suffix head keeps its position all the same."""
    num_rows = len(block) if model.alignment == "same_position" else len(block) - 1
    shown = torch.tensor([*block[:num_rows], *suffix_head])
    start, num = len(context), len(context) + len(shown)
    positions = torch.arange(num)
    positions[start + num_rows :] += len(block) - num_rows
    is_mask = shown == model.mask_token_id
    view = causal_view(num)
    if model.adapter_scope == "block":
        view[start:, start:] = True
        adapted = torch.ones(len(shown), dtype=torch.bool)
    else:
        for row in range(len(shown)):
            for column in range(len(shown)):
                seen = is_mask[row] or (column <= row and not is_mask[column])
                view[start + row, start + column] = bool(seen)
        adapted = is_mask
    rows = torch.cat((torch.zeros(start, dtype=torch.bool), adapted & adapter))
    tokens = torch.cat((torch.tensor(context, dtype=torch.int64), shown))
    return forward(model.network, tokens, positions, view, rows)[start:]


def denoise(
    model: Model,
    context: Sequence[int],
    block: list[int],
    *,
    threshold: float | None,
    max_steps: int,
    adapter: bool,
    suffix_head: Sequence[int] = (),
) -> int:
    """Fill the masks of `block` (block[0] is known) in place; returns the passes it took.

    Each pass commits its most confident mask and every mask at or above `threshold`; under a
    tighter step budget as many of the best as an even share demands. A committed token stays.
    """
    for step in range(max_steps):
        slots = [i for i, token in enumerate(block) if token == model.mask_token_id]
        ends = [i for i, token in enumerate(block) if i and token in model.eos_token_ids]
        if not slots or (ends and ends[0] < slots[0]):
            return step
        logits = block_logits(model, context, block, suffix_head, adapter=adapter)
        # With next-position logits the row before a slot is about the slot.
        shift = 0 if model.alignment == "same_position" else 1
        about = logits[[slot - shift for slot in slots]]
        tokens = best_tokens(model, about)
        confidence = [float(row.softmax(-1)[t]) for row, t in zip(about, tokens, strict=True)]
        num_forced = max(1, math.ceil(len(slots) / (max_steps - step)))
        ranked = sorted(range(len(slots)), key=lambda i: -confidence[i])
        for rank, index in enumerate(ranked):
            if rank < num_forced or (threshold is not None and confidence[index] >= threshold):
                block[slots[index]] = tokens[index]
    return max_steps


def diffusion(
    model: Model,
    prompt: Sequence[int],
    max_tokens: int,
    *,
    block_size: int,
    threshold: float | None = 0.9,
    max_steps: int | None = None,
) -> Decoded:
    """Block after block. Each finished block takes one causal pass, whose last row gives the next
    block's seed; behind the end token or `max_tokens` that pass is not run. The last block is only
    as long as `max_tokens` needs."""
    out = Decoded()
    seed = next_token(model, prompt)
    out.emit(model, [seed], max_tokens)
    adapter = model.adapter_scope == "masks"
    while not out.is_done(max_tokens):
        context = [*prompt, *out.tokens[:-1]]
        num_slots = min(block_size, max_tokens - len(out.tokens) + 1)
        block = [seed] + [model.mask_token_id] * (num_slots - 1)
        budget = max_steps or num_slots
        out.num_forwards += denoise(
            model, context, block, threshold=threshold, max_steps=budget, adapter=adapter
        )
        out.emit(model, block[1:], max_tokens)
        if not out.is_done(max_tokens):
            out.num_forwards += 1
            seed = next_token(model, [*context, *block])
            out.emit(model, [seed], max_tokens)
    return out


def infill(
    model: Model,
    prefix: Sequence[int],
    num_masks: int,
    suffix_head: Sequence[int],
    *,
    threshold: float = 0.9,
) -> tuple[list[int], int]:
    """`num_masks` tokens between `prefix` and `suffix_head` by denoising the one block [last
    prefix token, masks, suffix head]; also returns the passes."""
    block = [prefix[-1], *[model.mask_token_id] * num_masks]
    num_forwards = denoise(
        model,
        prefix[:-1],
        block,
        threshold=threshold,
        max_steps=num_masks,
        adapter=model.adapter_scope == "masks",
        suffix_head=suffix_head,
    )
    return block[1:], num_forwards


def linear_spec(
    model: Model, prompt: Sequence[int], max_tokens: int, *, block_size: int
) -> Decoded:
    """Draft seed + (B - 1) masks in one pass (adapter on), verify causally (adapter off), emit the
    matched drafts and the bonus token. A block is never longer than the tokens still wanted."""
    out = Decoded()
    seed = next_token(model, prompt)
    out.emit(model, [seed], max_tokens)
    while not out.is_done(max_tokens):
        context = [*prompt, *out.tokens[:-1]]
        num_slots = min(block_size, max_tokens - len(out.tokens))
        block = [seed] + [model.mask_token_id] * (num_slots - 1)
        out.num_forwards += denoise(
            model, context, block, threshold=None, max_steps=1, adapter=True
        )
        out.num_forwards += 1
        verified = best_tokens(model, causal_logits(model, [*context, *block])[len(context) :])
        emitted = matched(block[1:], verified)
        out.emitted_per_cycle.append(out.emit(model, emitted, max_tokens))
        seed = emitted[-1]
    return out


def matched(drafts: Sequence[int], verified: Sequence[int]) -> list[int]:
    """The verifier's tokens up to and including its first that differs from the draft."""
    num = 0
    while num < len(drafts) and drafts[num] == verified[num]:
        num += 1
    return list(verified[: num + 1])


def quad_pass(
    model: Model, context: Sequence[int], drafts: Sequence[int], num_slots: int
) -> Tensor:
    """(len(drafts), num_slots, vocab): group i is draft i and `num_slots` - 1 masks that suppose
    drafts 0..i to be right. The first tokens form a causal chain; a mask sees that chain up to its
    own group, and its group."""
    start, num_groups = len(context), len(drafts)
    masks = [model.mask_token_id] * (num_slots - 1)
    tokens = [*context, *(token for draft in drafts for token in (draft, *masks))]
    positions = list(range(start))
    view = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    view[:start, :start] = causal_view(start)
    view[start:, :start] = True
    for group in range(num_groups):
        for slot in range(num_slots):
            row = start + group * num_slots + slot
            positions.append(start + group + slot)
            for earlier in range(group + 1):
                view[row, start + earlier * num_slots] = True
            if slot > 0:
                own = start + group * num_slots
                view[row, own : own + num_slots] = True
    rows = torch.tensor(tokens) == model.mask_token_id
    rows[:start] = False
    adapted = rows if model.adapter_scope == "masks" else None
    logits = forward(model.network, torch.tensor(tokens), torch.tensor(positions), view, adapted)
    return logits[start:].view(num_groups, num_slots, -1)


def quad_spec(model: Model, prompt: Sequence[int], max_tokens: int, *, block_size: int) -> Decoded:
    """One pass per cycle verifies k = `block_size` drafts and drafts anew for each outcome. The
    first cycle has the seed's group alone, the last ones only as many as are still wanted."""
    out = Decoded()
    drafts = [next_token(model, prompt)]
    out.emit(model, drafts, max_tokens)
    # Slot 0 already gives the next token, so a next-position group needs one mask less.
    shift = 0 if model.alignment == "same_position" else 1
    num_slots = block_size + 1 - shift
    while not out.is_done(max_tokens):
        context = [*prompt, *out.tokens[:-1]]
        drafts = drafts[: max_tokens - len(out.tokens)]
        out.num_forwards += 1
        logits = quad_pass(model, context, drafts, num_slots)
        emitted = matched(drafts[1:], best_tokens(model, logits[:, 0]))
        out.emitted_per_cycle.append(out.emit(model, emitted, max_tokens))
        # Slot s of the last right group speaks about the token s (+ shift) behind its draft; the
        # token 1 behind is the bonus, which the causal row has already chosen.
        group = logits[len(emitted) - 1]
        speaking = [slot - shift for slot in range(2, block_size + 1)]
        drafts = [emitted[-1], *(best_tokens(model, group[speaking]) if speaking else [])]
    return out
