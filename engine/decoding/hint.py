"""Hints: tokens that the caller believes to come next, judged by causal passes before they count.

A pass over the last known token and a hint gives the model's own choice behind each of them. The
hint is emitted as far as it equals those choices, so it can save forwards but never change what is
chosen greedily. `engine.infill.answer` asks for it; who samples gets no hints, because a seed
must go on giving the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.decoding.blocks import accepted_length
from engine.decoding.draft_plan import Plan
from engine.decoding.forward import Forward, Kind, Steps, prefill, row
from engine.decoding.scores import Scores
from engine.decoding.shared_pass import NO_DRAFT, Draft, group_rows, read_draft, shared_forward
from engine.decoding.state import Decoding

# How sure a plan is to be of a hinted token. Below the threshold of drafts that a deadline may
# show: nobody has judged it yet, and the caller has it anyway.
_CONFIDENCE = 0.85
# A CPU turns compute-bound at about a dozen tokens per forward, so a wrong hint must be short.
_CPU_FIRST_TOKENS, _GPU_FIRST_TOKENS = 16, 64
_MAX_TOKENS = 64


@dataclass(slots=True)
class Ahead:
    """What one pass over final tokens and `hint` behind them tells.

    scores: row i is for the token behind ``hint[:i]``, then one row per mask of the `depths` behind
    each of those. The keys and values of the hint lie behind the committed ones until another pass
    runs (is_over); num_right of them have been committed.
    """

    scores: Scores
    hint: list[int]
    depths: list[int]
    num_right: int = 0
    is_over: bool = False

    @property
    def next_scores(self) -> Scores:
        """One row, for the token behind the hints that have proved right."""
        return self.scores[self.num_right : self.num_right + 1]

    def unhinted(self, state: Decoding) -> Ahead:
        """A copy of what it tells without the hint: another candidate begins at the same place."""
        masks = group_rows(state, self.depths, 0)
        rows = [0, *range(masks.start, masks.stop)]
        return Ahead(self.scores[rows], [], self.depths[:1])

    def take(self, state: Decoding, token: int) -> bool:
        """Whether the emitted `token` is the next of the hint; it is then in the cache already."""
        if self.is_over or self.hint[self.num_right : self.num_right + 1] != [token]:
            return False
        state.cache.commit([token])
        self.num_right += 1
        state.speculation.num_right_hints += 1
        return True

    def emit(self, state: Decoding) -> int:
        """Emit the hint as far as it is right, and the choice behind that; returns the latter."""
        hint = self.hint[self.num_right :]
        pick = state.pick(self.scores[self.num_right : len(self.hint) + 1])
        num_right = accepted_length(hint, pick.tokens)
        state.cache.commit(hint[:num_right])
        self.num_right += num_right
        state.speculation.num_right_hints += num_right
        state.emit_pick(pick, num_right + 1)
        return pick.tokens[num_right]

    def draft(self, state: Decoding) -> Draft:
        """What the masks behind the last right token drafted, from the token after next on."""
        return read_draft(state, self.scores, self.depths, self.num_right)

    def canvas(self, state: Decoding, threshold: float) -> Draft:
        """The hint behind the first wrong token, for a diffusion to start from.

        Where the pass found a token less likely than `threshold`, a mask stands instead of it.
        """
        wrong = self.num_right + 1
        tokens = self.hint[wrong:]
        if self.is_over or not tokens:
            return NO_DRAFT
        chances = torch.softmax(self.scores[wrong : len(self.hint)].logits, dim=-1)
        picked = chances.gather(1, torch.tensor(tokens, device=state.device).unsqueeze(1))
        found = picked.squeeze(1).tolist()
        mask = state.config.mask_token_id
        kept = [t if p >= threshold else mask for t, p in zip(tokens, found, strict=True)]
        return Draft(kept, found)


def prefill_ahead(
    state: Decoding,
    tokens: Sequence[int],
    chunk_tokens: int,
    hint: Sequence[int],
    plan: Plan | None,
) -> Steps[Ahead]:
    """`prefill` whose last chunk also judges the beginning of `hint`.

    plan: drafts behind the outcomes in the same pass; None = no drafts.
    """
    start = (len(tokens) - 1) // chunk_tokens * chunk_tokens
    if start:
        yield from prefill(tokens[:start], state.cache, chunk_tokens)
    last = list(tokens[start:])
    judged, depths = _laid_out(state, hint, plan, _first_tokens(state))
    all_depths = [0] * (len(last) - 1) + depths
    output = yield _forward(state, [*last, *judged], all_depths, plan, "prefill")
    state.cache.commit(last)
    # The head runs on the last token, the hint and the masks only.
    return Ahead(output.scores(slice(len(last) - 1, None)).kept(), judged, depths)


def follow_hint(
    state: Decoding, seed: int, hint: Sequence[int], plan: Plan | None
) -> Steps[tuple[int, Ahead | None]]:
    """Judge `hint`, which stands behind `seed`, pass by pass while it proves right.

    Returns the last emitted token, which is not cached, and the last pass, if there was one.
    """
    ahead, size = None, 2 * _first_tokens(state)
    while hint and not state.is_finished:
        judged, depths = _laid_out(state, hint, plan, size)
        output = yield _forward(state, [seed, *judged], depths, plan, "verify")
        state.cache.commit([seed])
        ahead = Ahead(output.scores(slice(None)).kept(), judged, depths)
        seed = ahead.emit(state)
        state.speculation.add(len(judged), ahead.num_right)
        hint, size = hint_behind(hint, ahead, seed), min(2 * size, _MAX_TOKENS)
    return seed, ahead


def hint_behind(hint: Sequence[int], ahead: Ahead, seed: int) -> Sequence[int]:
    """What of `hint` stands behind the emitted `seed`; nothing where the two have parted."""
    at = ahead.num_right
    if ahead.is_over or at < len(ahead.hint) or list(hint[at : at + 1]) != [seed]:
        return ()
    return hint[at + 1 :]


def _laid_out(
    state: Decoding, hint: Sequence[int], plan: Plan | None, max_tokens: int
) -> tuple[list[int], list[int]]:
    """The hinted tokens of the next pass, and the depths of the drafts behind its outcomes."""
    size = max(min(len(hint), max_tokens, state.num_remaining_tokens - 1), 0)
    depths = [0] * (size + 1)
    if plan is not None:
        depths = plan([_CONFIDENCE] * size, state.num_remaining_tokens)
    judged = list(hint[: len(depths) - 1])
    state.speculation.num_hinted_tokens += len(judged)
    return judged, depths


def _forward(
    state: Decoding, visible: list[int], depths: list[int], plan: Plan | None, kind: Kind
) -> Forward:
    if plan is None:
        return Forward(kind, row(visible), "causal")
    return shared_forward(state, visible, depths, kind)


def _first_tokens(state: Decoding) -> int:
    return _GPU_FIRST_TOKENS if state.device.type == "cuda" else _CPU_FIRST_TOKENS
