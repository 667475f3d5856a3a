"""Answer: decodes the candidates of one request along its route, and turns them into text.

Created by `engine.engine.Engine.complete`, which owns the model, the caches and the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.decoding.ar import ar
from engine.decoding.diffusion import diffusion
from engine.decoding.forward import Steps, prefill
from engine.decoding.linear_spec import linear_spec
from engine.decoding.loop import Interrupted, Limits, Meter, run_steps
from engine.decoding.quad_spec import quad_spec
from engine.decoding.sampling import MIN_TEMPERATURE, Pick, Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.infill.healing import spell
from engine.infill.hole import Hole
from engine.infill.length_search import Row, Window, length_search, no_fitting_length
from engine.infill.prompt import Prompt
from engine.infill.route import Route
from engine.infill.stopper import Stopper
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest, FinishReason
from engine.models.decoder import Decoder
from engine.tokenizer import CodeTokenizer

# A CPU turns compute-bound at about a dozen tokens per forward; a GPU has width to spare.
_CPU_BLOCK_SIZE, _GPU_BLOCK_SIZE = 8, 32
# quad_spec runs k (k + 1) tokens per forward.
_CPU_QUAD_BLOCK_SIZE, _GPU_QUAD_BLOCK_SIZE = 4, 16
# First tokens tried per wanted alternative, as some lead to the same text.
_MAX_BRANCHES = 2
_INTERRUPTED = ("cancelled", "deadline")


@dataclass(frozen=True, slots=True)
class Candidate:
    """score: mean log-probability per token (None without tokens); num_tokens: end token too."""

    text: str
    finish_reason: FinishReason
    num_tokens: int
    num_near_ties: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Tools:
    """What every request of one engine works with. forbidden: bool (vocab_size,), ids that may
    never be chosen; newline_tokens: ids that write a line end; count_forward is called after each
    forward."""

    decoder: Decoder
    tokenizer: CodeTokenizer
    forbidden: torch.Tensor
    newline_tokens: frozenset[int]
    prefill_chunk_tokens: int
    count_forward: Callable[[], None]


@dataclass(slots=True)
class Answer:
    """One request in work. `meter` counts over all its candidates."""

    tools: Tools
    request: CompletionRequest
    hole: Hole
    route: Route
    prompt: Prompt
    cache: KVCache
    meter: Meter
    limits: Limits

    def candidates(self, emit: Callable[[int, str], None]) -> list[Candidate]:
        """n candidates, best first; fewer when there are not so many different ones or the
        request is interrupted."""
        if self.route.method == "length_search":
            found = self._search(emit)
            if found is not None:
                return found
        return self._decode_all(emit)

    def _decode_all(self, emit: Callable[[int, str], None]) -> list[Candidate]:
        found: list[Candidate] = []
        for branch in range(_MAX_BRANCHES * self.request.n):
            index = len(found)
            # The first candidate streams; the others may turn out to say the same.
            candidate = self._decode(branch, lambda text: emit(0, text), streams=not found)
            if candidate is None:
                break
            # Sampling owes n independent draws; greedy alternatives must differ.
            if self._is_greedy and any(candidate.text == other.text for other in found):
                continue
            if found and candidate.finish_reason in _INTERRUPTED and not candidate.text:
                # The time was up before this alternative had begun.
                break
            if found:
                emit(index, candidate.text)
            found.append(candidate)
            if len(found) == self.request.n or candidate.finish_reason in _INTERRUPTED:
                break
        return found

    @property
    def _is_greedy(self) -> bool:
        return self.request.temperature < MIN_TEMPERATURE

    def _decode(
        self, branch: int, emit: Callable[[str], None], *, streams: bool
    ) -> Candidate | None:
        """The candidate that begins with the first token of rank `branch` (greedy), or with the
        seed of that number; None when there is no such token."""
        stopper = self._stopper()
        state = self._state(branch, stopper)
        streams = streams and self.request.stream
        num_sent = 0

        def stream() -> None:
            nonlocal num_sent
            self.tools.count_forward()
            if streams:
                text = stopper.stable_text(state.tokens)
                if len(text) > num_sent:
                    emit(text[num_sent:])
                    num_sent = len(text)

        self.cache.crop(min(self.cache.length, len(self.prompt.context) - 1))
        self._run(self._steps(state, branch), state, stream)
        if not state.tokens and not state.is_finished:
            return None
        candidate = self._finish(state, stopper)
        if streams and len(candidate.text) > num_sent:
            emit(candidate.text[num_sent:])
        return candidate

    def _steps(self, state: Decoding, branch: int) -> Steps[None]:
        missing = self.prompt.context[self.cache.length :]
        logits = yield from prefill(missing, self.cache, self.tools.prefill_chunk_tokens)
        pick = self._first_pick(state, logits, branch)
        if pick is None:
            return
        seed = yield from spell(state, pick, self.prompt.need, self.tools.tokenizer)
        if not state.is_finished:
            yield from self._mode_steps(state, seed)

    def _first_pick(self, state: Decoding, logits: torch.Tensor, branch: int) -> Pick | None:
        """The first token: healed when the cursor stands inside one; alternatives branch here."""
        need = self.prompt.need
        if branch and state.sampler.is_greedy:
            # Shorter tokens would only spell the typed characters in another way.
            return state.sampler.pick_nth(logits, branch, self._whole_need_tokens())
        allowed = self.tools.tokenizer.allowed_first_tokens(need) if need else None
        return state.sampler.pick(logits, allowed)

    def _mode_steps(self, state: Decoding, seed: int) -> Steps[None]:
        # The head of the suffix joins the block only where the prompt knows where the hole ends.
        head = self.prompt.suffix_head if self.route.method == "fim_tokens" else []
        match self.route.mode:
            case "ar":
                return ar(state, seed)
            case "quad_spec":
                return quad_spec(state, seed)
            case "diffusion" if not self.route.is_verified:
                return diffusion(state, seed, head)
            case _:
                return linear_spec(state, seed, head)

    def _search(self, emit: Callable[[int, str], None]) -> list[Candidate] | None:
        """Length search; its rows are the alternatives. None when no length fits: the route has
        then been changed to left-to-right."""
        stopper = self._stopper()
        state = self._state(0, stopper)
        rows: list[Row] = []

        def steps() -> Steps[None]:
            *context, last = self.prompt.context
            if len(context) > self.cache.length:
                missing = context[self.cache.length :]
                yield from prefill(missing, self.cache, self.tools.prefill_chunk_tokens)
            allowed = self._whole_need_tokens()
            newline = self.tools.newline_tokens if self._wants_one_line else frozenset()
            window = Window(last, self.prompt.suffix_head, allowed, newline)
            rows.extend((yield from length_search(state, window)))

        self.cache.crop(min(self.cache.length, len(self.prompt.context) - 1))
        self._run(steps(), state, self.tools.count_forward)
        if not rows:
            return [self._finish(state, stopper)]
        if not rows[0].is_plausible:
            self.route = no_fitting_length(self.route, rows)
            return None
        found = []
        for index, row in enumerate(rows[: self.request.n]):
            stopper = self._stopper()
            state = self._state(0, stopper)
            state.emit(row.middle, row.logprobs)
            state.finish_reason = state.finish_reason or "stop"
            found.append(self._finish(state, stopper))
            emit(index, found[-1].text)
        return found

    @property
    def _wants_one_line(self) -> bool:
        return self.hole.is_inside_line and not self.hole.starts_line and self.request.stop_rules

    def _whole_need_tokens(self) -> list[int] | None:
        """Ids that spell all that must be healed, for a slot that can hold one token only."""
        need = self.prompt.need
        if not need:
            return None
        tokenizer = self.tools.tokenizer
        return [
            token_id
            for token_id in tokenizer.allowed_first_tokens(need)
            if tokenizer.token_bytes(token_id).startswith(need)
        ]

    def _run(self, steps: Steps[None], state: Decoding, after: Callable[[], None]) -> None:
        try:
            run_steps(steps, self.tools.decoder, self.cache, self.meter, self.limits, after)
        except Interrupted as interrupted:
            if interrupted.why == "deadline" and state.draft:
                draft, num_judged = list(state.draft), len(state.logprobs)
                state.emit(draft, [0.0] * len(draft))
                # No causal pass has judged the draft, so it has no part in the score.
                del state.logprobs[num_judged:]
            state.finish_reason = interrupted.why

    def _finish(self, state: Decoding, stopper: Stopper) -> Candidate:
        num_tokens = len(state.logprobs)
        return Candidate(
            stopper.final_text(state.tokens),
            state.finish_reason or "stop",
            max(num_tokens, len(state.tokens)),
            state.num_near_ties,
            sum(state.logprobs) / num_tokens if num_tokens else None,
        )

    def _stopper(self) -> Stopper:
        return Stopper(
            self.tools.tokenizer,
            self.hole,
            need=self.prompt.need,
            stop=self.request.stop,
            # A length search has found by likelihood where the suffix takes over; rules of thumb
            # could only undo that.
            use_rules=self.request.stop_rules and self.route.method != "length_search",
            suffix_tokens=self.prompt.suffix_tokens,
        )

    def _state(self, index: int, stopper: Stopper) -> Decoding:
        request = self.request
        seed = None if request.seed is None else request.seed + index
        return Decoding(
            config=self.tools.decoder.config,
            cache=self.cache,
            sampler=Sampler(
                forbidden=self.tools.forbidden,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=seed,
                dtype=self.tools.decoder.dtype,
            ),
            params=DecodingParams(
                block_size=request.block_size or self._default_block_size(),
                max_tokens=self._max_tokens(),
                confidence_threshold=request.confidence_threshold,
                max_denoising_steps=request.max_denoising_steps,
            ),
            stop=stopper,
        )

    def _max_tokens(self) -> int:
        """What was asked for, within the positions that the model knows."""
        room = self.tools.decoder.config.max_positions - len(self.prompt.context)
        return max(1, min(self.request.max_tokens, room))

    def _default_block_size(self) -> int:
        on_gpu = self.tools.decoder.device.type == "cuda"
        if self.route.mode == "quad_spec":
            return _GPU_QUAD_BLOCK_SIZE if on_gpu else _CPU_QUAD_BLOCK_SIZE
        return _GPU_BLOCK_SIZE if on_gpu else _CPU_BLOCK_SIZE
