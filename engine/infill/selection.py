"""Repairing: a selection at some stage of its repair: what is in doubt, what has changed.

Made by `engine.infill.tasks` for a RepairRequest; `engine.infill.repair` works on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from engine.errors import EngineError
from engine.infill.bench import Bench, Laid, Tally
from engine.infill.judge import Judged
from engine.infill.line_ends import LineEnds, plain, plain_index, plain_starts
from engine.messages.completion import CompletionRequest, Facts, FinishReason
from engine.messages.repair import Confidence, Repair, RepairRequest, Span


class Change(NamedTuple):
    """span: of the text as it is now; num_replaced: characters of the first text whose place it
    takes; confidence: what their tokens were worth, and what its own are."""

    span: Span
    num_replaced: int
    confidence: Confidence


@dataclass(slots=True)
class Repairing:
    """A selection at some stage of its repair. judged: the text as it is now; score_before: of the
    first text, None until it is known; changes: accepted ones, in the order of the text."""

    request: RepairRequest
    prefix: str
    suffix: str
    laid: Laid
    judged: Judged
    score_before: float | None = None
    changes: list[Change] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, bench: Bench, request: RepairRequest) -> Repairing:
        """Raises EngineError when the selection does not fit into the model."""
        prefix, text, suffix = plain(request.prefix), plain(request.text), plain(request.suffix)
        laid = bench.lay_out(CompletionRequest(prompt=prefix, suffix=suffix))
        judged = Judged.of(text, laid, bench.tools.tokenizer)
        most = bench.tools.decoder.config.max_positions - request.max_tokens
        if len(judged.tokens) > most:
            raise EngineError(
                f"The selection has {len(judged.own)} tokens, which is more than the model can "
                "read at once; select less."
            )
        found = cls(request, prefix, suffix, laid, judged)
        found.tally.mode, found.tally.route = "none", laid.route.name
        found.tally.reason = "The selection was judged; nothing in it was written anew."
        return found

    def doubtful(self) -> list[Span]:
        """The spans to write anew, in the order of the text, without overlaps."""
        if self.request.spans is not None:
            raw = self.request.text
            pairs = [(plain_index(raw, a), plain_index(raw, b)) for a, b in self.request.spans]
            # Where a diagnosis points between two characters, either may be wrong.
            spans = [(a, b) if a < b else (max(a - 1, 0), a + 1) for a, b in pairs]
        else:
            spans = _least_likely(self.judged, self.request.max_share)
        found: list[Span] = []
        length = len(self.judged.text)
        inside = [(start, min(end, length)) for start, end in spans if start < length]
        for start, end in sorted(self._whole_words(self._trimmed(span)) for span in inside):
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def _trimmed(self, span: Span) -> Span:
        """White space at the edges, which tokens may hold, is not what is in doubt."""
        text = self.judged.text[span[0] : span[1]]
        if not text.strip():
            return span
        return span[0] + len(text) - len(text.lstrip()), span[0] + len(text.rstrip())

    def _whole_words(self, span: Span) -> Span:
        """Half a word cannot be written anew on its own."""
        text, (start, end) = self.judged.text, span
        while start > 0 and _is_in_word(text, start):
            start -= 1
        while end < len(text) and _is_in_word(text, end):
            end += 1
        return start, end

    def accept(self, new: Judged, span: Span, length: int) -> None:
        """Take over `new`, in which `length` characters stand in place of `span`."""
        old = self.judged
        head, tail = _same_ends(old.text, new.text, span, length)
        before = (span[0] + head, span[1] - tail)
        after = (span[0] + head, span[0] + length - tail)
        confidence = Confidence(old.confidence(before), new.confidence(after))
        num_replaced = before[1] - before[0]
        while self.changes and before[0] < self.changes[-1].span[1]:
            # Tokens are wider than the words that were asked for: one change with the one before.
            last = self.changes.pop()
            start, end = min(before[0], last.span[0]), max(before[1], last.span[1])
            num_replaced = end - start - (last.span[1] - last.span[0]) + last.num_replaced
            after = (start, end + after[1] - before[1])
            before = (start, end)
        self.changes.append(Change(after, num_replaced, confidence))
        self.judged = new

    def answer(self, model: str, line_ends: LineEnds, facts: Facts) -> Repair:
        whole, spans = self._restored(line_ends)
        return Repair(
            model=model,
            text=whole,
            spans=tuple(spans),
            confidences=tuple(change.confidence for change in self.changes),
            score_before=self.score_before,
            score_after=None if self.score_before is None else self.judged.score,
            finish_reason=self.finish_reason,
            facts=facts,
        )

    def _restored(self, line_ends: LineEnds) -> tuple[str, list[Span]]:
        """The text with its changes, and their spans in it. What did not change keeps its own line
        ends, of whichever kinds."""
        raw, now = self.request.text, self.judged.text
        starts = plain_starts(raw)
        whole, spans, at, shift = "", [], 0, 0
        for (start, end), num_replaced, _ in self.changes:
            first = start - shift
            whole += raw[starts[at] : starts[first]]
            written = line_ends.restore(now[start:end])
            spans.append((len(whole), len(whole) + len(written)))
            whole += written
            at = first + num_replaced
            shift += end - start - num_replaced
        return whole + raw[starts[at] :], spans


def _least_likely(judged: Judged, max_share: float) -> list[Span]:
    """The spans of the least likely tokens that are more than white space."""
    pairs = list(zip(judged.starts, judged.ends(), strict=True))
    own = [at for at, (a, b) in enumerate(pairs) if a >= 0 and judged.text[a:b].strip()]
    most = max(int(max_share * len(own)), 1)
    chosen = sorted(own, key=lambda at: judged.logprobs[at])[:most]
    return [pairs[at] for at in chosen]


def _is_in_word(text: str, at: int) -> bool:
    """Whether characters of one word stand on both sides of index `at`."""
    return all(char.isalnum() or char == "_" for char in text[at - 1 : at + 1])


def _same_ends(old: str, new: str, span: Span, length: int) -> tuple[int, int]:
    """How many characters at both ends of `span` stand there again, words taken as a whole."""
    before, after = old[span[0] : span[1]], new[span[0] : span[0] + length]
    most = min(len(before), len(after))
    head = next((at for at in range(most) if before[at] != after[at]), most)
    while head and (_is_in_word(old, span[0] + head) or _is_in_word(new, span[0] + head)):
        head -= 1
    most -= head
    tail = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    ends = (span[1], span[0] + length)
    while tail and (_is_in_word(old, ends[0] - tail) or _is_in_word(new, ends[1] - tail)):
        tail -= 1
    return head, tail
