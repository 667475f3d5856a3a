"""Infilling for models without fill-in-the-middle tokens: try lengths side by side, then rank.

One batch row per candidate length over one shared prefix KV: [last prefix token, masks, head of
the suffix], each row with its own contiguous positions. All rows are denoised together; one causal
pass over candidate + suffix head ranks them by the model's own likelihood (fill-in-the-middle
without training; rows instead of PILL's slots). Picking lengths by first-step confidence (CAL,
arXiv 2602.00476) was measured to lose the right length too often: see docs/measurements.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from engine.decoding.blocks import candidates, min_commits_per_step, select_commits
from engine.decoding.diffusion import DEFAULT_THRESHOLD
from engine.decoding.forward import Forward, Kind, Steps
from engine.decoding.state import Decoding
from engine.infill.route import Route

MAX_WINDOW_TOKENS = 32
_DEFAULT_STEPS = 8
# Suffix tokens that are scored behind a candidate; more of them drown the candidate (PILL, 4).
_NUM_SCORED_SUFFIX_TOKENS = 4
# Mean log-probability of the suffix head below which no tried length is believed to fit.
_MIN_SUFFIX_SCORE = -2.5
_LINE_END_PENALTY = 0.5


@dataclass(slots=True)
class Row:
    """One candidate: `middle` starts as masks and is filled in place."""

    middle: list[int]
    logprobs: list[float]
    score: float = float("-inf")
    suffix_score: float = 0.0

    @property
    def num_tokens(self) -> int:
        return len(self.middle)

    @property
    def is_plausible(self) -> bool:
        """Whether the suffix is at all to be expected behind this middle."""
        return self.suffix_score > _MIN_SUFFIX_SCORE


@dataclass(frozen=True, slots=True)
class Window:
    """What all rows share. last: the token before the hole, not in the cache, visible in the block.

    allowed_first: ids with which the middle may begin (token healing); None = any. line_ends: ids
    that a middle should do without, because the hole lies inside a line (empty = none).
    """

    last: int
    suffix_head: list[int]
    allowed_first: list[int] | None
    line_ends: frozenset[int] = frozenset()

    @property
    def max_middle_tokens(self) -> int:
        return MAX_WINDOW_TOKENS - 1 - len(self.suffix_head)


def length_search(state: Decoding, window: Window) -> Steps[list[Row]]:
    """Finished candidates, best first, with different texts. The cache must end before ``last``."""
    longest = min(window.max_middle_tokens, state.params.max_tokens)
    mask_id = state.config.mask_token_id
    rows = [Row([mask_id] * length, [0.0] * length) for length in range(1, longest + 1)]
    yield from _denoise(state, window, rows)
    yield from _rank(state, window, rows)
    distinct: dict[tuple[int, ...], Row] = {}
    for row in sorted(rows, key=lambda row: row.score, reverse=True):
        distinct.setdefault(_up_to_end(row.middle, state), row)
    return list(distinct.values())


def no_fitting_length(route: Route, rows: Sequence[Row]) -> Route:
    """The route to take when none of `rows` fits: left to right, with the stop rules as guard."""
    longest = max(row.num_tokens for row in rows)
    return replace(
        route,
        name="left_to_right",
        method="prefix_only",
        mode="linear_spec",
        reason=f"No middle of up to {longest} tokens leads to the text right of the cursor, so the "
        "text left of it is continued and cut where the suffix begins.",
    )


def _up_to_end(tokens: Sequence[int], state: Decoding) -> tuple[int, ...]:
    """The tokens before the first end token."""
    ends = [at for at, token in enumerate(tokens) if token in state.config.eos_token_ids]
    return tuple(tokens[: ends[0]] if ends else tokens)


def _denoise(state: Decoding, window: Window, rows: list[Row]) -> Steps[None]:
    """Fill the masks of all rows together; a row that is done rides along unchanged."""
    mask_id = state.config.mask_token_id
    max_steps = state.params.max_denoising_steps or _DEFAULT_STEPS
    threshold = state.params.confidence_threshold
    for step in range(max_steps):
        open_rows = [row for row in rows if mask_id in row.middle]
        if not open_rows:
            return
        output = yield _block_forward(state, window, open_rows)
        best_confidence = float("-inf")
        for at, row in enumerate(open_rows):
            slots = [slot for slot, token in enumerate(row.middle) if token == mask_id]
            logits = output.logits([slot + 1 for slot in slots], of=at)
            if slots[0] == 0:
                logits = _constrained(logits, 0, window)
                if not state.may_end:
                    logits[0, list(state.config.eos_token_ids)] = float("-inf")
            found = candidates(logits, state.sampler.perturbed(logits))
            chosen = select_commits(
                found.confidence,
                DEFAULT_THRESHOLD if threshold is None else threshold,
                min_commits_per_step(len(slots), max_steps - step),
            )
            guess = list(row.middle)
            for index, slot in enumerate(slots):
                guess[slot] = int(found.tokens[index])
                if chosen[index]:
                    row.middle[slot] = guess[slot]
            mean_confidence = float(found.confidence.mean())
            if mean_confidence > best_confidence:
                best_confidence, state.draft = mean_confidence, guess


def _constrained(logits: torch.Tensor, first_row: int, window: Window) -> torch.Tensor:
    """Only the allowed ids at row `first_row`, in place; it must keep what was typed."""
    if window.allowed_first is not None:
        closed = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        closed[window.allowed_first] = False
        logits[first_row].masked_fill_(closed, float("-inf"))
    return logits


def _rank(state: Decoding, window: Window, rows: list[Row]) -> Steps[None]:
    """Score = half mean log-likelihood of the middle, half that of the suffix head behind it."""
    output = yield _block_forward(state, window, rows, kind="rank")
    for at, row in enumerate(rows):
        text = [*row.middle, *window.suffix_head]
        log_probs = torch.log_softmax(output.logits(slice(0, len(text)), of=at), dim=-1)
        picked = log_probs.gather(1, torch.tensor(text, device=state.device).unsqueeze(1))
        row.logprobs = picked[: row.num_tokens, 0].tolist()
        right = picked[row.num_tokens :, 0][:_NUM_SCORED_SUFFIX_TOKENS]
        middle_score = sum(row.logprobs) / row.num_tokens
        # Inside a line one line is expected: several must be a good deal more likely.
        penalty = _LINE_END_PENALTY * (not window.line_ends.isdisjoint(row.middle))
        row.suffix_score = float(right.mean()) if len(right) else middle_score
        row.score = 0.5 * middle_score + 0.5 * row.suffix_score - penalty


def _block_forward(
    state: Decoding, window: Window, rows: Sequence[Row], kind: Kind = "denoise"
) -> Forward:
    """All rows padded to one length; nobody sees padding. ``rank`` is causal, else all see all."""
    texts = [[window.last, *row.middle, *window.suffix_head] for row in rows]
    T = max(len(text) for text in texts)
    ids = torch.zeros(len(rows), T, dtype=torch.int64)
    # Padding sees itself, so that its softmax is never empty.
    view = torch.eye(T, dtype=torch.bool).repeat(len(rows), 1, 1)
    for at, text in enumerate(texts):
        length = len(text)
        ids[at, :length] = torch.tensor(text)
        seen = torch.ones(length, length, dtype=torch.bool)
        view[at, :length, :length] = seen.tril_() if kind == "rank" else seen
    return Forward(kind, ids, view, draft_adapter=False)
