"""TextWindows: fixed-length token windows over whole documents, for training on plain text."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.tokenizer import CodeTokenizer


class TextWindows:
    """Endless windows of `num_tokens` tokens, documents joined by `end_token`.

    Half begin with a document, half inside one, as a cursor's window does; the same seed gives the
    same windows. cursor: (pass, index of the next text), set it to continue where another stood.
    Raises ValueError without texts.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: CodeTokenizer,
        *,
        end_token: int,
        num_tokens: int,
        seed: int,
    ) -> None:
        if not any(texts):
            raise ValueError("the corpus holds no text")
        self._texts, self._tokenizer, self._end_token = texts, tokenizer, end_token
        self._num_tokens, self._seed = num_tokens, seed
        self.cursor = (0, 0)

    def next_tokens(self) -> list[int]:
        # Seeded by place, not by history, so that a resumed stream goes on alike.
        rng = random.Random(f"{self._seed}/{self.cursor[0]}/{self.cursor[1]}")
        window = self._next_text()
        if rng.random() < 0.5:
            window = window[rng.randrange(len(window)) :]
        window = window[: self._num_tokens]
        while len(window) < self._num_tokens:
            window = [*window, self._end_token, *self._next_text()][: self._num_tokens]
        return window

    def _next_text(self) -> list[int]:
        """Tokens of the next text that is not empty."""
        while True:
            epoch, at = self.cursor
            self.cursor = (epoch, at + 1) if at + 1 < len(self._texts) else (epoch + 1, 0)
            if tokens := self._tokenizer.encode(self._texts[at]):
                return tokens
