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
    stops.closed_by_suffix,
)
# Nothing that a rule takes back at the end of a text is longer than this.
_MAX_HELD_CHARS = 400


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
        self._seen: list[int] = []

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
        hole = self._hole
        if hole.is_inside_line and hole.starts_line and text.endswith("\n"):
            # The inserted line has pushed the rest of the cursor's line down: indent it again.
            return text + hole.line_before
        if not hole.is_inside_line and (cut is not None or text.endswith("\n")):
            # Trailing line ends are leftovers: the suffix or the end of the file follows.
            text = text.rstrip()
            if hole.line_after.strip() and "\n" in text:
                # ... but a brace that the editor has closed goes onto a line of its own.
                before = hole.line_before
                text += "\n" + before[: len(before) - len(before.lstrip())]
        overlap = stops.suffix_overlap(text, hole)
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
            for length in range(min(len(opening), len(text), _MAX_HELD_CHARS), held, -1):
                if text.endswith(opening[:length]):
                    held = length
                    break
        if self._use_rules and not self._hole.is_inside_line:
            # A line may still turn out to be the first of a repetition or a dedent.
            held = max(held, len(text) - (text.rfind("\n") + 1) if "\n" in text else 0)
        return text[: len(text) - held].rstrip()

    def _raw_text(self, tokens: Sequence[int]) -> str:
        """Decoded text behind the healed characters; unfinished characters are left out."""
        if list(tokens[: len(self._seen)]) != self._seen:
            self._data, self._seen = b"", []
        new = list(tokens[len(self._seen) :])
        self._data += self._tokenizer.decode_bytes(new)
        self._seen += new
        if len(self._data) < len(self._need):
            return ""
        return complete_text(self._data[len(self._need) :])

    def _cut(self, text: str, tokens: Sequence[int]) -> int | None:
        found = [stops.stop_string(text, self._stop)]
        if self._use_rules:
            found += [rule(text, self._hole) for rule in _RULES]
            found.append(self._repeated_tokens_at(text, tokens))
        return min((at for at in found if at is not None), default=None)

    def _repeated_tokens_at(self, text: str, tokens: Sequence[int]) -> int | None:
        """Where the last tokens begin to repeat the suffix, once they spell its first line."""
        num_repeated = stops.repeated_suffix_tokens(tokens, self._suffix_tokens)
        if not num_repeated:
            return None
        kept = self._tokenizer.decode_bytes(tokens[: len(tokens) - num_repeated])
        at = len(complete_text(kept[len(self._need) :]))
        first_line = self._hole.suffix.lstrip("\n").partition("\n")[0]
        return at if len(text[at:].strip("\n")) >= len(first_line) else None
