"""Oracle: what a model of a given skill would answer, known from the trace. Used by the benches.

The reuse of answers can be measured only with answers that are sometimes right and sometimes wrong,
the same way at each keystroke. This one needs no model for that: it knows how the file will look.
"""

from __future__ import annotations

import zlib

WRONG = "something_else()"
_TAIL_CHARS = 24


class Oracle:
    """Continues a prompt to the end of its line, or through the next line at a line's end.

    skill: share of lines that are continued rightly from anywhere in them. In the others the
    answer goes wrong at a certain column, until that has been typed.
    """

    def __init__(self, skill: float) -> None:
        self._skill = skill
        self._text = ""

    def learn(self, text: str) -> None:
        """From now on `text` is what the file shall become."""
        self._text = text

    def continuation(self, prompt: str) -> str:
        """The answer to `prompt`; WRONG where it leads to something else."""
        offset = self._place_of(prompt)
        if offset is None:
            return WRONG
        start = offset + 1 if self._text[offset : offset + 1] == "\n" else offset
        end = self._text.find("\n", start)
        end = len(self._text) if end < 0 else end
        line_start = self._text.rfind("\n", 0, start) + 1
        wrong_at = line_start + self._wrong_column(line_start, end)
        if max(start, offset) <= wrong_at < end:
            return self._text[offset:wrong_at] + WRONG
        return self._text[offset:end]

    def _place_of(self, prompt: str) -> int | None:
        """How much of the text has been typed when `prompt` is what stands before the cursor."""
        tail = prompt[-_TAIL_CHARS:]
        best: int | None = None
        at = self._text.find(tail)
        while at >= 0:
            place = at + len(tail)
            if best is None or abs(place - len(prompt)) < abs(best - len(prompt)):
                best = place
            at = self._text.find(tail, at + 1)
        return best

    def _wrong_column(self, start: int, end: int) -> int:
        """Where the model goes wrong in a line; its length if nowhere."""
        line = self._text[start:end]
        number = zlib.crc32(f"{start}:{line}".encode("utf-8", "surrogatepass"))
        if number / 2**32 < self._skill or not line.strip():
            return len(line)
        indentation = len(line) - len(line.lstrip())
        return indentation + number % (len(line) - indentation)
