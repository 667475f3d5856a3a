"""Stopper: applies the stop rules to one candidate while it is decoded, and shapes its final text.

Also decides how much of the text can be streamed: what no later rule can take back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.infill import stops
from engine.infill.hole import Hole
from engine.tokenizer import CodeTokenizer, complete_text, is_broken

_RULES: tuple[Callable[[str, Hole], int | None], ...] = (
    stops.line_end,
    stops.statement_end,
    stops.dedent,
    stops.suffix_repeat,
)


class Stopper:
    """need: bytes that the user has typed already and that the tokens spell out again (healing).

    Called with all tokens emitted so far, it says whether the text is complete.
    """

    def __init__(
        self,
        tokenizer: CodeTokenizer,
        hole: Hole,
        *,
        need: bytes = b"",
        stop: Sequence[str] = (),
        use_rules: bool = True,
        suffix_tokens: Sequence[int] = (),
    ) -> None:
        self._tokenizer, self._hole, self._need = tokenizer, hole, need
        self._stop, self._use_rules = tuple(stop), use_rules
        self._suffix_tokens = list(suffix_tokens)
        self._data = b""
        self._num_seen = 0

    def __call__(self, tokens: Sequence[int]) -> bool:
        text = self._raw_text(tokens)
        return is_broken(self._data) or self._cut(text, tokens) is not None

    def final_text(self, tokens: Sequence[int]) -> str:
        """The text to insert at the cursor."""
        text = self._raw_text(tokens)
        cut = self._cut(text, tokens)
        if cut is not None:
            text = text[:cut]
        if not self._use_rules:
            return text
        if not self._hole.is_inside_line and self._ended_by_rule(text, cut):
            text = text.rstrip()
        overlap = stops.suffix_overlap(text, self._hole)
        return text[: len(text) - overlap] if overlap else text

    def stable_text(self, tokens: Sequence[int]) -> str:
        """A prefix of every possible final text, for streaming while decoding goes on."""
        text = self._raw_text(tokens)
        cut = self._cut(text, tokens)
        if cut is not None:
            text = text[:cut]
        held = len(text) - len(text.rstrip())
        openings = [*self._stop]
        if self._use_rules and self._hole.has_suffix:
            openings += [self._hole.suffix, self._hole.suffix.lstrip()]
        for opening in openings:
            for length in range(min(len(opening), len(text)), held, -1):
                if text.endswith(opening[:length]):
                    held = length
                    break
        if self._use_rules and not self._hole.is_inside_line:
            # A line may still turn out to be the first of a repetition or a dedent.
            held = max(held, len(text) - (text.rfind("\n") + 1) if "\n" in text else 0)
        return text[: len(text) - held].rstrip()

    def _raw_text(self, tokens: Sequence[int]) -> str:
        """Decoded text behind the healed characters; unfinished characters are left out."""
        if len(tokens) < self._num_seen:
            self._data, self._num_seen = b"", 0
        self._data += self._tokenizer.decode_bytes(tokens[self._num_seen :])
        self._num_seen = len(tokens)
        if len(self._data) < len(self._need):
            return ""
        return complete_text(self._data[len(self._need) :])

    def _cut(self, text: str, tokens: Sequence[int]) -> int | None:
        found = [stops.stop_string(text, self._stop)]
        if self._use_rules:
            found += [rule(text, self._hole) for rule in _RULES]
            repeated = stops.repeated_suffix_tokens(tokens, self._suffix_tokens)
            if repeated:
                kept = self._tokenizer.decode_bytes(tokens[: len(tokens) - repeated])
                found.append(len(complete_text(kept[len(self._need) :])))
        return min((at for at in found if at is not None), default=None)

    def _ended_by_rule(self, text: str, cut: int | None) -> bool:
        """Whether trailing line ends are leftovers: the suffix or the end of the file follows."""
        return cut is not None or text.endswith("\n")
