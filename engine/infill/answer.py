"""Answer: decodes the candidates of one request along its route, and turns them into text.

Created by `engine.engine.Engine`, which owns the model, the caches and the clock. Everything here
is a generator of forwards: whoever drives it may do others' forwards in between, and stops it by
throwing Interrupted into it. How several candidates go together is `engine.infill.alternatives`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch

from engine.decoding.forward import Steps, prefill
from engine.decoding.hint import prefill_ahead
from engine.decoding.loop import Interrupted, Passes, on_cache, watched
from engine.decoding.modes import (
    choose_drafting,
    default_block_size,
    max_block_size,
    mode_steps,
)
from engine.decoding.sampling import MIN_TEMPERATURE, Sampler
from engine.decoding.state import Decoding, DecodingParams, Speculation
from engine.infill.alternatives import Candidate, Found, Room, Start, abreast, one_by_one
from engine.infill.first_token import first_pick, whole_need_tokens
from engine.infill.gate import Gate, gate_features
from engine.infill.healing import spell
from engine.infill.hole import Hole
from engine.infill.length_search import Row, Window, length_search, no_fitting_length
from engine.infill.prompt import Prompt
from engine.infill.route import Route
from engine.infill.stopper import Stopper
from engine.infill.window import MAX_CHARS_PER_TOKEN
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest
from engine.models.decoder import Decoder
from engine.models.survey import Choosable
from engine.prefix_cache import PrefixCache
from engine.tokenizer import CodeTokenizer


@dataclass(frozen=True)
class Tools:
    """What every request of one engine works with. forbidden: bool (vocab_size,), ids that may
    never be chosen; newline_tokens: ids that write a line end; gate: in force where a request does
    not switch it off; max_batch_tokens: of one pass for several candidates, 0 = each decodes for
    itself, one after the other."""

    decoder: Decoder
    tokenizer: CodeTokenizer
    forbidden: torch.Tensor
    newline_tokens: frozenset[int]
    prefill_chunk_tokens: int
    gate: Gate
    max_batch_tokens: int = 0

    @cached_property
    def choosable(self) -> Choosable:
        """Of `forbidden`, for the samplers of all requests."""
        return Choosable.of(self.forbidden, self.decoder.config.eos_token_ids)


@dataclass(slots=True)
class Answer:
    """One request in work. caches: `cache` is taken from it. `speculation` counts over all its
    candidates."""

    tools: Tools
    request: CompletionRequest
    hole: Hole
    route: Route
    prompt: Prompt
    caches: PrefixCache
    cache: KVCache
    speculation: Speculation = field(default_factory=Speculation)

    def passes(self, emit: Callable[[int, str], None]) -> Passes[list[Candidate]]:
        """n candidates, best first; fewer when there are not so many different ones or the
        request is interrupted, and only an empty one when the gate withholds the best.

        An Interrupted thrown in ends the candidates in work with what they have, and the whole.
        """
        if self.route.method == "length_search":
            searched = yield from on_cache(self._search(emit), self.cache)
            if searched is not None:
                return searched
        found = Found(self.request.n, self._is_greedy, emit)
        decode = partial(self._decode, lambda text: emit(0, text))
        num_tokens, most = len(self.prompt.context), self.tools.max_batch_tokens
        if self.request.n > 1 and most:
            room = Room(self.caches, self.cache, most)
            return (yield from abreast(decode, room, found, num_tokens))
        steps = one_by_one(decode, self.cache, found, num_tokens)
        return (yield from on_cache(steps, self.cache))

    @property
    def _gate(self) -> Gate | None:
        return self.tools.gate if self.request.gate and self.request.mode == "auto" else None

    @property
    def _is_greedy(self) -> bool:
        return self.request.temperature < MIN_TEMPERATURE

    def _decode(
        self, emit: Callable[[str], None], branch: int, cache: KVCache, start: Start | None
    ) -> Steps[Candidate | None]:
        """The candidate that begins with the first token of rank `branch` (greedy), or with the
        seed of that number; None when there is no such token. See `Decode`."""
        stopper = self._stopper()
        state = self._state(branch, stopper, cache)
        if self._gate is not None and branch == 0:
            state.max_first_end_logprob = self._gate.max_first_end_logprob
        state.owes_text = not self.request.gate
        # The others may turn out to say the same as the first.
        streams, num_sent = self.request.stream and not branch, 0

        def stream() -> None:
            nonlocal num_sent
            text = stopper.stable_text(state.tokens)
            if len(text) > num_sent:
                emit(text[num_sent:])
                num_sent = len(text)

        steps = self._steps(state, branch, start)
        yield from _run(watched(steps, stream) if streams else steps, state)
        if not state.tokens and not state.is_finished:
            return None
        candidate = self._finish(state, stopper)
        if self._gate is not None and branch == 0 and not num_sent:
            # Alternatives to an offered text are owed, and text that is sent cannot be taken back.
            candidate = _gated(candidate, self._gate)
        if streams and len(candidate.text) > num_sent:
            emit(candidate.text[num_sent:])
        return candidate

    def _steps(self, state: Decoding, branch: int, start: Start | None) -> Steps[None]:
        mode, need, tools = self.route.mode, self.prompt.need, self.tools
        drafting = choose_drafting(self.request.mode, self.request.block_size, tools.decoder)
        hint = self._hint(branch)
        if start is None or start.ahead is None:
            missing = self.prompt.context[state.cache.length :]
            plan, chunk = drafting.plan if mode == "quad_spec" else None, tools.prefill_chunk_tokens
            ahead = yield from prefill_ahead(state, missing, chunk, hint, plan)
            if start is not None:
                start.ahead = ahead.unhinted(state)
        else:
            ahead = start.ahead.unhinted(state)
        pick = first_pick(state, ahead.next_scores, need, tools.tokenizer, branch)
        if pick is None:
            return
        seed = yield from spell(state, pick, need, tools.tokenizer, ahead)
        if not state.is_finished and ahead.take(state, seed):
            seed = ahead.emit(state)
        if not state.is_finished:
            # The head of the suffix joins the block only where the prompt knows the hole's end.
            head = self.prompt.suffix_head if self.route.method == "fim_tokens" else []
            yield from mode_steps(
                mode, state, seed, suffix_head=head, drafting=drafting, hint=hint, ahead=ahead
            )

    def _hint(self, branch: int) -> list[int]:
        """The request's draft as the tokens to expect behind the prompt. Only the best answer is
        hinted at, and none that is sampled: a seed must give the same text with any draft."""
        if branch or not self.request.draft or not self._is_greedy:
            return []
        # The typed characters that healing took back come again, in the tokens that hold them now.
        text = self.prompt.need.decode("utf-8") + self.request.draft.replace("\r\n", "\n")
        most = self._max_tokens()
        return self.tools.tokenizer.encode(text[: most * MAX_CHARS_PER_TOKEN])[:most]

    def _search(self, emit: Callable[[int, str], None]) -> Steps[list[Candidate] | None]:
        """Length search; its rows are the alternatives. None when no length fits: the route has
        then been changed to left-to-right."""
        stopper = self._stopper()
        state = self._state(0, stopper, self.cache)
        state.owes_text = not self.request.gate
        rows: list[Row] = []

        def steps() -> Steps[None]:
            *context, last = self.prompt.context
            if len(context) > self.cache.length:
                missing = context[self.cache.length :]
                yield from prefill(missing, self.cache, self.tools.prefill_chunk_tokens)
            allowed = whole_need_tokens(self.prompt.need, self.tools.tokenizer)
            newline = self.tools.newline_tokens if self._wants_one_line else frozenset()
            window = Window(last, self.prompt.suffix_head, allowed, newline)
            rows.extend((yield from length_search(state, window)))

        self.cache.crop(min(self.cache.length, len(self.prompt.context) - 1))
        yield from _run(steps(), state)
        if not rows:
            return [self._finish(state, stopper)]
        if not rows[0].is_plausible:
            self.route = no_fitting_length(self.route, rows)
            return None
        found = []
        for index, row in enumerate(rows[: self.request.n]):
            stopper = self._stopper()
            state = self._state(0, stopper, self.cache)
            state.emit(row.middle, row.logprobs)
            state.finish_reason = state.finish_reason or "stop"
            found.append(self._finish(state, stopper))
            emit(index, found[-1].text)
        return found

    @property
    def _wants_one_line(self) -> bool:
        return self.hole.is_inside_line and not self.hole.starts_line and self.request.stop_rules

    def _finish(self, state: Decoding, stopper: Stopper) -> Candidate:
        num_tokens = len(state.logprobs)
        text = stopper.final_text(state.tokens)
        return Candidate(
            text,
            state.finish_reason or "stop",
            max(num_tokens, len(state.tokens)),
            state.num_near_ties,
            sum(state.logprobs) / num_tokens if num_tokens else None,
            gate_features(state, text, self.hole),
            state.is_withheld,
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

    def _state(self, index: int, stopper: Stopper, cache: KVCache) -> Decoding:
        request = self.request
        seed = None if request.seed is None else request.seed + index
        return Decoding(
            config=self.tools.decoder.config,
            cache=cache,
            sampler=Sampler(
                forbidden=self.tools.forbidden,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=seed,
                dtype=self.tools.decoder.dtype,
                end_ids=self.tools.decoder.config.eos_token_ids,
                choosable=self.tools.choosable,
            ),
            params=DecodingParams(
                block_size=request.block_size or default_block_size(self.tools.decoder.device),
                max_block_size=None if request.block_size else max_block_size(self.tools.decoder),
                max_tokens=self._max_tokens(),
                confidence_threshold=request.confidence_threshold,
                max_denoising_steps=request.max_denoising_steps,
            ),
            stop=stopper,
            speculation=self.speculation,
        )

    def _max_tokens(self) -> int:
        """What was asked for, within the positions that the model knows."""
        room = self.tools.decoder.config.max_positions - len(self.prompt.context)
        return max(1, min(self.request.max_tokens, room))


def _run(steps: Steps[None], state: Decoding) -> Steps[None]:
    """`steps` to their end, or to an interruption: the state then holds what is worth showing."""
    try:
        yield from steps
    except Interrupted as interrupted:
        if interrupted.why == "deadline" and state.draft:
            draft, num_judged = list(state.draft), len(state.logprobs)
            state.emit(draft, [0.0] * len(draft))
            # No causal pass has judged the draft, so it has no part in the score.
            del state.logprobs[num_judged:]
        state.finish_reason = interrupted.why


def _gated(candidate: Candidate, gate: Gate) -> Candidate:
    """`candidate`, or an empty one if it is not worth offering."""
    if not candidate.text or not gate.withholds(candidate.gate_features):
        return candidate
    return replace(candidate, text="", finish_reason="stop", is_withheld=True)
