"""FimExample: a hole in the base's own fill-in-the-middle tokens, exactly as the engine asks.

The order is prefix, suffix, middle; the prefix is healed (its last token taken back where the
cursor may stand inside a word), so that what is trained is what `engine.infill.prompt` builds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from engine.infill.healing import heal
from engine.models.config import ModelConfig
from engine.tokenizer import CodeTokenizer
from engine.training.holes import HoleText, Kind, cut_hole
from engine.training.loop import TrainingError

_TRIES = 8


class NoExampleError(TrainingError, ValueError):
    """A corpus that gives no example; one sentence."""


@dataclass(frozen=True, slots=True)
class FimExample:
    """tokens: context, then middle with its end token; the first num_context_tokens are given."""

    kind: Kind
    tokens: list[int]
    num_context_tokens: int

    @property
    def num_middle_tokens(self) -> int:
        """The end token included."""
        return len(self.tokens) - self.num_context_tokens


class ExampleBuilder:
    """Turns documents into examples of at most `max_tokens` tokens.

    Raises ValueError when the model has no fill-in-the-middle tokens.
    """

    def __init__(self, tokenizer: CodeTokenizer, config: ModelConfig, *, max_tokens: int) -> None:
        if config.fim is None:
            raise ValueError("the model has no fill-in-the-middle tokens")
        self._tokenizer, self._fim, self._max_tokens = tokenizer, config.fim, max_tokens
        self.end_token = config.eos_token_ids[0]

    def build(self, hole: HoleText) -> FimExample | None:
        """None when the hole is too long."""
        tokenizer, fim = self._tokenizer, self._fim
        healed = heal(tokenizer.encode(hole.prefix), tokenizer)
        context = [
            *tokenizer.bos_ids,
            fim.prefix,
            *healed.tokens,
            fim.suffix,
            *tokenizer.encode(hole.suffix),
            fim.middle,
        ]
        middle = tokenizer.encode(healed.need.decode("utf-8") + hole.middle)
        tokens = [*context, *middle, self.end_token]
        if len(tokens) > self._max_tokens:
            return None
        return FimExample(hole.kind, tokens, len(context))

    def from_text(self, text: str, rng: random.Random) -> FimExample | None:
        for _ in range(_TRIES):
            hole = cut_hole(text, rng)
            example = None if hole is None else self.build(hole)
            if example is not None:
                return example
        return None


class ExampleStream:
    """Endless examples, one per text and pass over `texts`; the same seed gives the same stream.

    cursor: (pass, index of the next text); set it to continue where another stream stood.
    """

    def __init__(self, texts: Sequence[str], builder: ExampleBuilder, *, seed: int) -> None:
        self._texts, self._builder, self._seed = texts, builder, seed
        self.cursor = (0, 0)

    def next(self) -> FimExample:
        """Raises NoExampleError when not one text of a whole pass gives an example."""
        for _ in range(len(self._texts)):
            epoch, at = self.cursor
            self.cursor = (epoch, at + 1) if at + 1 < len(self._texts) else (epoch + 1, 0)
            # Seeded by place, not by history, so that a resumed stream goes on alike.
            rng = random.Random(f"{self._seed}/{epoch}/{at}")
            example = self._builder.from_text(self._texts[at], rng)
            if example is not None:
                return example
        raise NoExampleError(
            "There is no text of the corpus that gives an example; raise --max-tokens or take "
            "longer texts."
        )

    def next_tokens(self) -> list[int]:
        """The tokens of the next example, context and middle together."""
        return self.next().tokens
